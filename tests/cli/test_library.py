"""Schedules of the library by name, wherever a file is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ecad_dsl import EcadError, apply, load, load_reference


def test_the_list_says_what_each_costs_on_a_model(ecad) -> None:
    code, out, _ = ecad("schedules", "list", "--kind", "baselines", "--model", "pixart-alpha", "--json")
    assert code == 0
    lines = {line["name"]: line for line in json.loads(out)}
    assert lines["fora-2"]["recomputed"] == 0.5
    assert lines["fora-2"]["MACs"] == pytest.approx(2.872 / 5.714, abs=1e-3)
    assert "pixart-alpha-256-fast" not in lines
    assert "fora-3 " in ecad("schedules", "list")[1]


def test_only_those_that_fit_the_model_are_listed(ecad) -> None:
    names = {line["name"] for line in json.loads(ecad("schedules", "list", "--model", "reference", "--json")[1])}
    assert {"fora-3", "pab"} <= names
    assert not {"flux-256-fast", "pixart-alpha-256-fast"} & names


def test_show_prints_a_text_that_can_be_saved(ecad, write) -> None:
    code, out, _ = ecad("schedules", "show", "pab")
    assert code == 0
    assert load(write(out, "mine.ecad")) == load("pab")
    assert json.loads(ecad("schedules", "show", "pab", "--json")[1])["source"] == "arXiv:2408.12588"


@pytest.mark.parametrize("command", ["check", "show", "cost", "explain", "compile", "simplify"])
def test_every_command_takes_a_name(ecad, command: str) -> None:
    code, out, _ = ecad(command, "fora-3")
    assert code == 0
    assert out


def test_a_name_that_nobody_has(ecad) -> None:
    code, _, err = ecad("show", "fora-33")
    assert code == 2
    assert "no file fora-33, and no schedule of the library is called so; did you mean `fora-3`?" in err
    assert "there is no file fora-3.ecad" in ecad("show", "fora-3.ecad")[2]


def test_a_file_goes_before_a_schedule_of_its_name(ecad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fora-3").write_text("cache all every 2 steps\n")
    assert load("fora-3").rules == load("fora-2").rules


@pytest.mark.parametrize("command", [("fmt",), ("check", "--fix")])
def test_the_library_is_not_written_to(
    ecad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = ecad(*command, "fora-3")
    assert code in (1, 2)
    assert "ecad schedules show fora-3 > fora-3.ecad" in err
    assert not list(tmp_path.iterdir())


def test_a_pipeline_runs_under_a_name() -> None:
    pipe = load_reference()
    with apply(pipe, "fora-3", steps=6) as run:
        assert run.schedule is not None
        assert [row > 0 for row in run.schedule.rows] == [True, False, False] * 2
    with pytest.raises(EcadError, match="did you mean `fora-3`"), apply(pipe, "fora3"):
        pass
