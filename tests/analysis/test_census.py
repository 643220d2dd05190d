"""The census counts what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ecad_dsl.analysis import census, frames
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_dsl import EcadError, import_json, schedules
from ecad_dsl.evolution.search import evolve
from ecad_dsl.models import load_spec
from ecad_dsl.schedule import Schedule, compile, parse
from tests.evolution.synthetic import Synthetic

PAPER = Path(__file__).parent.parent / "data" / "paper"
PIXART = load_spec("pixart-alpha")
RULES = ["cache all every 3 steps", "reuse cross from step 10", "cache ffn in first 4 blocks every 2 steps", ""]


def compiled(*texts: str, model: str = "pixart-alpha", steps: int = 20) -> list[Schedule]:
    return [compile(parse(text), model, steps) for text in texts]


@given(st.lists(st.sampled_from(RULES), min_size=1, max_size=5))
def test_the_map_is_the_mean_of_the_masks(texts: list[str]) -> None:
    chosen = compiled(*texts)
    table = census.recompute_map(chosen)
    mean = np.mean([schedule.masks["blocks"].numpy() for schedule in chosen], axis=0)
    names = [component.name for component in PIXART.stacks[0].components]
    for line in table.sample(40, random_state=0).itertuples():
        assert line.recompute == pytest.approx(mean[line.step, line.block, names.index(line.component)])
    assert table["recompute"].mean() == pytest.approx(mean.mean())


def test_a_map_is_of_one_model() -> None:
    with pytest.raises(EcadError, match="different models"):
        census.recompute_map([*compiled(""), *compiled("", model="reference")])
    with pytest.raises(EcadError, match="no schedules"):
        census.recompute_map([])


@pytest.mark.parametrize("model", ["pixart-alpha", "flux.1-dev", "reference"])
def test_the_grid_finds_windows_on_any_model(model: str) -> None:
    (schedule,) = compiled("reuse ffn in blocks 50%-100% from step 70%", model=model)
    shares = census.grid([schedule])
    assert (shares[7:, 2:, 2] == 0).all()
    others = shares.copy()
    others[7:, 2:, 2] = 1
    known = others[np.isfinite(others)]
    assert (known == 1).all()
    assert np.isnan(shares[:, :, 1]).all() == (model == "flux.1-dev")  # FLUX has no cross-attention


def test_a_profile_says_where_and_when() -> None:
    table = census.profile(compiled("reuse cross", "")).set_index(["axis", "place"])["recompute"]
    assert table["component", "cross"] == 0.5
    assert table["component", "self"] == table["component", "ffn"] == 1
    assert table["steps", "0-10%"] == table["blocks", "75-100%"] == pytest.approx(5 / 6)


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(RULES), min_size=1, max_size=3), st.lists(st.sampled_from(RULES), min_size=1, max_size=3)
)
def test_agreement_is_mutual_and_perfect_with_oneself(one: list[str], other: list[str]) -> None:
    a, b = compiled(*one), compiled(*other, model="flux.1-dev")
    pd.testing.assert_frame_equal(census.agreement(a, b), census.agreement(b, a))
    itself = census.agreement(a, a)
    assert (itself["difference"] == 0).all()
    known = itself["correlation"].dropna()
    assert np.allclose(known, 1)


def test_the_released_files_and_the_librarys_programs_have_one_census() -> None:
    for file, name in (("pixart_alpha_256_fast", "pixart-alpha-256-fast"), ("flux_256_fast", "flux-256-fast")):
        released = import_json(PAPER / f"{file}.json")
        ours = compile(schedules.load(name))
        np.testing.assert_array_equal(census.grid([released]), census.grid([ours]))


def test_survival_counts_schedules_not_rules(tmp_path: Path) -> None:
    *_, _last = evolve(Synthetic(), tmp_path, population=8, generations=3, seed=0)
    found = frames.load(tmp_path, "reference", 20)
    table = census.survival(found)
    assert set(table["trait"]) == set(census.TRAITS)
    rules = found.rules
    for line in table[table["trait"] == "components"].itertuples():
        having = set(rules.loc[(rules["components"] == line.value) & (rules["steps"] > 0), "key"])
        assert line.all == len(having)
        assert line.front == len(having & set(found.front["key"]))
        assert line.front_share == line.front / len(found.front)
        assert line.lift == pytest.approx(line.front_share / line.all_share)


def test_windows_are_rounded_to_quarters() -> None:
    rules = pd.DataFrame(
        {"key": "a", "action": ["cache"], "components": ["ffn"], "cells": [9], "period": pd.array([3], "Int64"),
         "steps": [9], "first_step": [6], "last_step": [19], "first_block": [0], "last_block": [12]}
    )  # fmt: skip
    table = census.traits(rules, PIXART, 20).set_index("trait")["value"]
    assert table.to_dict() == {
        "action": "cache", "components": "ffn", "period": "3", "steps": "25%-100%", "blocks": "0%-50%",
    }  # fmt: skip
