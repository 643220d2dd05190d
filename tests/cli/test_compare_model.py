"""``ecad compare --model``: schedules on a tiny pipeline, judged by ImageReward."""

import json
from pathlib import Path

import pytest
from ecad_dsl.analysis import baselines

from tests.quality.tiny_metrics import image_reward_folder


@pytest.fixture
def options(tmp_path: Path, tiny_folders) -> tuple[object, ...]:
    (tmp_path / "unseen.txt").write_text("a red cube\nthe cat\na blue sphere on snow\n")
    weights = image_reward_folder(tmp_path / "ImageReward")
    return (
        "--model", tiny_folders("pixart-alpha"), "--device", "cpu", "--metric", "image-reward", "--weights", weights,
        "--prompt-file", tmp_path / "unseen.txt", "--prompts", 2, "-s", 6, "--height", 16, "--width", 16,
    )  # fmt: skip


def test_schedules_are_judged_on_a_pipeline_by_a_metric(
    ecad, write, tmp_path: Path, options, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: baselines.LIBRARY[name] for name in ("none", "fora-2")}
    monkeypatch.setattr(baselines, "LIBRARY", few)  # all of them take their time
    mine = write("steps 6\nreuse cross\n", "mine.ecad")
    code, out, _ = ecad("compare", mine, *options, "--rounds", 1, "--json", "--tables", tmp_path / "tables")
    assert code == 0
    table = {row["name"]: row for row in json.loads(out)["table"]}
    assert {"none", "fora-2", "2 steps", "mine"} <= set(table)
    assert table["none"]["macs_share"] == 1
    assert table["mine"]["macs"] < table["none"]["macs"]
    assert table["mine"]["reward"] != table["none"]["reward"]
    assert table["mine"]["speedup"] > 0
    rewards = (tmp_path / "tables" / "rewards.csv").read_text()
    assert ",1000000," in rewards


def test_what_is_missing_is_said_before_anything_is_loaded(ecad, write, tmp_path: Path, options) -> None:
    mine = write("steps 6\nreuse cross\n", "mine.ecad")
    assert "--prompt-file FILE" in ecad("compare", mine, "--model", options[1], "--device", "cpu")[2]
    assert "unknown metric 'beauty'" in ecad("compare", mine, *options, "--metric", "beauty")[2]
    assert "holds no embeddings" in ecad("compare", mine, *options, "--embeddings", tmp_path)[2]
