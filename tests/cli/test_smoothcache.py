"""``ecad smoothcache``: a schedule from what a model does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from ecad_dsl.schedule import compile, cost, load, parse


def test_a_schedule_is_written_for_a_cost(ecad, tmp_path: Path) -> None:
    table, file = tmp_path / "changes.csv", tmp_path / "smooth.ecad"
    small = ("--steps", 6, "--count", 2)
    code, _, err = ecad("smoothcache", "--macs", 0.6, *small, "-o", file, "--table", table)
    assert code == 0, err
    program = load(file)
    schedule = compile(program)
    assert (program.model, schedule.steps, program.meta["family"]) == ("reference", 6, "SmoothCache")
    assert 1 - cost(schedule).saved <= 0.6
    assert set(pd.read_csv(table)["component"]) == {"self", "cross", "ffn"}
    code, out, _ = ecad("smoothcache", "--threshold", program.meta["threshold"], *small)
    assert code == 0
    assert compile(parse(out)) == schedule


def test_how_much_is_reused_is_said_one_way(ecad) -> None:
    for options in ((), ("--threshold", 0.1, "--macs", 0.5)):
        code, _, err = ecad("smoothcache", *options)
        assert (code, "--threshold 0.1, or --macs" in err) == (2, True)


def test_a_threshold_is_a_number(ecad) -> None:
    for option in ("--threshold", "--macs"):
        code, _, err = ecad("smoothcache", option, "nan")
        assert (code, "are numbers, not nan" in err) == (2, True)


def test_any_pipeline_is_measured_on_prompts_that_are_given(ecad, tiny_folders: Callable[[str], Path]) -> None:
    folder = tiny_folders("flux")
    target = ("--macs", 0.9, "--steps", 3, "--reach", 1, "--model", folder)
    code, out, err = ecad("smoothcache", "a red cube", "a blue sphere", *target, "--batch", 1)
    assert code == 0, err
    assert "meta measured_on_prompts 2" in out
    assert "say what to measure on" in ecad("smoothcache", *target)[2]
