"""Tables for papers and pages: the figures of a benchmark, and only those."""

import pandas as pd
import pytest
from ecad_dsl.analysis.tables import FORMATS, to_csv, to_latex, to_markdown

FRAME = pd.DataFrame(
    [
        {"name": "none", "steps": 20, "tmacs": 5.7139, "speedup": 1.0, "coco fid": 24.836, "coco fid_low": 20.0},
        {"name": "my_own | 50%", "steps": 20, "tmacs": 0.00213, "speedup": float("nan"), "coco fid": 20.581},
    ]
)


def test_markdown_has_a_line_for_each_row_and_no_bounds() -> None:
    assert to_markdown(FRAME).splitlines() == [
        "| schedule | steps | TMACs | speed-up | coco fid |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| none | 20 | 5.714 | 1.00 | 24.84 |",
        "| my_own \\| 50% | 20 | 0.00213 |  | 20.58 |",
    ]


def test_latex_escapes_what_would_be_a_command() -> None:
    text = to_latex(FRAME)
    assert "my\\_own | 50\\% & 20 & 0.00213 &  & 20.58 \\\\" in text
    assert text.startswith("\\begin{tabular}{lrrrr}\n\\toprule\n")
    assert text.count("\\\\") == 3


def test_csv_keeps_every_figure() -> None:
    lines = to_csv(FRAME).splitlines()
    assert lines[0] == "name,steps,tmacs,speedup,coco fid,coco fid_low"
    assert lines[1] == "none,20,5.7139,1.0,24.836,20.0"


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_of_one_column_is_a_table(suffix: str) -> None:
    assert "none" in FORMATS[suffix](FRAME[["name"]])
