"""The report in a real browser, without a window and without a network: Chromium, where it is installed."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from ecad_dsl.analysis.report import write_report

from tests.analysis.reported import HOSTILE, reported, run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver (apt-get install chromium-driver)"
)

CHOSEN = "return [...document.querySelectorAll('article:not([hidden])')].map(article => article.id)"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of the plain report, and of one whose names and captions try to be HTML."""
    folder = tmp_path_factory.mktemp("pages")
    found = run(folder / "run")
    for name in ("plain", "hostile"):
        write_report(folder / f"{name}.html", reported(found, hostile=name == "hostile"))
    return {name: (folder / f"{name}.html").as_uri() for name in ("plain", "hostile")}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for switch in (
        "headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync", "hide-scrollbars",
        "window-size=1280,1000", f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(f"--{switch}")
    driver = started(options)
    driver.set_page_load_timeout(300)
    driver.set_script_timeout(300)
    yield driver
    driver.quit()


def started(options: Any) -> Any:
    """The browser; where it cannot be started, that is no fault of the report."""
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException

    for _ in range(3):
        try:
            return webdriver.Chrome(options, webdriver.ChromeService(executable_path=str(DRIVER)))
        except WebDriverException as error:
            reason = str(error).partition("\n")[0]
    pytest.skip(f"Chromium does not start here: {reason}")


@pytest.fixture
def page(browser: Any, pages: dict[str, str]) -> Iterator[Any]:
    """The plain report, 1280 pixels wide. When a test is done with it, the console must be empty."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get("about:blank")  # else the same address with another #name would not be loaded anew
    browser.get(pages["plain"])
    browser.execute_script(
        "localStorage.removeItem('ecad-theme'); document.documentElement.style.scrollBehavior = 'auto'"
    )
    until(browser, "return document.querySelectorAll('#pareto .points path.point').length > 0")
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")] == []


def until(browser: Any, script: str) -> None:
    """Wait for what is bound to come, however busy the machine is."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 120).until(lambda driver: driver.execute_script(script))


def press(browser: Any, selector: str, key: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser.find_element(By.CSS_SELECTOR, selector).send_keys(getattr(Keys, key))


def column(browser: Any, number: int) -> list[str]:
    texts: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('#schedules tbody tr')]"
        ".map(row => row.cells[arguments[0]].innerText.trim())",
        number,
    )
    return texts


def test_it_is_drawn_with_nothing_fetched(page: Any) -> None:
    points = page.execute_script("return JSON.parse(document.getElementById('data').textContent).points")
    drawn = page.execute_script("return document.getElementById('pareto').data.flatMap(trace => trace.customdata)")
    assert sorted(drawn) == sorted(point["id"] for point in points)
    fetched = page.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    assert page.execute_script("return document.querySelectorAll('#convergence .points path.point').length") == 5


def test_a_click_on_a_point_shows_its_schedule_and_pictures(page: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    before = page.execute_script(CHOSEN)
    page.execute_script("document.getElementById('pareto').scrollIntoView()")
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    x, y, expected = page.execute_script("""
        const plot = document.getElementById('pareto'), axes = plot._fullLayout;
        const box = plot.querySelector('.nsewdrag').getBoundingClientRect();
        const trace = plot.data.find(trace => trace.name === 'baseline');
        return [box.left + axes.xaxis.d2p(trace.x[0]), box.top + axes.yaxis.d2p(trace.y[0]), trace.customdata[0]];
    """)

    def hovers(driver: Any) -> bool:
        """Scrolling hides the card, and may still be on its way: so the mouse comes again."""
        for away in (40, 0):
            actions = ActionChains(driver)
            actions.w3c_actions.pointer_action.move_to_location(round(x) + away, round(y))
            actions.perform()
        return bool(driver.execute_script("return !document.getElementById('tip').hidden"))

    WebDriverWait(page, 120).until(hovers)
    tip = page.execute_script("return document.getElementById('tip').innerText")
    assert tip.startswith("fora-")
    assert "cache all every" in tip
    assert page.execute_script("return document.querySelectorAll('#tip img').length") == 6

    def clicks(driver: Any) -> bool:
        ActionChains(driver).click().perform()
        chosen = bool(driver.execute_script(CHOSEN) == [expected])
        if not chosen:
            hovers(driver)
        return chosen

    WebDriverWait(page, 120).until(clicks)
    assert before != [expected]
    until(
        page,
        f"return [...document.querySelectorAll('#{expected} img')].every(i => i.complete && i.naturalWidth === 16)",
    )
    assert page.execute_script(f"return document.querySelectorAll('#{expected} svg').length") == 3
    assert page.execute_script(f"return document.querySelector('tr.chosen').dataset.of === '{expected}'")


def test_it_works_with_the_keyboard_alone(page: Any) -> None:
    order = page.execute_script(
        "return JSON.parse(document.getElementById('data').textContent).points.sort((a, b) => a.x - b.x || a.y - b.y)"
        ".map(point => point.id)"
    )
    at = 2
    page.execute_script(f"location.hash = '{order[at]}'")
    until(page, f"return document.querySelector('article:not([hidden])').id === '{order[at]}'")
    press(page, "#pareto", "ARROW_RIGHT")
    assert page.execute_script(CHOSEN) == [order[at + 1]]
    press(page, "#pareto", "ARROW_LEFT")
    press(page, "#pareto", "ARROW_LEFT")
    assert page.execute_script(CHOSEN) == [order[at - 1]]
    assert page.execute_script("return document.getElementById('tip').hidden") is False
    press(page, "#pareto", "ESCAPE")
    assert page.execute_script("return document.getElementById('tip').hidden") is True
    press(page, "#pareto", "ENTER")
    assert page.execute_script("return document.activeElement.id") == order[at - 1]
    press(page, "#schedules tbody a", "ENTER")
    assert page.execute_script(CHOSEN) == [order[0]]


def test_headings_sort_the_table_up_and_down(page: Any) -> None:
    press(page, "#schedules th:nth-child(4) button", "ENTER")
    up = [float(text.replace("\N{MINUS SIGN}", "-")) for text in column(page, 3)]
    assert up == sorted(up)
    press(page, "#schedules th:nth-child(4) button", "ENTER")
    down = [float(text.replace("\N{MINUS SIGN}", "-")) for text in column(page, 3)]
    assert down == sorted(up, reverse=True)
    sorts = page.execute_script(
        "return [...document.querySelectorAll('#schedules th')].map(head => head.getAttribute('aria-sort'))"
    )
    assert [sort for sort in sorts if sort] == ["descending"]
    press(page, "#schedules th:nth-child(1) button", "ENTER")
    names = column(page, 0)
    assert names.index("7 steps") < names.index("10 steps") < names.index("fora-2") < names.index("none")


def test_dark_and_light_are_both_readable(page: Any) -> None:
    """Text on its page by the rule of WCAG: a contrast of 4.5 at the least."""
    found = {}
    for _ in range(2):
        theme = page.execute_script("return document.documentElement.dataset.theme")
        found[theme] = page.execute_script("""
            const style = getComputedStyle(document.documentElement);
            const probe = document.body.appendChild(document.createElement('i'));
            const luminance = (name) => {
              probe.style.color = style.getPropertyValue(name);
              const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
                .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
              return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
            };
            const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            const inks = ['--ink', '--faint', '--link', '--evolved', '--baseline', '--fewer', '--none', '--good',
              '--bad', '--ecad-action', '--ecad-word', '--ecad-number', '--ecad-string', '--ecad-comment'];
            const least = Object.fromEntries(inks.map(ink =>
              [ink, Math.min(...['--page', '--card'].map(page => contrast(luminance(ink), luminance(page))))]));
            probe.remove();
            return least;
        """)
        page.execute_script("document.getElementById('theme').click()")
    assert set(found) == {"light", "dark"}
    for theme, contrasts in found.items():
        assert min(contrasts.values()) >= 4.5, (theme, contrasts)


def test_it_fits_a_phone(page: Any) -> None:
    narrow = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    until(page, "return innerWidth === 390 && document.querySelector('#pareto .main-svg').clientWidth < 390")
    assert page.execute_script("return document.documentElement.scrollWidth") == 390
    for number in range(3):
        page.execute_script("document.querySelectorAll('#schedules tbody a')[arguments[0] * 4].click()", number)
        assert page.execute_script("return document.documentElement.scrollWidth") == 390


def test_names_and_captions_that_try_to_be_scripts_are_shown_as_they_are(page: Any, pages: dict[str, str]) -> None:
    page.get(pages["hostile"])
    until(page, "return document.querySelectorAll('#pareto .points path.point').length > 0")
    page.execute_script("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert HOSTILE in page.execute_script("return document.querySelector('article:not([hidden]) h3').textContent")
    page.execute_script("document.querySelector('#schedules tr:has(.evolved) + tr a').click()")
    press(page, "#pareto", "ARROW_LEFT")
    assert HOSTILE in page.execute_script("return document.getElementById('tip').textContent")
    assert page.title == f"A made-up run {HOSTILE}"
    assert page.execute_script("return document.scripts.length") == 3
    assert page.execute_script("return document.querySelectorAll('img[onerror]').length") == 0


def test_without_scripts_schedules_and_tables_are_there(browser: Any, pages: dict[str, str]) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get("about:blank")
        browser.get(pages["plain"])
        shown = browser.execute_script(
            "return [...document.querySelectorAll('article')].filter(article => article.offsetHeight > 0).length"
        )
        assert shown == browser.execute_script("return document.querySelectorAll('article').length")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
