"""A run as tables: what the store holds, no more and no less, with the types that are promised."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from ecad_dsl.analysis import comparison, frames, pareto

from ecad_dsl import EcadError
from ecad_dsl.evolution.problem import PipelineProblem
from ecad_dsl.evolution.search import evolve
from ecad_dsl.evolution.store import RunStore
from ecad_dsl.models import load_spec
from ecad_dsl.quality.measure import reference_sampler
from ecad_dsl.quality.prompts import calibration, held_out
from ecad_dsl.reference.pipeline import load_reference
from ecad_dsl.schedule import Schedule, compile, parse
from tests.evolution.synthetic import Synthetic, SyntheticPrompts

SPEC = load_spec("reference")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search without pictures."""
    folder = tmp_path_factory.mktemp("run")
    *_, _last = evolve(Synthetic(), folder, population=6, generations=2, seed=0)
    return folder


@pytest.fixture(scope="module")
def loaded(run: Path) -> frames.Frames:
    return frames.load(run, "reference", 20)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search with pictures: few of them."""
    folder = tmp_path_factory.mktemp("pictured")
    problem = PipelineProblem(reference_sampler(load_reference(), calibration(3)), 2, held_out=held_out(4))
    *_, _last = evolve(problem, folder, population=3, generations=0, seed=0)
    return folder


def test_candidates_are_those_of_the_store(run: Path, loaded: frames.Frames) -> None:
    with RunStore(run, create=False) as store:
        found, last = store.evaluations(), store.generations()[-1]
    table = loaded.candidates.set_index("key")
    assert list(table.index) == [evaluation.key for evaluation in found]
    assert list(table["reward"]) == [evaluation.reward for evaluation in found]
    assert list(table["parents"]) == [list(evaluation.parents) for evaluation in found]
    assert set(table.index[table["on_front"]]) == set(last.front)
    assert list(loaded.front["key"]) == list(last.front)
    assert list(pareto.front(loaded.candidates)["macs"]) == list(loaded.front["macs"])
    full = compile(parse(""), SPEC, 20)
    assert table.loc[full.key, "macs_share"] == table.loc[full.key, "recomputed"] == 1


def test_columns_have_their_types(loaded: frames.Frames) -> None:
    tables = loaded.tables
    assert list(tables) == ["candidates", "evaluations", "rules", "generations", "cells"]
    for name, table in tables.items():
        for column, dtype in getattr(frames, name.upper()).items():
            assert table[column].dtype == pd.Series([], dtype=dtype).dtype or dtype == "category", (name, column)
    assert loaded.candidates["reward"].dtype == "float64"


def test_rules_say_what_they_select(loaded: frames.Frames) -> None:
    for line in loaded.rules.itertuples():
        schedule = compile(parse(line.rule), SPEC, 20)
        plain = compile(parse(""), SPEC, 20)
        changed = {step for step in range(20) if schedule.rows[step] != plain.rows[step]}
        assert changed <= set(range(line.first_step, line.last_step + 1))
    fora = loaded.rules[loaded.rules["rule"] == "cache all every 3 steps"].iloc[0]
    assert (fora["components"], fora["cells"], fora["period"], fora["steps"]) == ("self,cross,ffn", SPEC.cells, 3, 20)
    assert (fora["first_block"], fora["last_block"], fora["blocks"]) == (0, 7, 8)
    assert loaded.rules.groupby("key").size().to_dict() == {
        key: rules for key, rules in loaded.candidates.set_index("key")["rules"].items() if rules
    }


def test_cells_of_the_front_are_the_masks(loaded: frames.Frames) -> None:
    programs = loaded.candidates.set_index("key")["program"]
    assert set(loaded.cells["key"]) == set(loaded.front["key"])
    for key, table in loaded.cells.groupby("key", observed=True):
        masks = compile(parse(programs[key]), SPEC, 20).masks["blocks"]
        line = table.sample(1, random_state=0).iloc[0]
        index = [component.name for component in SPEC.stacks[0].components].index(line["component"])
        assert bool(masks[line["step"], line["block"], index]) == line["recompute"]
        assert table["recompute"].sum() == masks.sum()


def test_every_prompt_and_seed_has_a_row(pictured: Path) -> None:
    loaded = frames.load(pictured)
    prompts = calibration(3)
    assert (loaded.spec.name, loaded.steps) == ("reference", 2)
    rewards = loaded.evaluations.query("quantity == 'reward' and prompt_set == 'calibration'")
    means = rewards.groupby("key")["value"].mean()
    expected = loaded.candidates.set_index("key")["reward"].dropna()
    pd.testing.assert_series_equal(means.sort_index(), expected.sort_index(), check_names=False)
    for _, lines in rewards.groupby("key"):
        assert tuple(lines["prompt"]) == prompts.prompts
        assert tuple(lines["seed"]) == prompts.seeds


def test_what_was_measured_on_held_out_prompts_can_be_compared(pictured: Path) -> None:
    loaded = frames.load(pictured)
    judged = loaded.evaluations[loaded.evaluations["prompt_set"] == "held-out"]
    assert set(judged["key"]) == set(loaded.front["key"])
    assert set(judged["prompt"]) == set(held_out(4).prompts)
    measured = comparison.measured_in(loaded)
    assert [m.entry.name for m in measured] == list(loaded.front["name"])
    for m, line in zip(measured, loaded.front.to_dict("records"), strict=True):
        assert m.rewards.mean() == pytest.approx(line["held_out_reward"])
        assert m.entry.schedule.key == line["key"]
    assert loaded.candidates.loc[~loaded.candidates["on_front"], "held_out_reward"].isna().all()


def test_the_final_front_is_compared_though_the_search_front_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def level(problem: SyntheticPrompts, schedule: Schedule) -> list[float]:
        return [30.0] * len(problem.prompts)

    # The cheapest alone is on the search front, whatever is bred; rewards tell apart all that come close to it.
    monkeypatch.setattr(SyntheticPrompts, "fidelity", level)
    *_, last = evolve(SyntheticPrompts(), tmp_path, population=6, generations=3, seed=4, objectives="fidelity")
    loaded = frames.load(tmp_path, "reference", 20)
    final = {candidate.schedule.key for candidate in last.front}
    assert final - set(loaded.front["key"])
    measured = comparison.measured_in(loaded)
    assert {m.entry.schedule.key for m in measured} == final
    assert {m.entry.name for m in measured} == {path.stem for path in (tmp_path / "front").iterdir()}


def test_what_is_written_is_read_back(loaded: frames.Frames, tmp_path: Path) -> None:
    paths = frames.save(loaded, tmp_path / "tables", "parquet") + frames.save(loaded, tmp_path / "tables")
    assert len(paths) == 10
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "tables" / "candidates.parquet").assign(parents=None),
        loaded.candidates.assign(parents=None),
    )
    read = pd.read_parquet(tmp_path / "tables" / "candidates.parquet")
    assert [list(parents) for parents in read["parents"]] == list(loaded.candidates["parents"])
    csv = pd.read_csv(tmp_path / "tables" / "candidates.csv", keep_default_na=False)
    assert list(csv["parents"]) == [" ".join(parents) for parents in loaded.candidates["parents"]]
    assert list(csv["macs"]) == list(loaded.candidates["macs"])


def test_tables_have_one_of_two_formats(tmp_path: Path) -> None:
    with pytest.raises(EcadError, match=r"\.csv or \.parquet"):
        frames.save_table(pd.DataFrame(), tmp_path / "a.xlsx")


def test_a_run_that_does_not_say_its_model(run: Path, tmp_path: Path) -> None:
    with pytest.raises(EcadError, match="say both"):
        frames.load(run)
    with pytest.raises(EcadError, match="another schedule on"):
        frames.load(run, SPEC.resized({"blocks": 9}), 20)
    with pytest.raises(EcadError, match="holds no run"):
        frames.load(tmp_path / "elsewhere")


def test_each_candidate_has_its_own_number_of_steps_where_the_search_chose_it(tmp_path: Path) -> None:
    *_, _last = evolve(Synthetic(), tmp_path, population=8, generations=1, seed=3, fewest_steps=17)
    loaded = frames.load(tmp_path, "reference", 20)
    lines = loaded.candidates
    assert lines["steps"].nunique() > 1
    assert [loaded.schedule(text).key for text in lines["program"]] == lines["key"].to_list()
    assert [loaded.schedule(text).steps for text in lines["program"]] == lines["steps"].to_list()
    uncached = lines[lines["rules"] == 0]
    assert (uncached["macs_share"] - uncached["steps"] / 20).abs().max() < 1e-9
    alike = frames.of_one_length([loaded.schedule(text) for text in lines["program"]])
    assert {schedule.steps for schedule in alike} == {lines["steps"].mode().max()}
    assert loaded._repr_html_()
