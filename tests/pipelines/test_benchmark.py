"""A benchmark's plan on a tiny pipeline with tiny metrics: the table, and that nothing is done twice."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import PixArtAlphaPipeline
from PIL import Image

from ecad_dsl.errors import EcadError
from ecad_dsl.pipelines.benchmark import run_plan
from ecad_dsl.pipelines.embeddings import embed
from ecad_dsl.pipelines.load import Loading
from ecad_dsl.pipelines.pictures import read_picture
from ecad_dsl.quality.plan import Plan, read_plan
from ecad_dsl.runtime import apply
from tests.quality.tiny_metrics import clip_folder, image_reward_folder
from tests.tiny_pipelines import tiny_folders  # noqa: F401 - a fixture

PROMPTS = ("a red cube", "a blue sphere on snow", "the cat", "a dog under the cube")
Folders = Callable[[str], Path]


@pytest.fixture
def plan(tmp_path: Path, tiny_folders: Folders) -> Plan:  # noqa: F811
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    file = tmp_path / "plan.toml"
    file.write_text(
        f"""
        model = "{tiny_folders("pixart-alpha")}"
        steps = 3
        device = "cpu"
        batch = 3
        rounds = 1
        schedules = ["fora-2", {{ schedule = "none", steps = 2 }},
                     {{ schedule = "pixart-alpha-256-fast", retarget = true }}]
        [weights]
        image-reward = "{image_reward_folder(tmp_path / "ir")}"
        clip = "{clip_folder(tmp_path / "clip")}"
        [[sets]]
        name = "own"
        prompts = "{tmp_path / "prompts.txt"}"
        metrics = ["image-reward", "clip", "psnr"]
        """
    )
    return read_plan(file)


def test_a_table_like_a_papers(plan: Plan, tmp_path: Path) -> None:
    frame = run_plan(plan, tmp_path / "out").set_index("name")
    assert list(frame.index) == ["none", "fora-2", "none, 2 steps", "pixart-alpha-256-fast"]
    assert frame.loc["fora-2", "tmacs"] < frame.loc["none", "tmacs"]
    assert list(frame["steps"]) == [3, 3, 2, 3]
    assert frame.loc["none", "own psnr"] == pytest.approx(40)
    assert frame.loc["fora-2", "own psnr"] < 40
    assert (frame["own image-reward_low"] <= frame["own image-reward"]).all()
    assert (frame["ms_per_image"] > 0).all()


def test_pictures_are_those_of_the_pipeline_under_the_schedule(plan: Plan, tmp_path: Path) -> None:
    run_plan(plan, tmp_path / "out")
    pipe = Loading(plan.model, device="cpu").load()
    noise = [torch.Generator().manual_seed(seed) for seed in range(3)]
    with apply(pipe, "fora-2"):
        expected = pipe(
            list(PROMPTS[:3]), num_inference_steps=3, generator=noise, guidance_scale=4.5, max_sequence_length=120,
            clean_caption=False, use_resolution_binning=False,
        ).images  # fmt: skip
    files = sorted((tmp_path / "out" / "pictures" / "own" / "fora-2").glob("*.png"))
    assert len(files) == 4
    for file, picture in zip(files, expected, strict=False):
        assert np.array_equal(np.asarray(Image.open(file)), np.asarray(picture))
    told = read_picture(files[1])
    assert (told["prompt"], told["seed"], told["options"]["num_inference_steps"]) == (PROMPTS[1], 1, 3)
    assert "cache all every 2 steps" in told["schedule"]


def test_an_interrupted_plan_goes_on_and_ends_alike(plan: Plan, tmp_path: Path, monkeypatch: Any) -> None:
    def stop(what: str, done: int, _: int) -> None:
        if what == "drawing own, none, 2 steps" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, tmp_path / "out", stop)
    drawn = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    timed = {path: path.read_text() for path in (tmp_path / "out" / "timings").iterdir()}
    assert (len(drawn), len(timed)) == (11, 4)
    frame = run_plan(plan, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn
    assert {path: path.read_text() for path in timed} == timed
    whole = run_plan(plan, tmp_path / "whole")
    quality = [column for column in frame.columns if column.startswith("own")]
    assert frame[quality].equals(whole[quality])
    monkeypatch.setattr("ecad_dsl.pipelines.benchmark._Bench._call", None)
    monkeypatch.setattr("ecad_dsl.quality.image_reward.ImageReward.numbers", None)
    assert run_plan(plan, tmp_path / "out").equals(frame)


def test_pictures_of_other_settings_are_not_taken_for_these(plan: Plan, tmp_path: Path) -> None:
    run_plan(plan, tmp_path / "out")
    with pytest.raises(EcadError, match="another options; name another folder"):
        run_plan(read_plan(tmp_path / "plan.toml", {"options": {"guidance_scale": 2.0}}), tmp_path / "out")


def test_stored_embeddings_give_the_same_pictures_without_the_text_encoder(plan: Plan, tmp_path: Path) -> None:
    run_plan(plan, tmp_path / "out")
    embed(PROMPTS, tmp_path / "embeddings", Loading(plan.model, device="cpu"), batch=3)
    run_plan(read_plan(tmp_path / "plan.toml", {"embeddings": str(tmp_path / "embeddings")}), tmp_path / "stored")
    for file in (tmp_path / "out" / "pictures").rglob("*.png"):
        other = tmp_path / "stored" / file.relative_to(tmp_path / "out")
        difference = np.asarray(Image.open(file)).astype(int) - np.asarray(Image.open(other)).astype(int)
        assert abs(difference).max() <= 1


def test_a_schedule_of_other_blocks_asks_to_be_rewritten(plan: Plan, tmp_path: Path) -> None:
    rows = {"schedules": ["pixart-alpha-256-fast"], "steps": 20}
    with pytest.raises(EcadError, match="retarget = true"):
        run_plan(read_plan(tmp_path / "plan.toml", rows), tmp_path / "out")


def test_what_does_not_fit_is_drawn_in_halves(plan: Plan, tmp_path: Path, monkeypatch: Any) -> None:
    whole = PixArtAlphaPipeline.__call__
    sizes: list[int] = []

    @wraps(whole)  # the pipeline's arguments are read off its signature
    def tight(self: Any, prompt: list[str], **options: Any) -> Any:
        sizes.append(len(prompt))
        if len(prompt) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, prompt, **options)

    small = read_plan(tmp_path / "plan.toml", {"schedules": [], "rounds": 0})
    monkeypatch.setattr(PixArtAlphaPipeline, "__call__", tight)
    limit = 1
    frame = run_plan(small, tmp_path / "out")
    assert sizes == [3, 1, 2, 1, 1, 1]
    assert frame["own psnr"].tolist() == [pytest.approx(40)]
    limit = 0
    with pytest.raises(EcadError, match="for a single picture"):
        run_plan(small, tmp_path / "other")


def test_the_timings_say_on_which_machine(plan: Plan, tmp_path: Path) -> None:
    run_plan(read_plan(tmp_path / "plan.toml", {"sets": [], "schedules": []}), tmp_path / "out")
    (timing,) = (tmp_path / "out" / "timings").iterdir()
    assert json.loads(timing.read_text())["device"] == "cpu"
