"""Tables of benchmarks for papers and pages: LaTeX, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isnan
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_HEADINGS: Mapping[str, str] = {
    "name": "schedule",
    "steps": "steps",
    "tmacs": "TMACs",
    "ms_per_image": "ms an image",
    "speedup": "speed-up",
}
_DIGITS: Mapping[str, int] = {"steps": 0, "tmacs": 3, "ms_per_image": 1, "speedup": 2, "fid": 2, "psnr": 2}
"""Behind the point; three for everything else. Of a set's metric by the metric's name."""


def figures(frame: pd.DataFrame) -> list[str]:
    """The columns of a benchmark that a table shows: the bounds of intervals are not among them."""
    return [column for column in frame.columns if not column.endswith(("_low", "_high"))]


def cells(frame: pd.DataFrame) -> list[list[str]]:
    """What stands in the table, row by row, in the columns that :func:`figures` names."""
    return [[_cell(column, row[column]) for column in figures(frame)] for _, row in frame.iterrows()]


def headings(frame: pd.DataFrame) -> list[str]:
    """What stands above the columns."""
    return [_HEADINGS.get(column, column) for column in figures(frame)]


def to_markdown(frame: pd.DataFrame) -> str:
    """A table as in GitHub's Markdown."""
    marks = ["---", *("---:" for _ in headings(frame)[1:])]
    lines = [headings(frame), marks, *cells(frame)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def to_latex(frame: pd.DataFrame) -> str:
    """A ``tabular`` with the rules of the package booktabs."""
    columns = "l" + "r" * (len(headings(frame)) - 1)
    body = "\n".join(_latex_line(line) for line in cells(frame))
    return (
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{_latex_line(headings(frame))}\n\\midrule\n{body}\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


def to_csv(frame: pd.DataFrame) -> str:
    """All figures at full precision, with the bounds of their intervals."""
    text: str = frame.to_csv(index=False)
    return text


FORMATS: Mapping[str, Callable[[pd.DataFrame], str]] = {".md": to_markdown, ".tex": to_latex, ".csv": to_csv}
"""Writers by the suffix of the file."""


def _cell(column: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isnan(value):
        return ""
    if column == "tmacs" and 0 < value < 0.1:
        return f"{value:.5f}"
    return f"{value:.{_DIGITS.get(column.rpartition(' ')[2], 3)}f}"


def _latex_line(line: list[str]) -> str:
    return " & ".join(map(_latex, line)) + " \\\\"


def _latex(text: str) -> str:
    """Text with what LaTeX would take for commands."""
    special = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
    return "".join(special.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)
