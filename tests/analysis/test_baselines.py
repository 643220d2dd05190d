"""The library's files and the generators mean the same, on any model and any number of steps."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import pytest
from ecad_dsl.analysis.baselines import (
    LIBRARY,
    DeepCache,
    DeltaDit,
    FewerSteps,
    Fora,
    Pab,
    Tgate,
    TocaStandIn,
    baselines,
)
from hypothesis import given
from hypothesis import strategies as st

from ecad_dsl import EcadError, schedules
from ecad_dsl.models import ModelSpec, load_spec, spec_names
from ecad_dsl.runtime.inspect import inspect_class
from ecad_dsl.schedule import check, compile, cost

SPECS = [*spec_names(), "LTXVideoTransformer3DModel"]


@cache
def spec_of(model: str) -> ModelSpec:
    return load_spec(model) if model in spec_names() else inspect_class(model, {"num_layers": 5})


def test_every_file_has_its_generator() -> None:
    assert set(LIBRARY) == set(schedules.names("baselines"))


@given(st.sampled_from(sorted(LIBRARY)), st.sampled_from(SPECS), st.integers(1, 60))
def test_file_and_generator_have_the_same_masks(name: str, model: str, steps: int) -> None:
    program, spec = schedules.load(name), spec_of(model)
    assert compile(program, spec, steps) == compile(LIBRARY[name].program(), spec, steps)
    assert not any(finding.is_error for finding in check(program, spec, steps))


def test_every_file_cites_its_source() -> None:
    for name in set(LIBRARY) - {"none"}:
        program = schedules.load(name)
        arxiv = str(program.meta["source"]).rpartition("arXiv:")[2]
        assert f"arXiv {arxiv})" in schedules.text(name).split("meta")[0]


@given(st.integers(1, 9), st.integers(2, 40))
def test_fora_computes_everything_at_every_nth_step(period: int, steps: int) -> None:
    schedule = compile(Fora(period).program(), "pixart-alpha", steps)
    assert [row > 0 for row in schedule.rows] == [step % period == 0 for step in range(steps)]


@given(st.integers(0, 100))
def test_tgate_computes_cross_attention_before_its_gate_alone(gate: int) -> None:
    spec = load_spec("pixart-alpha")
    masks = compile(Tgate(gate).program(), spec, 20).masks["blocks"]
    for step in range(20):
        early = step == 0 or Fraction(100 * (2 * step + 1), 40) < gate
        assert masks[step, :, 1].all() if early else not masks[step, :, 1].any()
    assert masks[:, :, [0, 2]].all()


def test_pab_leaves_both_ends_alone() -> None:
    masks = compile(Pab().program(), "pixart-alpha", 20).masks["blocks"]
    computed = [[step for step in range(20) if masks[step, 0, index]] for index in range(3)]
    assert computed[0] == [0, 1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 19]
    assert computed[1] == [0, 1, 2, 8, 14, 18, 19]
    assert computed[2] == list(range(20))


def test_delta_dit_caches_one_half_of_the_blocks_at_a_time() -> None:
    masks = compile(DeltaDit().program(), "pixart-alpha", 20).masks["blocks"]
    reused = [(step, block) for step in range(20) for block in range(28) if not masks[step, block].any()]
    assert {(step < 10, block >= 14) for step, block in reused} == {(True, True), (False, False)}


def test_the_stand_in_for_toca_spends_the_share_of_the_work_that_toca_does() -> None:
    """Of 28 blocks and 400 steps, so that rounding to whole blocks hardly shows."""
    masks = compile(TocaStandIn(period=4, ratio=0.9).program(), load_spec("pixart-alpha").resized({"blocks": 400}), 400)
    between = masks.masks["blocks"][[step for step in range(400) if step % 4]].double()
    assert between[:, :, 0].sum() == 0
    assert between[:, :, 1].mean().item() == pytest.approx(0.06, abs=0.003)
    assert between[:, :, 2].mean().item() == pytest.approx(0.16, abs=0.003)
    by_step, by_block = between.mean((1, 2)), between.mean((0, 2))
    assert (by_step.diff() <= 0).all()
    assert (by_block.diff() <= 0).all()


def test_fewer_steps_says_its_steps_itself() -> None:
    assert [row > 0 for row in compile(FewerSteps(12).program(), "reference").rows] == [True] * 12


@pytest.mark.parametrize(
    "wrong",
    [Fora(0), FewerSteps(0), Tgate(101), Pab(start=60, stop=40), DeltaDit(border=-1), DeepCache(2, 80, 20),
     TocaStandIn(ratio=90)],
)  # fmt: skip
def test_a_parameter_out_of_range_is_refused(wrong: Fora) -> None:
    with pytest.raises(EcadError, match="not"):
        wrong.program()


def test_baselines_do_something_and_belong_to_families() -> None:
    entries = {entry.name: entry for entry in baselines(load_spec("flux.1-dev"), 20)}
    assert not {"tgate-50", "tgate-25", "pixart-alpha-256-fast"} & set(entries)
    assert entries["fora-4"].family == entries["fora-2"].family == "FORA"
    assert entries["14 steps"].group == entries["14 steps"].family == "fewer steps"
    keys = [entry.schedule.key for name, entry in entries.items() if name != "none"]
    assert entries["none"].schedule.key not in keys


@pytest.mark.parametrize("name", schedules.names("evolved"))
def test_evolved_schedules_carry_figures_and_how_to_repeat_them(name: str) -> None:
    program = schedules.load(name)
    schedule = compile(program)
    assert program.meta["macs"] == cost(schedule).macs
    assert f"{1 - cost(schedule).saved:.1%}" in str(program.meta["title"])
    low, mean, high = (float(program.meta[f"held_out_{what}"]) for what in ("low", "reward", "high"))
    assert low < mean < high
    prompts = program.meta["held_out_prompts"]
    assert program.meta["repeat"] == f"ecad compare {name} --prompts {prompts} --rounds 0"
