"""Schedules away from home are set against what belongs there."""

from __future__ import annotations

import numpy as np
import pytest
from ecad_dsl.analysis.transfer import transfer_table

from ecad_dsl.quality.measure import Measured
from tests.analysis.test_claims import measured


def setting(shift: float) -> list[Measured]:
    rewards = np.linspace(0, 1, 10) + shift
    return [
        measured("none", 100, rewards + 0.5, "no cache", "none"),
        measured("fora-2", 50, rewards + 0.3, "FORA", "baseline"),
        measured("fora-4", 30, rewards - 0.1, "FORA", "baseline"),
        measured("5 steps", 40, rewards + 0.3, "fewer steps", "fewer steps"),
        measured("mine", 40, rewards + 0.2),
    ]


def test_each_family_is_met_at_the_schedules_own_cost() -> None:
    table = transfer_table({"here": setting(0), "there": setting(1)}, home="here")
    assert len(table) == 2 * 3
    lines = table[table["setting"] == "here"].set_index("over")
    assert lines.loc["FORA", "gain"] == pytest.approx(0.2 - 0.1)  # halfway from fora-4 to fora-2
    assert lines.loc["fewer steps", "gain"] == pytest.approx(-0.1)
    assert lines.loc["any", "gain"] == pytest.approx(-0.1)
    assert lines["home"].all()
    there = table[table["setting"] == "there"].set_index("over")
    assert there.loc["FORA", "gain"] == pytest.approx(0.1)
    assert there.loc["FORA", "kept"] == pytest.approx(1.7 / 2.0)
    assert not there["home"].any()


def test_a_family_that_is_dearer_says_nothing() -> None:
    entries = [entry for entry in setting(0) if entry.entry.name != "fora-4"]
    lines = transfer_table({"here": entries}).set_index("over")
    assert np.isnan(lines.loc["FORA", "gain"])
    assert lines.loc["any", "gain"] == pytest.approx(-0.1)
