"""The report of a run: one page, its figures those of the frames, and nothing in it that comes from elsewhere."""

import base64
import json
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ecad_dsl.analysis.report import Report, claim, equal_cost, write_report
from PIL import Image

from ecad_dsl.schedule import compile, parse
from tests.analysis.reported import HOSTILE, SPEC, reported, run

VOID = {"meta", "img", "br", "link", "path", "rect", "input", "hr"}


class Page(HTMLParser):
    """What a browser reads: elements well nested, with their attributes; scripts and texts apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.data = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack.pop() == tag

    def handle_data(self, text: str) -> None:
        if self.stack and self.stack[-1] == "script" and self.seen[-1][1].get("id") == "data":
            self.data += text
        elif not self.stack or self.stack[-1] not in ("script", "style"):
            self.texts.append(text)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    return reported(folder)


@pytest.fixture(scope="module")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(path, report)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return Page(path.read_text(encoding="utf-8"))


def decoded(url: str | None) -> bytes:
    assert url is not None
    assert url.startswith("data:")
    return base64.b64decode(url.partition(";base64,")[2])


def test_the_page_is_well_nested_and_asks_for_nothing(page: Page) -> None:
    assert not page.stack
    for attributes in (attributes for _, attributes in page.seen):
        for name in ("src", "href", "action", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), value
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_the_points_of_the_plot_are_the_rows_of_the_table(page: Page, report: Report) -> None:
    points = {point["name"]: point for point in json.loads(page.data)["points"]}
    assert set(points) == set(report.table["name"])
    for row in report.table.itertuples():
        point = points[row.name]
        assert (point["x"], point["y"]) == (100 * row.macs_share, row.reward)
        assert (point["low"], point["high"]) == (row.reward_low, row.reward_high)


def test_every_schedule_has_its_article_row_and_file(page: Page, report: Report) -> None:
    ids = {point["id"]: point["name"] for point in json.loads(page.data)["points"]}
    assert {a["id"] for a in page.all("article")} == set(ids)
    assert {row["data-of"] for row in page.all("tr") if "data-of" in row} == set(ids)
    texts = {decoded(a["href"]).decode() for a in page.all("a") if str(a.get("download")).endswith(".ecad")}
    assert texts == set(report.programs.values())
    for name, key in report.keys.items():
        assert compile(parse(report.programs[name]), SPEC, 20).key == key


def test_the_table_is_there_to_be_taken_away(page: Page, report: Report) -> None:
    (link,) = [a for a in page.all("a") if a.get("download") == "comparison.csv"]
    pd.testing.assert_frame_equal(pd.read_csv(StringIO(decoded(link["href"]).decode())), report.table)


def test_pictures_are_kept_to_the_pixel(page: Page, report: Report) -> None:
    data = json.loads(page.data)
    name = report.table["name"][1]
    (point,) = [point for point in data["points"] if point["name"] == name]
    for url, picture in zip(data["pictures"][point["id"]], report.pictures[name], strict=True):
        shown = np.asarray(Image.open(BytesIO(decoded(url)))).transpose(2, 0, 1)
        np.testing.assert_array_equal(shown, (255 * picture).round())


def test_large_pictures_are_made_smaller(report: Report, tmp_path: Path) -> None:
    large = {name: np.repeat(np.repeat(p[:1], 40, 2), 40, 3) for name, p in report.pictures.items()}
    write_report(tmp_path / "report.html", replace(report, pictures=large, captions=report.captions[:1]))
    data = json.loads(Page((tmp_path / "report.html").read_text(encoding="utf-8")).data)
    assert {Image.open(BytesIO(decoded(urls[0]))).size for urls in data["pictures"].values()} == {(320, 320)}


def test_whatever_comes_from_outside_stays_text(folder: Path, tmp_path: Path) -> None:
    report = reported(folder, hostile=True)
    write_report(tmp_path / "report.html", report)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.stack
    assert len(page.all("script")) == 3
    assert not [image for image in page.all("img") if "onerror" in image]
    assert HOSTILE not in text
    assert any(HOSTILE in shown for shown in page.texts)
    assert any(point["name"].endswith(HOSTILE) for point in json.loads(page.data)["points"])


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.01, 0.2, "better"), (-0.1, 0.2, "open"), (-0.2, -0.01, "worse"), (0.0, 0.2, "open")]
)
def test_a_claim_says_better_only_beyond_doubt(low: float, high: float, verdict: str) -> None:
    told = claim(
        {"evolved": "bred", "rival": "fora-3", "gain": 0.05, "low": low, "high": high, "fewer_macs": 0.125}, "9 prompts"
    )
    assert told["verdict"] == verdict
    assert told["gain"] == "+0.050 reward"
    assert told["sentence"].startswith("bred against fora-3, with 12.5\N{NO-BREAK SPACE}% fewer MACs, on 9 prompts; 95")


def test_a_rival_that_nothing_answers_is_said_to_be(report: Report, tmp_path: Path) -> None:
    unanswered = {"rival": "fora-9", "evolved": None, "dominates": False, "surely": False}
    write_report(tmp_path / "report.html", replace(report, verdicts=[unanswered]))
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert any(text.endswith("Nothing bred costs as little as fora-9.") for text in page.texts)
    assert not [attributes for attributes in page.all("li") if attributes.get("class") in ("better", "open", "worse")]


def test_equal_cost_is_the_closest_baseline_by_ratio() -> None:
    table = pd.DataFrame(
        {
            "name": ["none", "a", "b", "e"],
            "group": ["none", "baseline", "baseline", "evolved"],
            "macs": [99, 50, 20, 30],
        }
    )
    assert equal_cost(table, 30) == "b"
    assert equal_cost(table, 33) == "a"
    assert equal_cost(table[table["group"] != "baseline"], 30) is None


def test_a_run_that_was_not_judged_is_shown_without_intervals(report: Report, tmp_path: Path) -> None:
    measured = ("reward_low", "reward_high", "change", "change_low", "change_high", "ms_per_image", "speedup")
    bare = replace(
        report, table=report.table.assign(**dict.fromkeys(measured, np.nan)), verdicts=(), pictures={}, captions=(),
        claims=pd.DataFrame(), hypervolumes=pd.DataFrame(),
    )  # fmt: skip
    write_report(tmp_path / "report.html", bare)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not any("95 % interval" in text or "nan" in text for text in page.texts)
    assert json.loads(page.data)["floor"] is None


def test_a_run_shows_itself_in_a_notebook(report: Report) -> None:
    page = Page(report.frames._repr_html_())
    assert not page.stack
    assert len(page.all("svg")) == 3
    assert len(page.all("tr")) == 1 + len(report.frames.front)
    assert set(report.frames.front["name"]) <= set(page.texts)
