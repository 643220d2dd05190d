"""``ecad report``: of runs on other models than the built-in one, and of what is no run."""

import json
from pathlib import Path

import pytest

from ecad_dsl.cli.report import _answers, _evolve_command
from ecad_dsl.evolution.search import evolve
from ecad_dsl.models import load_spec
from ecad_dsl.schedule import compile, cost, parse
from tests.analysis.test_report import Page
from tests.evolution.synthetic import Synthetic


class OnPixArt(Synthetic):
    steps = 4

    def __init__(self) -> None:
        super().__init__()
        self.spec = load_spec("pixart-alpha")
        self.settings = {"model": "pixart-alpha", "steps": 4}


def test_a_run_on_another_model_is_told_from_what_it_has_stored(ecad, tmp_path: Path) -> None:
    *_, last = evolve(OnPixArt(), tmp_path, population=6, generations=2, seed=0)
    code, out, err = ecad("report", tmp_path)
    assert code == 0
    assert str(tmp_path / "report.html") in out.replace("\n", "")
    assert "cannot be drawn here" in err
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    points = json.loads(page.data)["points"]
    bred = [candidate for candidate in last.front if candidate.generation > 0]
    evolved = [point["y"] for point in points if point["group"] == "evolved"]
    assert sorted(evolved) == pytest.approx(sorted(candidate.quality for candidate in bred))
    assert any("they flatter" in text for text in page.texts)
    assert json.loads(page.data)["pictures"] == {}


def test_a_run_that_names_no_known_model_is_told_it(ecad, tmp_path: Path) -> None:
    for _ in evolve(Synthetic(), tmp_path, population=3, generations=1, seed=0):
        pass
    code, _, err = ecad("report", tmp_path)
    assert code == 2
    assert "--model NAME" in err
    code, _, err = ecad("report", tmp_path, "--model", "reference", "--steps", 20)
    assert code == 0, err
    assert "--model reference --steps 20" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_what_is_no_run_or_no_file_is_refused(ecad, tmp_path: Path) -> None:
    code, _, err = ecad("report", tmp_path / "nowhere")
    assert code == 2
    assert "holds no run" in err
    for _ in evolve(OnPixArt(), tmp_path / "run", population=2, generations=0):
        pass
    code, _, err = ecad("report", tmp_path / "run", "-o", tmp_path)
    assert code == 2
    assert "it is a folder" in err


def test_rivals_are_answered_by_what_did_best_before_any_held_out_prompt_was_seen() -> None:
    import pandas as pd

    fora = compile(parse("cache all every 3 steps"), load_spec("reference"), 20)
    macs = cost(fora).macs
    front = pd.DataFrame(
        {"name": ["cheap", "equal", "dear"], "macs": [macs // 2, macs, macs + 1], "reward": [0.5, 0.7, 0.9]}
    )
    assert _answers(front, {"fora-3": fora}) == {"fora-3": "equal"}
    assert _answers(front[2:], {"fora-3": fora}) == {"fora-3": None}


def test_the_command_that_repeats_a_run_has_all_of_its_settings(tmp_path: Path) -> None:
    settings = {"population": 6, "max_rules": 24, "min_macs": 0.2, "problem prompts": 8, "problem held-out prompts": 48}
    command = _evolve_command(tmp_path / "my run", settings)
    assert command.startswith(f"ecad evolve --run '{tmp_path / 'my run'}' --population 6 --max-rules 24 --min-macs 0.2")
    assert command.endswith("--prompts 8 --held-out 48")
