"""The guide's way from prompts to a table, walked with a tiny pipeline and tiny metrics laid out as published."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import ecad  # noqa: F401 - a fixture
from tests.quality.tiny_metrics import clip_folder, image_reward_folder
from tests.tiny_pipelines import tiny_folders  # noqa: F401 - a fixture

BENCHMARK = '[{"id": "1", "prompt": "a red cube"}, {"id": "2", "prompt": "the cat on snow"}]'
PARTI = "Prompt\tCategory\tChallenge\tNote\na blue sphere\tArts\tBasic\t\na dog under the cube\tArts\tBasic\t\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "benchmark-prompts.json").write_text(BENCHMARK)
    (tmp_path / "prompts" / "PartiPrompts.tsv").write_text(PARTI)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_prompts_to_a_table(
    ecad,  # noqa: F811
    place: Path,
    tiny_folders: Callable[[str], Path],  # noqa: F811
) -> None:
    alpha, sigma = ("--model", tiny_folders("pixart-alpha")), ("--model", tiny_folders("pixart-sigma"))
    judge, clip = image_reward_folder(place / "ImageReward"), clip_folder(place / "clip")
    prompts = ("prompts/benchmark-prompts.json", "prompts/PartiPrompts.tsv")

    code, out, _ = ecad("prompts", prompts[0])
    assert code == 0
    assert "2" in out

    assert ecad("embed", *prompts, *alpha, "--device", "cpu", "-o", "embeddings/alpha")[0] == 0
    quick = ("--population", 3, "--generations", 1, "--steps", 2, "--prompts", 2, "--held-out", 2, "--batch", 2)
    code, _, err = ecad(
        "evolve", "--run", "runs/quick", "--preset", "quick-pixart", "--embeddings", "embeddings/alpha", *alpha,
        "--weights", judge, "--device", "cpu", *quick,
    )  # fmt: skip
    assert code == 0
    assert "6 candidates of 2 pictures each" in err
    assert ecad("runs", "show", "runs/quick")[0] == 0

    found = sorted(Path("runs/quick/front").glob("*.ecad"))[0]
    sets = f'sets=[{{name="calibration", prompts="{prompts[0]}", metrics=["image-reward", "clip", "psnr"]}}]'
    given = ("--set", sets, "--set", f'weights={{image-reward="{judge}", clip="{clip}"}}', "--set", "rounds=1")
    code, _, _ = ecad(
        "bench", found, "--plan", "paper-pixart", *alpha, "--steps", 2, "--device", "cpu", *given,
        "--set", 'schedules=["fora-2"]', "--out", "pixart",
    )  # fmt: skip
    assert code == 0
    lines = {line["name"]: line for line in csv.DictReader(Path("pixart/table.csv").read_text().splitlines())}
    assert list(lines) == ["none", "fora-2", found.stem]
    assert all(line["calibration image-reward"] for line in lines.values())

    rows = 'schedules=[{schedule="pixart-alpha-256-fast", name="moved", retarget=true}]'
    code, _, _ = ecad(
        "bench", "--plan", "transfer-sigma", *sigma, "--steps", 2, "--device", "cpu", *given, "--set", rows,
        "--out", "sigma",
    )  # fmt: skip
    assert code == 0
    assert "moved" in Path("sigma/table.md").read_text()


def test_transfer_by_hand(ecad, place: Path) -> None:  # noqa: F811
    for target in (("--to", "pixart-sigma"), ("--to", "pixart-alpha-1024"), ("--to-steps", 28)):
        assert ecad("retarget", "pixart-alpha-256-fast", *target, "-o", "moved.ecad")[0] == 0
        code, out, _ = ecad("cost", "moved.ecad")
        assert code == 0
        assert out
