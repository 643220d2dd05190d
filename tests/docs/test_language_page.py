"""The page of the language is made from its source and the grammar, and every example on it does what it says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PICTURES = "images/language"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    runpy.run_path(str(DOCS / "make.py"))["make"](folder)
    return folder


def test_the_page_is_up_to_date(made: Path) -> None:
    assert (DOCS / "language.md").read_text(encoding="utf-8") == (made / "language.md").read_text(encoding="utf-8")


def test_a_picture_is_the_same_every_time(made: Path, tmp_path: Path) -> None:
    draw = runpy.run_path(str(DOCS / "make.py"))["draw"]
    draw("model pixart-alpha\nsteps 20\n\ncache all every 3 steps\n", tmp_path / "fora.svg")
    assert (tmp_path / "fora.svg").read_bytes() == (made / PICTURES / "fora.svg").read_bytes()


def test_so_are_its_pictures(made: Path) -> None:
    pictures = {path.name for path in (made / PICTURES).iterdir()}
    assert {path.name for path in (DOCS / PICTURES).iterdir()} == pictures
    page = (made / "language.md").read_text(encoding="utf-8")
    for name in pictures:
        assert f"]({PICTURES}/{name})" in page
        # Heat maps depend on the version of matplotlib; what they show stands in the text of the page.
        if name.startswith("grammar-"):
            assert (DOCS / PICTURES / name).read_bytes() == (made / PICTURES / name).read_bytes()


@pytest.mark.parametrize(
    ("example", "complaint"), [("```ecad\ncache fnn\n```\n", "E202"), ("```ecad E203\ncache ffn\n```\n", "E203")]
)
def test_an_example_that_does_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str, complaint: str
) -> None:
    (tmp_path / "language.in.md").write_text(example)
    make = runpy.run_path(str(DOCS / "make.py"))["make"]
    monkeypatch.setitem(make.__globals__, "DOCS", tmp_path)
    with pytest.raises(Exception, match=complaint):
        make(tmp_path)
