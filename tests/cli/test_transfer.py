"""``ecad transfer``: programs measured away from where they were found."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.quality.tiny_metrics import image_reward_folder


def test_every_setting_has_its_own_baselines(ecad, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two of the baselines are enough to tell, and quick.
    from ecad_dsl.analysis import baselines

    monkeypatch.setattr(baselines, "LIBRARY", {name: baselines.LIBRARY[name] for name in ("none", "fora-2")})
    monkeypatch.setattr(baselines, "FEWER_STEPS", (0.5,))
    file = write("model reference\nsteps 6\ncache all every 3 steps\n", "mine.ecad")
    table = tmp_path / "table.csv"
    small = ("--steps", "4,6", "--sizes", "256,128", "--prompts", 2, "--workers", 1)
    code, out, err = ecad("transfer", file, *small, "--csv", table)
    assert code == 0, err
    assert "4 steps, 128 px, guidance 3" in out
    lines = pd.read_csv(table)
    assert set(zip(lines["setting"], lines["steps"], strict=True)) == {
        (f"{steps} steps, {size} px, guidance 3", steps) for steps in (4, 6) for size in (256, 128)
    }
    small_share, large_share = (lines[lines["setting"].str.contains(f" {s} px")]["macs_share"] for s in (128, 256))
    assert (small_share.to_numpy() != large_share.to_numpy()).any()
    rows = json.loads(ecad("transfer", file, "--steps", "4", "--prompts", 2, "--workers", 1, "--json")[1])
    assert {row["over"] for row in rows} == {"FORA", "fewer steps", "any"}


def test_schedules_are_taken_to_another_model(
    ecad, write, tmp_path: Path, tiny_folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ecad_dsl.analysis import baselines

    monkeypatch.setattr(baselines, "LIBRARY", {name: baselines.LIBRARY[name] for name in ("none", "fora-2")})
    monkeypatch.setattr(baselines, "FEWER_STEPS", (0.5,))
    file = write("model pixart-alpha\nsteps 20\ncache ffn in blocks 14-27 every 3 steps\n", "mine.ecad")
    command = (
        "transfer", file, "--model", tiny_folders("pixart-sigma"), "--device", "cpu", "--workers", 1,
        "--weights", image_reward_folder(tmp_path / "ImageReward"), "--prompt-file", write("a cat\na dog\n", "p.txt"),
        "--sizes", 16, "--json",
    )  # fmt: skip
    code, out, err = ecad(*command, "--steps", "4,6", "--guidance", "2,5", "--home", "6 steps, 16 px, guidance 2")
    assert code == 0, err
    rows = {(row["setting"], row["over"]): row for row in json.loads(out)}
    settings = {setting for setting, _ in rows}
    assert settings == {f"{steps} steps, 16 px, guidance {scale}" for steps in (4, 6) for scale in (2, 5)}
    assert {setting for setting, _ in rows if rows[setting, "any"]["home"]} == {"6 steps, 16 px, guidance 2"}
    assert len({rows[setting, "any"]["no_cache"] for setting in settings}) == 4  # each has pictures of its own
    assert all(rows[setting, "any"]["macs_share"] < 1 for setting in settings)
    (own,) = {row["setting"] for row in json.loads(ecad(*command, "--steps", 4)[1])}
    assert own == "4 steps, 16 px"
    assert "--home is one of the settings: 4 steps, 16 px; not 'here'" in ecad(*command, "-s", 4, "--home", "here")[2]
    assert "--prompt-file FILE" in ecad(*command[:6])[2]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--steps", "few"), "numbers with commas"),
        (("--guidance", "nan"), "numbers with commas"),
        (("--steps", "inf"), "numbers with commas"),
        (("--steps", "1"), "whole numbers from 2 up"),
        (("--sizes", "100"), "multiples of 16"),
        (("--steps", "5000"), "too many"),
    ],
)
def test_settings_that_cannot_be(ecad, options: tuple[str, str], expected: str) -> None:
    code, _, err = ecad("transfer", "fora-3", *options)
    assert code == 2
    assert expected in err
