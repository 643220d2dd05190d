"""``ecad evolve --model``: a search on a tiny pipeline with ImageReward, its announcement, its resumption, presets."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from ecad_dsl.cli.main import app
from ecad_dsl.evolution.presets import preset_names, read_preset
from tests.quality.tiny_metrics import image_reward_folder
from tests.tiny_pipelines import tiny_folders  # noqa: F401 - a fixture


@pytest.fixture
def options(tmp_path: Path, tiny_folders: Callable[[str], Path]) -> list[object]:  # noqa: F811
    (tmp_path / "prompts.txt").write_text("a red cube\nthe cat\na blue sphere on snow\n")
    (tmp_path / "unseen.txt").write_text("a dog under the cube\na photo of the snow\n")
    return [
        "--model", tiny_folders("pixart-alpha"), "--metric", "image-reward",
        "--weights", image_reward_folder(tmp_path / "ImageReward"), "--device", "cpu",
        "--prompt-file", tmp_path / "prompts.txt", "--held-out-file", tmp_path / "unseen.txt",
        "--objective", "reward", "--steps", 2, "--population", 4, "--batch", 4,
    ]  # fmt: skip


def test_a_search_on_a_pipeline_from_its_plan_to_its_front(ecad, options: list[object], tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, out, err = ecad("evolve", "--run", run, *options, "--generations", 1, "--prompts", 2, "--images", 2)
    assert code == 0
    assert "8 candidates of 4 pictures each, 32 pictures at most" in err
    assert "transformer: " in err
    assert "batch: 4" in err
    assert "4 more in 1 generations: about " in err
    assert "held-out" in out
    assert list((run / "front").glob("*.ecad"))
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["problem"]["metric"] == "image-reward"
    assert len(config["prompts"]["calibration"]["prompts"]) == 4
    assert {entry["seed"] for entry in config["prompts"]["held-out"]["prompts"]} == {1_000_000, 1_000_001}


def test_a_resumed_run_needs_no_options_and_ends_like_an_uninterrupted_one(ecad, options, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert ecad("evolve", "--run", whole, *options, "--generations", 2)[0] == 0
    assert ecad("evolve", "--run", parts, *options, "--generations", 1)[0] == 0
    code, _, _ = ecad("evolve", "--resume", parts, "--generations", 2, "--device", "cpu", "--batch", 4)
    assert code == 0
    fronts = [{file.name: file.read_text() for file in (run / "front").iterdir()} for run in (whole, parts)]
    assert fronts[0] == fronts[1]


def test_embeddings_are_reused(ecad, options: list[object], tmp_path: Path) -> None:
    stored = tmp_path / "embeddings"
    model = ("--model", options[1], "--device", "cpu")
    assert ecad("embed", tmp_path / "prompts.txt", *model, "-o", stored)[0] == 0
    asked = ("evolve", "--run", tmp_path / "run", *options, "--generations", 0, "--embeddings", stored)
    code, _, err = ecad(*asked)
    assert code == 2
    assert "do not hold the prompt 'a dog under the cube'" in err
    assert ecad("embed", tmp_path / "unseen.txt", *model, "-o", stored)[0] == 0
    code, _, err = ecad(*asked)
    assert code == 0
    assert "text_encoder" not in err


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_has_options_of_the_command(name: str) -> None:
    command = typer.main.get_command(app)
    known = {parameter.name for parameter in command.commands["evolve"].params}  # type: ignore[attr-defined]
    assert set(read_preset(name)) <= known


def test_presets_have_the_papers_settings() -> None:
    pixart, flux = read_preset("paper-pixart"), read_preset("paper-flux")
    assert (pixart["population"], pixart["generations"], pixart["prompts"] * pixart["images"]) == (72, 550, 1000)
    assert (flux["population"], flux["generations"], flux["height"]) == (24, 250, 256)
    assert pixart["genome"] == flux["genome"] == "bits"


def test_options_go_before_a_preset(ecad, options: list[object], tmp_path: Path) -> None:
    asked = ("evolve", "--run", tmp_path / "run", "--preset", "paper-pixart", *options)
    code, _, err = ecad(*asked, "--generations", 0, "--images", 1)
    assert code == 0
    assert "4 candidates of 3 pictures each" in err
    assert 'genome = "bits"' in (tmp_path / "run" / "config.toml").read_text()


def test_flux_is_searched_like_pixart(ecad, options, tiny_folders, tmp_path: Path) -> None:  # noqa: F811
    options[1] = tiny_folders("flux")
    asked = ("evolve", "--run", tmp_path / "run", "--preset", "paper-flux", *options)
    code, _, err = ecad(*asked, "--generations", 1, "--images", 1, "--height", 16, "--width", 16, "--prompts", 1)
    assert code == 0
    assert "text_encoder_2: " in err
    assert list((tmp_path / "run" / "front").glob("*.ecad"))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--preset", "paper-sora"], "there are: paper-flux, paper-pixart"),
        (["--model", "pixart-alpha"], "--prompt-file FILE"),
        (["--preset", "paper-pixart"], "prompts/benchmark-prompts.json"),
        (["--model", "pixart-alpha", "--metric", "beauty"], "unknown metric 'beauty'"),
        (["--model", "nothing-like-it", "--prompt-file", "x.txt"], "nothing-like-it"),
    ],
)
def test_what_cannot_be_searched_is_refused(ecad, tmp_path: Path, extra: list[str], message: str) -> None:
    code, _, err = ecad("evolve", "--run", tmp_path / "run", "--device", "cpu", *extra)
    assert code == 2
    assert message in err
    assert not (tmp_path / "run").exists()
