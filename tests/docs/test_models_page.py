"""The page of the models is made from the shipped specs and the architectures that the tests prove."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from ecad_dsl.models.toml import read_spec

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_up_to_date(tmp_path: Path) -> None:
    runpy.run_path(str(DOCS / "models.py"))["make"](tmp_path)
    assert (DOCS / "models.md").read_text(encoding="utf-8") == (tmp_path / "models.md").read_text(encoding="utf-8")


def test_its_example_is_a_spec() -> None:
    page = (DOCS / "models.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    spec = read_spec(example.encode(), "mine", "mine.toml")
    assert spec.title == "Mine"
    assert spec.component_names == ("self", "cross", "ffn")
