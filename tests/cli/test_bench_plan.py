"""``ecad bench --plan``: a table in one command, written as LaTeX, Markdown and CSV."""

import csv
import json
from pathlib import Path

import pytest

SETS = 'sets=[{name="own", prompts="reference", count=2, metrics=["reference", "psnr"]}]'
QUICK = ("--set", SETS, "--set", "rounds=1", "--set", "timing_batch=1", "--set", "batch=2", "--steps", 2)


def test_a_plan_that_ships_runs_on_the_reference_model(ecad, write, tmp_path: Path) -> None:
    out_folder = tmp_path / "out"
    own = write("cache ffn every 2 steps\n", "my own.ecad")
    asked = ("bench", own, "--plan", "reference", *QUICK, "--set", 'schedules=["fora-2"]', "--out", out_folder)
    code, out, _ = ecad(*asked)
    assert code == 0
    assert "own psnr" in out
    assert "my own" in out
    lines = list(csv.DictReader((out_folder / "table.csv").open()))
    assert [line["name"] for line in lines] == ["none", "fora-2", "my own"]
    assert float(lines[0]["own psnr"]) == pytest.approx(40)
    assert float(lines[1]["own reference_low"]) <= float(lines[1]["own reference"])
    assert (out_folder / "table.md").read_text().startswith("| schedule | steps | TMACs | ms an image | speed-up |")
    assert "my own & 2 & " in (out_folder / "table.tex").read_text()
    code, out, _ = ecad(*asked, "--json")
    assert code == 0
    assert [str(line["ms_per_image"]) for line in json.loads(out)] == [line["ms_per_image"] for line in lines]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--plan", "paper"), "there is no plan 'paper'; name a .toml file, or one of paper-flux, paper-pixart"),
        (("--plan", "reference", "--set", "batch"), "--set wants KEY=VALUE"),
        (("--plan", "reference", "--set", "colour=red"), "the plan has no key 'colour'"),
        (("--plan", "reference", "--set", "rounds=0", "--set", 'schedules=["fora-99"]'), "fora-99"),
        (("--set", "batch=3"), "--plan FILE"),
        ((), "name the schedules to be timed, or a plan"),
        (("--plan", "paper-pixart"), "prompts/benchmark-prompts.json"),
    ],
)
def test_what_cannot_be_done_is_refused(ecad, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    code, out, err = ecad("bench", *options, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert message in err
