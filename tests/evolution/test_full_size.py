"""A search on a pipeline with weights: its pictures, its reward, its memory, and that it pickles as a recipe."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecad_dsl.errors import EcadError
from ecad_dsl.evolution.full_size import FullSizeProblem, Studio, pictures_that_fit
from ecad_dsl.evolution.outlook import hours_left, memory_plan
from ecad_dsl.pipelines.load import Loading
from ecad_dsl.quality.image_reward import ImageReward
from ecad_dsl.quality.metric import Batch
from ecad_dsl.quality.prompts import PromptSet
from ecad_dsl.runtime import apply
from ecad_dsl.schedule import compile, cost, parse
from tests.quality.tiny_metrics import image_reward_folder
from tests.tiny_pipelines import tiny_folders  # noqa: F401 - a fixture

PROMPTS = PromptSet("calibration", ("a red cube", "the cat", "a blue sphere on snow"), (5, 6, 7))


@pytest.fixture
def problem(tmp_path: Path, tiny_folders: Callable[[str], Path]) -> FullSizeProblem:  # noqa: F811
    loading = Loading(str(tiny_folders("pixart-alpha")), device="cpu")
    studio = Studio(loading, weights=str(image_reward_folder(tmp_path / "ImageReward")), batch=2)
    return FullSizeProblem(studio, PROMPTS, 3)


def test_the_reward_is_the_metrics_of_the_pipelines_pictures(problem: FullSizeProblem) -> None:
    schedule = compile(parse("cache all every 2 steps"), problem.spec, 3)
    rewards = problem.reward(schedule)
    pipe = problem.studio.loading.load()
    drawn: list[Any] = []
    for batch in (slice(0, 2), slice(2, 3)):
        noise = [torch.Generator().manual_seed(seed) for seed in PROMPTS.seeds[batch]]
        with apply(pipe, schedule):
            drawn += pipe(
                list(PROMPTS.prompts[batch]), num_inference_steps=3, generator=noise, guidance_scale=4.5,
                max_sequence_length=120, clean_caption=False, use_resolution_binning=False,
            ).images  # fmt: skip
    judge = ImageReward.load(problem.studio.weights)
    expected = np.concatenate(
        [
            judge.numbers(Batch(drawn[:2], PROMPTS.prompts[:2]))[:, 0],
            judge.numbers(Batch(drawn[2:], PROMPTS.prompts[2:]))[:, 0],
        ]
    )
    assert rewards.tolist() == expected.tolist()


def test_fidelity_is_40_db_without_a_cache_and_less_with_one(problem: FullSizeProblem) -> None:
    plain, cached = (compile(parse(text), problem.spec, 3) for text in ("", "cache all every 3 steps"))
    assert problem.fidelity(plain) == pytest.approx([40.0] * 3)
    assert (problem.fidelity(cached) < 40).all()


def test_costs_are_of_the_size_that_is_drawn_and_time_is_a_share(problem: FullSizeProblem) -> None:
    cached = compile(parse("cache all every 3 steps"), problem.spec, 3)
    small = replace(problem, studio=replace(problem.studio, options={"height": 64, "width": 64}))
    assert small.macs_full(cached) == cost(cached, 64, 64).macs_full < problem.macs_full(cached)
    assert small.cache_bytes(cached) == 4 * cost(cached, 64, 64).cache_elements < problem.cache_bytes(cached)
    assert problem.latency(cached) > 0


def test_on_other_prompts_fidelity_is_of_all_of_them(problem: FullSizeProblem) -> None:
    schedule = compile(parse("cache all every 3 steps"), problem.spec, 3)
    few = replace(problem, first=1)
    assert len(few.fidelity(schedule)) == 1
    assert len(few.on(PROMPTS).fidelity(schedule)) == 3


def test_what_does_not_fit_is_drawn_in_halves(problem: FullSizeProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Studio._call
    sizes: list[int] = []

    def tight(self: Studio, prompts: PromptSet, schedule: Any) -> Any:
        sizes.append(len(prompts))
        if len(prompts) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, prompts, schedule)

    schedule = compile(parse(""), problem.spec, 2)
    monkeypatch.setattr(Studio, "_call", tight)
    problem.studio.batch = 3
    assert len(problem.reward(schedule)) == 3
    assert sizes == [3, 1, 2, 1, 1]
    assert problem.studio.batch == 1
    sizes.clear()
    problem.reward(schedule)
    assert sizes == [1, 1, 1]


@pytest.mark.parametrize(("taken", "free", "fit"), [(1 << 30, 20 << 30, 16), (1, 1 << 40, 64), (9 << 30, 1 << 30, 1)])
def test_a_batch_fills_the_memory_that_is_free(taken: int, free: int, fit: int) -> None:
    assert pictures_that_fit(taken, free) == fit


def test_a_studio_pickles_without_what_it_has_loaded(problem: FullSizeProblem) -> None:
    schedule = compile(parse(""), problem.spec, 2)
    rewards = problem.reward(schedule)
    content = pickle.dumps(problem)
    assert len(content) < 20_000
    copy = pickle.loads(content)
    assert "pipe" not in vars(copy.studio)
    assert copy.reward(schedule).tolist() == rewards.tolist()


def test_the_same_pipeline_serves_other_prompts(problem: FullSizeProblem) -> None:
    assert problem.on(PROMPTS[:1]).studio.pipe is problem.studio.pipe


@pytest.mark.parametrize("metric", ["fid", "psnr"])
def test_what_is_no_reward_is_refused(problem: FullSizeProblem, metric: str) -> None:
    studio = Studio(problem.studio.loading, metric)
    with pytest.raises(
        EcadError, match="takes more than a picture and its prompt; a search goes by one of image-reward, clip"
    ):
        _ = studio.judge


def test_the_memory_plan_names_every_part(problem: FullSizeProblem) -> None:
    plan = memory_plan(problem)
    pipe = problem.studio.pipe
    sizes = {name: sum(p.nbytes for p in getattr(pipe, name).parameters()) for name in ("transformer", "vae")}
    assert {name: plan.fixed[name] for name in sizes} == sizes
    assert plan.free is not None
    assert plan.left == plan.free - sum(plan.fixed.values())
    full = FullSizeProblem(Studio(Loading("pixart-alpha", dtype="float16", device="cpu")), PROMPTS, 20)
    published = memory_plan(full)
    assert published.fixed["transformer"] == pytest.approx(2 * 611e6, rel=0.01)
    assert published.fixed["image-reward"] == 1_790_000_000
    assert published.kept is not None
    # 28 blocks of three outputs of 256 tokens, 1,152 wide, of the guidance pair, in two bytes
    assert published.kept == pytest.approx(28 * 3 * 2 * 256 * 1152 * 2, rel=0.02)


def test_hours_are_those_of_the_candidates_that_are_left() -> None:
    assert hours_left(3600, 72, 72 * 550) == pytest.approx(550)
