"""A schedule beside what else people do to a pipeline: LoRA, offloading, threads, callbacks, shared parts."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from accelerate.hooks import remove_hook_from_submodules
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    SkyReelsV2DiffusionForcingPipeline,
    UniPCMultistepScheduler,
)
from peft import LoraConfig, inject_adapter_in_model

from ecad_dsl.errors import EcadError
from ecad_dsl.runtime import apply, inspect
from tests.runtime import oracle
from tests.runtime.architectures import ARCHITECTURES
from tests.runtime.conftest import Generate
from tests.runtime.tiny import flux_transformer, pipeline, pixart_transformer

MODELS = {
    # The feed-forward's layers, and in FLUX components themselves, become other modules.
    "pixart": (pixart_transformer, oracle.denoise_pixart, ["to_q", "to_v", "proj"]),
    "flux": (flux_transformer, oracle.denoise_flux, ["to_q", "proj_mlp", "proj_out"]),
}


def add_lora(transformer: Any, targets: list[str]) -> None:
    torch.manual_seed(1)
    inject_adapter_in_model(LoraConfig(r=2, target_modules=targets, init_lora_weights=False), transformer)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("when", ["before", "within", "between generations"])
def test_a_lora_may_be_loaded_at_any_time(name: str, when: str) -> None:
    make, denoise, targets = MODELS[name]
    transformer = make()
    schedule = oracle.random_schedule(inspect(transformer), 5)
    if when == "before":
        add_lora(transformer, targets)
    with apply(transformer, schedule):
        if when == "between generations":
            denoise(transformer, 5)
        if when != "before":
            add_lora(transformer, targets)
        cached = denoise(transformer, 5)
    with oracle.brute_force(transformer, schedule):
        assert torch.equal(denoise(transformer, 5), cached)


@pytest.mark.parametrize("name", MODELS)
def test_a_lora_that_was_loaded_within_stays_when_the_schedule_goes(name: str) -> None:
    make, denoise, targets = MODELS[name]
    transformer, other = make(), make()
    with apply(transformer, oracle.reuse_schedule(inspect(transformer), 5)):
        add_lora(transformer, targets)
    add_lora(other, targets)
    assert [type(module) for module in transformer.modules()] == [type(module) for module in other.modules()]
    assert torch.equal(denoise(transformer, 5), denoise(other, 5))


@pytest.mark.parametrize("how", ["accelerate", "block_level", "leaf_level"])
def test_weights_may_be_offloaded(how: str) -> None:
    transformer = pixart_transformer()
    schedule = oracle.random_schedule(inspect(transformer), 5)
    with oracle.brute_force(transformer, schedule):
        expected = oracle.denoise_pixart(transformer, 5)
    cpu = torch.device("cpu")
    if how == "accelerate":
        cpu_offload(transformer, execution_device=cpu)
    else:
        transformer.enable_group_offload(cpu, cpu, offload_type=how, num_blocks_per_group=1)
    with apply(transformer, schedule):
        assert torch.equal(oracle.denoise_pixart(transformer, 5), expected)
    if how == "accelerate":
        remove_hook_from_submodules(transformer)


def test_each_thread_has_its_own_pipeline(generate: Generate) -> None:
    pipes = [pipeline(kind) for kind in (PixArtAlphaPipeline, PixArtSigmaPipeline, PixArtAlphaPipeline)]
    schedules = [oracle.random_schedule(inspect(pipe), 5, seed) for seed, pipe in enumerate(pipes)]
    alone = []
    for pipe, schedule in zip(pipes, schedules, strict=True):
        with apply(pipe, schedule):
            alone.append(generate(pipe))
    together: dict[int, list[torch.Tensor]] = {}
    start = threading.Barrier(len(pipes))

    def work(index: int) -> None:
        start.wait()
        with apply(pipes[index], schedules[index]):
            together[index] = [generate(pipes[index]) for _ in range(4)]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(pipes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(picture, alone[index]) for index, pictures in together.items() for picture in pictures)
    assert len(together) == len(pipes)


def test_a_pipeline_made_of_another_ones_parts_runs_under_its_schedule(pipe: Any, generate: Generate) -> None:
    schedule = oracle.random_schedule(inspect(pipe), 5)
    twin = type(pipe)(**pipe.components)
    twin.set_progress_bar_config(disable=True)
    with apply(pipe, schedule):
        cached = generate(pipe)
        assert torch.equal(generate(twin), cached)
        assert torch.equal(generate(pipe), cached)


def test_a_pipeline_with_the_transformer_but_its_own_scheduler_is_refused(pipe: Any, generate: Generate) -> None:
    other = type(pipe)(**{**pipe.components, "scheduler": DPMSolverMultistepScheduler()})
    other.set_progress_bar_config(disable=True)
    with apply(pipe, oracle.random_schedule(inspect(pipe), 5)):
        cached = generate(pipe)
        with pytest.raises(EcadError, match="transformer was called"):
            generate(other)
        assert torch.equal(generate(pipe), cached)
    assert generate(other).shape == cached.shape


@pytest.mark.parametrize("when", ["before any generation", "between generations", "after one cut short"])
def test_the_scheduler_may_be_replaced_under_a_schedule(pipe: Any, generate: Generate, when: str) -> None:
    def interrupt(step: int, timestep: torch.Tensor, latents: torch.Tensor) -> None:
        if step == 2:
            raise KeyboardInterrupt

    schedule, first = oracle.random_schedule(inspect(pipe), 5), pipe.scheduler
    with apply(pipe, schedule):
        if when == "between generations":
            generate(pipe)
        if when == "after one cut short":
            with pytest.raises(KeyboardInterrupt):
                generate(pipe, callback_steps=1, callback=interrupt)
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
        cached = generate(pipe)
        assert torch.equal(generate(pipe), cached)
        with pytest.raises(EcadError, match="has 5 steps, but DDIMScheduler takes 7"):
            generate(pipe, steps=7)
        pipe.scheduler = HeunDiscreteScheduler.from_config(pipe.scheduler.config)
        with pytest.raises(EcadError, match="HeunDiscreteScheduler calls the transformer 2 times a step"):
            generate(pipe)
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
        assert torch.equal(generate(pipe), cached)
    for scheduler in (first, pipe.scheduler):
        assert not {"step", "set_timesteps"} & set(vars(scheduler))
    with apply(pipe, schedule):
        assert torch.equal(generate(pipe), cached)


def test_a_transformer_that_takes_the_place_of_another_does_not_run_uncached_in_silence(
    pipe: Any, generate: Generate
) -> None:
    first = pipe.transformer
    plain = generate(pipe)
    with apply(pipe, oracle.reuse_schedule(inspect(pipe), 5)):
        cached = generate(pipe)
        pipe.transformer = pixart_transformer()
        with pytest.raises(EcadError, match="another transformer than when it was put under the schedule"):
            generate(pipe)
        pipe.transformer = first
        assert torch.equal(generate(pipe), cached)
        pipe.transformer = pixart_transformer()
    assert torch.equal(generate(pipe), plain)


def test_callbacks_see_every_step_and_may_run_another_pipeline(pipe: Any, generate: Generate) -> None:
    schedule, other = oracle.random_schedule(inspect(pipe), 5), pipeline(PixArtAlphaPipeline)
    steps: list[int] = []

    def callback(step: int, timestep: torch.Tensor, latents: torch.Tensor) -> None:
        steps.append(step)
        generate(other)

    with apply(pipe, schedule):
        cached = generate(pipe)
        assert torch.equal(generate(pipe, callback_steps=1, callback=callback), cached)
    assert steps == [0, 1, 2, 3, 4]


def forcing_pipeline() -> SkyReelsV2DiffusionForcingPipeline:
    """Each latent frame has a copy of the scheduler, which itself is never stepped."""
    transformer = next(a for a in ARCHITECTURES if a.transformer == "SkyReelsV2Transformer3DModel").build()
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    pipe = SkyReelsV2DiffusionForcingPipeline(None, None, transformer, None, scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def film(pipe: SkyReelsV2DiffusionForcingPipeline, **options: Any) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(1)
    frames: torch.Tensor = pipe(
        prompt=None,
        prompt_embeds=torch.ones(1, 5, 8),
        negative_prompt_embeds=torch.zeros(1, 5, 8),
        **{"height": 32, "width": 32, "num_frames": 9, "num_inference_steps": 4, "generator": numbers, **options},
        output_type="latent",
    ).frames
    return frames


def test_steps_may_be_ended_by_copies_of_the_scheduler() -> None:
    pipe = forcing_pipeline()
    plain = film(pipe)
    schedule = oracle.random_schedule(inspect(pipe), 4)
    with oracle.brute_force(pipe.transformer, schedule, calls=2):
        expected = film(pipe)
    assert not torch.equal(expected, plain)
    with apply(pipe, schedule):
        for _ in range(2):
            assert torch.equal(film(pipe), expected)
    assert torch.equal(film(pipe), plain)


def test_each_part_of_a_long_video_begins_anew() -> None:
    """Their steps are not told to the pipeline's scheduler, but to copies of it."""
    pipe = forcing_pipeline()
    parts = {"num_frames": 17, "base_num_frames": 9, "overlap_history": 5}
    schedule = oracle.random_schedule(inspect(pipe), 4)
    with oracle.brute_force(pipe.transformer, schedule, calls=2):
        expected = film(pipe, **parts)
    with apply(pipe, schedule):
        assert torch.equal(film(pipe, **parts), expected)


def test_frames_at_different_steps_are_refused() -> None:
    pipe = forcing_pipeline()
    with (
        apply(pipe, oracle.reuse_schedule(inspect(pipe), 4)),
        pytest.raises(EcadError, match=r"SkyReelsV2DiffusionForcingPipeline denoises frames .*ar_step=0"),
    ):
        film(pipe, ar_step=2, causal_block_size=1)


@pytest.mark.parametrize("order", [("own", "copy"), ("copy", "own")])
def test_a_scheduler_and_its_copy_end_one_step_together(pipe: Any, order: tuple[str, str]) -> None:
    """As of LTX-2, which makes a copy for sound."""
    inputs = torch.ones(1, 4, 8, 8), torch.ones(1, 6, 8)
    with apply(pipe, oracle.reuse_schedule(inspect(pipe), 3)) as run, torch.no_grad():
        pipe.scheduler.set_timesteps(3)
        schedulers = {"own": pipe.scheduler, "copy": copy.deepcopy(pipe.scheduler)}
        steps = []
        for timestep in pipe.scheduler.timesteps:
            steps.append(run.step)
            pipe.transformer(*inputs, timestep=timestep[None], added_cond_kwargs={})
            for name in order:
                schedulers[name].step(torch.ones(1, 4, 8, 8), timestep, inputs[0])
        assert steps == [0, 1, 2]
        assert run.step == 3


def test_a_copy_of_the_scheduler_in_another_thread_ends_no_step(pipe: Any) -> None:
    with apply(pipe, oracle.reuse_schedule(inspect(pipe), 3)) as run, torch.no_grad():
        pipe.scheduler.set_timesteps(3)
        twin = copy.deepcopy(pipe.scheduler)
        pipe.transformer(torch.ones(1, 4, 8, 8), torch.ones(1, 6, 8), timestep=torch.ones(1))
        ones = torch.ones(1, 4, 8, 8)
        thread = threading.Thread(target=lambda: twin.step(ones, twin.timesteps[0], ones))
        thread.start()
        thread.join()
        pipe.transformer(torch.ones(1, 4, 8, 8), torch.ones(1, 6, 8), timestep=torch.ones(1))
        assert run.step == 0


def test_a_copy_of_the_scheduler_keeps_no_model_alive(pipe: Any) -> None:
    with apply(pipe, oracle.reuse_schedule(inspect(pipe), 3)):
        twin = copy.deepcopy(pipe.scheduler)
    transformer = weakref.ref(pipe.transformer)
    pipe.transformer = None
    gc.collect()
    assert transformer() is None
    twin.set_timesteps(3)
    twin.step(torch.ones(1, 4, 8, 8), twin.timesteps[0], torch.ones(1, 4, 8, 8))
