"""config.toml: what a run was started with, to be read, and to be held against."""

import math
import tomllib
from pathlib import Path

import pytest

from ecad_dsl import EcadError
from ecad_dsl.evolution import search
from ecad_dsl.evolution.config import read_config
from ecad_dsl.evolution.search import evolve
from ecad_dsl.evolution.store import RunStore
from ecad_dsl.models import load_spec
from tests.evolution.synthetic import SyntheticPrompts

SETTINGS = {"population": 8, "generations": 1, "seed": 3}


def test_a_run_writes_down_all_that_it_takes_to_repeat_it_before_anything_is_measured(tmp_path: Path) -> None:
    problem = SyntheticPrompts()
    next(evolve(problem, tmp_path, **SETTINGS))
    config = read_config(tmp_path)
    assert {name: config["search"][name] for name in SETTINGS} == SETTINGS
    assert config["problem"] == problem.settings
    assert {"ecad", "python", "torch", "numpy", "pymoo", "diffusers"} <= config["versions"].keys()
    for name, prompts in (("calibration", problem.prompts), ("held-out", problem.held_out)):
        kept = config["prompts"][name]
        assert [(pair["prompt"], pair["seed"]) for pair in kept["prompts"]] == list(
            zip(prompts.prompts, prompts.seeds, strict=True)
        )
        assert kept["sha256"] == prompts.sha256
    (tmp_path / "again.toml").write_text(config["model"]["spec"])
    spec = load_spec(tmp_path / "again.toml")
    assert (spec.stacks, spec.groups) == (problem.spec.stacks, problem.spec.groups)


def test_what_a_problem_says_of_itself_is_kept_or_refused_by_name(tmp_path: Path) -> None:
    problem = SyntheticPrompts()
    problem.settings = {"size": (512, 768), "strength": 0.5, "adapter": None}
    whole = list(evolve(problem, tmp_path, **SETTINGS))
    assert list(evolve(problem, tmp_path, **SETTINGS))[-1].measured < whole[-1].measured
    assert read_config(tmp_path)["problem"] == {"size": [512, 768], "strength": 0.5}
    for value in (tmp_path, math.nan, {"a": 1}, [None]):
        problem.settings = {"size": value}
        with pytest.raises(EcadError, match="the problem's setting size is"):
            next(evolve(problem, tmp_path / "other", **SETTINGS))
    assert not (tmp_path / "other").exists()


def test_what_has_changed_is_recorded_by_name_or_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(evolve(SyntheticPrompts(), tmp_path, **SETTINGS))
    before = (tmp_path / "config.toml").read_bytes()
    with pytest.raises(EcadError, match="population was 8, now 9"):
        next(evolve(SyntheticPrompts(), tmp_path, **(SETTINGS | {"population": 9})))
    assert (tmp_path / "config.toml").read_bytes() == before
    real = search.versions()
    monkeypatch.setattr(search, "versions", lambda: real | {"torch": "9.9"})
    list(evolve(SyntheticPrompts(), tmp_path, **(SETTINGS | {"generations": 2})))
    changes = tomllib.loads((tmp_path / "config.toml").read_text())["changes"]
    assert [(c["name"], c["was"], c["now"]) for c in changes] == [
        ("generations", 1, 2),
        ("version of torch", real["torch"], "9.9"),
    ]
    with RunStore(tmp_path, create=False) as store:
        assert [str(change) for change in store.changes()] == [
            "generations was 1, now 2",
            f"version of torch was {real['torch']}, now 9.9",
        ]
    monkeypatch.setattr(search, "versions", lambda: real | {"pymoo": "9.9"})
    with pytest.raises(EcadError, match=r"version of pymoo was .*, now 9\.9"):
        next(evolve(SyntheticPrompts(), tmp_path, **(SETTINGS | {"generations": 2})))


def test_a_config_that_is_missing_or_damaged_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(EcadError, match=r"config\.toml is missing"):
        read_config(tmp_path)
    (tmp_path / "config.toml").write_text("population = = 3")
    with pytest.raises(EcadError, match="put it right"):
        read_config(tmp_path)
