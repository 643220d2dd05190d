"""The life of a context: what is restored, freed, refused, and left alone."""

from __future__ import annotations

import copy
import gc
import inspect as signatures
import io
import pickle
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import HeunDiscreteScheduler, PixArtAlphaPipeline, PixArtSigmaPipeline, PixArtTransformer2DModel
from torch import nn

from ecad_dsl.errors import EcadError
from ecad_dsl.models import Component, ModelSpec, Stack, load_spec
from ecad_dsl.runtime import ScheduleCacheConfig, apply, disable, enable, inspect
from ecad_dsl.schedule.interchange import save_masks
from tests.runtime import oracle
from tests.runtime.conftest import Generate
from tests.runtime.tiny import flux_transformer, pipeline, pixart_transformer


def shadows(transformer: nn.Module) -> list[str]:
    """Names of modules that something in an instance dictionary hides."""
    return [name for module in transformer.modules() for name in module._modules if name in module.__dict__]


def test_leaving_restores_the_model_and_the_scheduler(pipe: Any, generate: Generate) -> None:
    plain = generate(pipe)
    scheduler_before = set(vars(pipe.scheduler))
    with apply(pipe, oracle.reuse_schedule(inspect(pipe), 5)):
        assert shadows(pipe.transformer)
        assert not torch.equal(generate(pipe), plain)
    assert not shadows(pipe.transformer)
    assert not pipe.transformer._forward_pre_hooks
    assert set(vars(pipe.scheduler)) == scheduler_before
    assert torch.equal(generate(pipe), plain)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_leaving_by_an_exception_restores_and_frees(pipe: Any, generate: Generate, error: type[BaseException]) -> None:
    plain = generate(pipe)
    kept: list[weakref.ref[torch.Tensor]] = []
    handle = pipe.transformer.transformer_blocks[0].attn1.register_forward_hook(
        lambda module, args, output: kept.append(weakref.ref(output))
    )

    def interrupt(step: int, timestep: torch.Tensor, latents: torch.Tensor) -> None:
        if step == 2:
            raise error

    with pytest.raises(error), apply(pipe, oracle.reuse_schedule(inspect(pipe), 5)):
        generate(pipe, callback_steps=1, callback=interrupt)
    handle.remove()
    assert not shadows(pipe.transformer)
    gc.collect()
    assert [output() for output in kept] == [None]
    assert torch.equal(generate(pipe), plain)


def test_a_generation_cut_short_does_not_touch_the_next(pipe: Any, generate: Generate) -> None:
    def interrupt(step: int, timestep: torch.Tensor, latents: torch.Tensor) -> None:
        raise RuntimeError

    with apply(pipe, oracle.random_schedule(inspect(pipe), 5)):
        whole = generate(pipe)
        with pytest.raises(RuntimeError):
            generate(pipe, callback_steps=1, callback=interrupt)
        assert torch.equal(generate(pipe), whole)


def test_kept_outputs_are_freed_when_last_read() -> None:
    transformer = pixart_transformer()
    spec = inspect(transformer)
    everything = (1 << spec.cells) - 1
    schedule = type(oracle.full_schedule(spec, 1))(spec, (everything, 0, 0, everything, everything))
    outputs: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    for row in oracle.modules(transformer, "blocks"):
        for module in row:
            module.register_forward_hook(lambda module, args, output: outputs.append(weakref.ref(output)))
    transformer.register_forward_hook(lambda *_: alive.append(sum(output() is not None for output in outputs)))
    with apply(transformer, schedule):
        oracle.denoise_pixart(transformer, 5)
    assert alive == [spec.cells, spec.cells, 0, 0, 0]


def test_the_run_tells_its_schedule_and_step(pipe: Any, generate: Generate) -> None:
    schedule = oracle.random_schedule(inspect(pipe), 5)
    steps = []

    def watch(step: int, timestep: torch.Tensor, latents: torch.Tensor) -> None:
        steps.append(run.step)

    with apply(pipe, schedule) as run:
        assert run.schedule is schedule
        generate(pipe, callback_steps=1, callback=watch)
    assert steps == [1, 2, 3, 4, 5]


def test_a_model_can_be_under_one_schedule_only(pipe: Any, generate: Generate) -> None:
    schedule = oracle.random_schedule(inspect(pipe), 5)
    with apply(pipe, schedule):
        cached = generate(pipe)
        with pytest.raises(EcadError, match="already under a schedule"), apply(pipe.transformer, schedule):
            pass
        assert torch.equal(generate(pipe), cached)


def test_another_number_of_steps_is_refused_by_both_names(pipe: Any, generate: Generate) -> None:
    with (
        apply(pipe, oracle.random_schedule(inspect(pipe), 5)),
        pytest.raises(EcadError, match="has 5 steps, but DPMSolverMultistepScheduler takes 7"),
    ):
        generate(pipe, steps=7)


def test_schedulers_of_several_calls_a_step_are_refused_by_name(pipe: Any) -> None:
    pipe.scheduler = HeunDiscreteScheduler()
    context = apply(pipe, oracle.full_schedule(inspect(pipe), 5))
    with pytest.raises(EcadError, match="HeunDiscreteScheduler calls the transformer 2 times"), context:
        pass
    assert not shadows(pipe.transformer)


def test_calling_the_model_beside_its_pipeline_is_refused(pipe: Any, generate: Generate) -> None:
    with apply(pipe, oracle.full_schedule(inspect(pipe), 5)):
        with pytest.raises(EcadError, match="before the pipeline's scheduler"):
            oracle.denoise_pixart(pipe.transformer, 5)
        generate(pipe)
        with pytest.raises(EcadError, match="after all 5 steps"):
            oracle.denoise_pixart(pipe.transformer, 5)


def test_a_schedule_for_another_size_is_refused_by_both_names() -> None:
    schedule = oracle.full_schedule(load_spec("pixart-alpha"), 5)
    context = apply(pixart_transformer(), schedule)
    with pytest.raises(EcadError, match=r"PixArt-alpha \(28 blocks\).*PixArtTransformer2DModel has 3 blocks"), context:
        pass


def test_a_schedule_for_another_class_is_refused_by_both_names() -> None:
    context = apply(flux_transformer(), oracle.full_schedule(load_spec("pixart-alpha").resized({"blocks": 2}), 5))
    with pytest.raises(EcadError, match="FluxTransformer2DModel is not built like PixArt-alpha"), context:
        pass


def test_an_item_of_a_list_is_refused_by_name() -> None:
    item = Stack("blocks", "transformer_blocks", 3, (Component("inner", "ff.net.0"),))
    spec = ModelSpec("mine", "mine", "PixArtTransformer2DModel", (item,))
    context = apply(pixart_transformer(), oracle.full_schedule(spec, 5))
    with pytest.raises(EcadError, match=r"transformer_blocks\[0\].ff.net.0 is an item of a ModuleList"), context:
        pass


def test_chunked_feed_forward_is_refused_where_it_would_be_wrong() -> None:
    transformer = pixart_transformer()
    spec = inspect(transformer)
    plain = oracle.denoise_pixart(transformer, 3)
    for block in transformer.transformer_blocks:
        block.set_chunk_feed_forward(8, dim=1)
    with apply(transformer, oracle.full_schedule(spec, 3)):
        assert torch.allclose(oracle.denoise_pixart(transformer, 3), plain, atol=1e-6)
    context = apply(transformer, oracle.reuse_schedule(spec, 3))
    with pytest.raises(EcadError, match=r"ffn \(ff\) of blocks 0 was called twice"), context:
        oracle.denoise_pixart(transformer, 3)


def test_gradient_checkpointing_is_refused_where_gradients_are_taken() -> None:
    transformer = pixart_transformer()
    transformer.enable_gradient_checkpointing()
    with apply(transformer, oracle.reuse_schedule(inspect(transformer), 3)):
        oracle.denoise_pixart(transformer, 3)
        with pytest.raises(EcadError, match="disable_gradient_checkpointing"):
            transformer(torch.ones(1, 4, 8, 8), torch.ones(1, 6, 8), torch.ones(1))


def test_registered_modules_are_left_alone(tmp_path: Path) -> None:
    transformer = pixart_transformer()
    state, names = list(transformer.state_dict()), [name for name, _ in transformer.named_modules()]
    with apply(transformer, oracle.full_schedule(inspect(transformer), 3)):
        assert list(transformer.state_dict()) == state
        assert [name for name, _ in transformer.named_modules()] == names
        transformer.to(torch.float64)
        assert transformer.transformer_blocks[0].attn1.to_q.weight.dtype == torch.float64
        transformer.save_pretrained(tmp_path)
    saved = PixArtTransformer2DModel.from_pretrained(tmp_path)
    assert torch.equal(saved.proj_out.weight, transformer.proj_out.weight)


def test_a_shadowed_component_passes_for_its_module() -> None:
    transformer = pixart_transformer()
    block = transformer.transformer_blocks[0]
    attention = block.attn1
    with apply(transformer, oracle.full_schedule(inspect(transformer), 3)):
        assert block.attn1 is not attention
        assert isinstance(block.attn1, type(attention))
        assert transformer.get_submodule("transformer_blocks.0.attn1.to_q") is attention.to_q
        assert block.attn1.heads == 2
        assert not hasattr(block.attn1, "nothing")
        assert [id(p) for p in block.attn1.parameters()] == [id(p) for p in attention.parameters()]
        block.attn1.rescale_output_factor = 2.0
        block.attn1.to_q = nn.Identity()
    assert attention.rescale_output_factor == 2.0
    assert isinstance(attention.to_q, nn.Identity)


def test_a_component_replaced_between_generations_is_still_cached(pipe: Any, generate: Generate) -> None:
    """Loading a LoRA replaces modules by registering new ones, which removes the shadow."""
    schedule = oracle.reuse_schedule(inspect(pipe), 5)
    block = pipe.transformer.transformer_blocks[1]
    with apply(pipe, schedule):
        generate(pipe)
        block.ff = nn.Linear(16, 16)
        with oracle.counted(pipe.transformer, schedule) as counts:
            generate(pipe)
        assert set(counts.values()) == {1}
    assert not shadows(pipe.transformer)
    assert isinstance(block.ff, nn.Linear)


def saved(model: Any) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)


def pickled(model: Any) -> Any:
    """By a pickle that a machine without ecad can read."""
    data = pickle.dumps(model)
    assert b"ecad_dsl" not in data
    return pickle.loads(data)


COPIES = {"deepcopy": copy.deepcopy, "pickle": pickled, "torch.save": saved}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_is_not_under_the_schedule(copied: Any) -> None:
    transformer = pixart_transformer()
    plain = oracle.denoise_pixart(transformer, 3)
    with apply(transformer, oracle.reuse_schedule(inspect(transformer), 3)):
        twin = copied(transformer)
        assert torch.equal(oracle.denoise_pixart(twin, 3), plain)
        assert not torch.equal(oracle.denoise_pixart(transformer, 3), plain)
    assert twin.transformer_blocks[0].attn1 is twin.transformer_blocks[0]._modules["attn1"]
    with apply(twin, oracle.reuse_schedule(inspect(twin), 3)):
        assert not torch.equal(oracle.denoise_pixart(twin, 3), plain)


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_of_a_pipeline_is_not_under_the_schedule(pipe: Any, generate: Generate, copied: Any) -> None:
    plain = generate(pipe)
    with apply(pipe, oracle.reuse_schedule(inspect(pipe), 5)):
        generate(pipe)
        twin = copied(pipe)
        assert torch.equal(generate(twin), plain)
        cached = generate(pipe)
    assert not torch.equal(cached, plain)
    with apply(twin, oracle.reuse_schedule(inspect(twin), 5)):
        assert torch.equal(generate(twin), cached)


@pytest.mark.parametrize("copied", [copy.copy, *COPIES.values()], ids=["copy", *COPIES])
def test_a_copy_of_a_component_is_the_plain_module(copied: Any) -> None:
    transformer = pixart_transformer()
    component = transformer.transformer_blocks[0].ff
    with apply(transformer, oracle.reuse_schedule(inspect(transformer), 3)):
        twin = copied(transformer.transformer_blocks[0].ff)
    assert type(twin) is type(component)
    assert twin is not component
    assert torch.equal(twin(torch.ones(1, 2, 16)), component(torch.ones(1, 2, 16)))


def test_schedulers_keep_their_signatures_and_copies_are_plain(pipe: Any) -> None:
    step = signatures.signature(pipe.scheduler.step)
    with apply(pipe, oracle.full_schedule(inspect(pipe), 5)):
        assert signatures.signature(pipe.scheduler.step) == step
        twin = copy.deepcopy(pipe.scheduler)
        twin.set_timesteps(9)
        assert len(twin.timesteps) == 9
        assert pipe.scheduler.num_inference_steps is None


def test_pipelines_beside_each_other_do_not_meet(generate: Generate) -> None:
    one, two = pipeline(PixArtAlphaPipeline), pipeline(PixArtAlphaPipeline)
    first, second = (oracle.random_schedule(inspect(one), 5, seed) for seed in (1, 2))
    with apply(one, first):
        alone = generate(one)
    with apply(two, second), apply(one, first):
        assert torch.equal(generate(one), alone)
        assert not torch.equal(generate(two), alone)
        assert torch.equal(generate(one), alone)


def test_programs_are_compiled_for_the_model_and_its_steps(pipe: Any, generate: Generate, tmp_path: Path) -> None:
    portable = tmp_path / "fora.ecad"
    portable.write_text("cache all every 2 steps\n")
    with apply(pipe, portable) as run:
        assert run.schedule is None
        for steps in (4, 6):
            generate(pipe, steps=steps)
            assert run.schedule is not None
            assert run.schedule.steps == steps
            assert run.schedule.recomputed == 9 * steps / 2

    bound = tmp_path / "bound.ecad"
    bound.write_text("steps 4\ncache all every 2 steps\n")
    with apply(pipe, str(bound)), pytest.raises(EcadError, match="has 4 steps"):
        generate(pipe, steps=6)


def test_a_program_for_one_model_runs_on_another_of_its_family(generate: Generate, tmp_path: Path) -> None:
    program = tmp_path / "alpha.ecad"
    program.write_text("model pixart-alpha\nsteps 4\ncache cross every 2 steps\n")
    with apply(pipeline(PixArtSigmaPipeline), program) as run:
        assert run.schedule is not None
        assert run.schedule.spec.name == "pixart-sigma"
    with pytest.raises(EcadError, match="PixArt-alpha"), apply(flux_transformer(), program):
        pass


@pytest.mark.parametrize("name", ["masks.json", "masks.safetensors"])
def test_a_file_of_masks_is_read_for_the_model_at_hand(tmp_path: Path, name: str) -> None:
    transformer = pixart_transformer()
    schedule = oracle.random_schedule(inspect(transformer), 4)
    save_masks(schedule, tmp_path / name)
    with apply(transformer, schedule):
        cached = oracle.denoise_pixart(transformer, 4)
    with apply(transformer, str(tmp_path / name), steps=4) as run:
        assert run.schedule == schedule
        assert torch.equal(oracle.denoise_pixart(transformer, 4), cached)
    with pytest.raises(EcadError, match="has 4 steps, not 5"), apply(transformer, tmp_path / name, steps=5):
        pass
    other = pixart_transformer(num_layers=2)
    with pytest.raises(EcadError, match=r"masks\..* 2"), apply(other, tmp_path / name):
        pass


def test_a_portable_program_on_a_bare_model_needs_the_steps(tmp_path: Path) -> None:
    portable = tmp_path / "fora.ecad"
    portable.write_text("cache all every 2 steps\n")
    transformer = pixart_transformer()
    with pytest.raises(EcadError, match="pass steps="), apply(transformer, portable):
        pass
    with apply(transformer, portable, steps=4) as run:
        assert run.schedule is not None
        assert run.schedule.steps == 4


def test_steps_that_contradict_the_schedule_are_refused() -> None:
    transformer = pixart_transformer()
    context = apply(transformer, oracle.full_schedule(inspect(transformer), 5), steps=6)
    with pytest.raises(EcadError, match="has 5 steps, not 6"), context:
        pass


def test_what_is_no_schedule_is_refused() -> None:
    context = apply(pixart_transformer(), {"blocks": []})  # type: ignore[arg-type]
    with pytest.raises(EcadError, match="a Program or a Schedule, not a dict"), context:
        pass


def test_a_schedule_may_be_enabled_and_disabled_where_no_block_can_stand(
    pipe: Any, generate: Generate, tmp_path: Path
) -> None:
    plain = generate(pipe)
    portable = tmp_path / "fora.ecad"
    portable.write_text("cache all every 2 steps\n")
    with apply(pipe, portable):
        cached = generate(pipe)
    for schedule in (portable, ScheduleCacheConfig(portable), ScheduleCacheConfig(portable, steps=5)):
        run = enable(pipe, schedule)
        assert torch.equal(generate(pipe), cached)
        assert run.schedule is not None
        assert run.schedule.steps == 5
        with pytest.raises(EcadError, match=r"call ecad\.disable"):
            enable(pipe, schedule)
        twin = copy.deepcopy(pipe.transformer)
        with pytest.raises(EcadError, match="no schedule is enabled"):
            disable(twin)
        disable(pipe)
        assert not shadows(pipe.transformer)
        assert torch.equal(generate(pipe), plain)
    with pytest.raises(EcadError, match="no schedule is enabled"), apply(pipe, portable):
        disable(pipe)


def test_an_enabled_transformer_is_freed_with_its_pipeline() -> None:
    transformer = pixart_transformer()
    enable(transformer, oracle.reuse_schedule(inspect(transformer), 3))
    oracle.denoise_pixart(transformer, 2)
    alive = weakref.ref(transformer.transformer_blocks[0])
    del transformer
    gc.collect()
    assert alive() is None


def test_a_pipeline_without_a_scheduler_is_refused() -> None:
    transformer = pixart_transformer()
    context = apply(SimpleNamespace(transformer=transformer), oracle.full_schedule(inspect(transformer), 5))
    with pytest.raises(EcadError, match="no scheduler"), context:
        pass
