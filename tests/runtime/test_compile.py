"""Compiled blocks: as exact as they are without a schedule, whole graphs, and few variants."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ecad_dsl import EcadError
from ecad_dsl.runtime import apply, inspect
from tests.runtime import oracle
from tests.runtime.architectures import ARCHITECTURES
from tests.runtime.tiny import flux_transformer, pixart_transformer

STEPS = 8
MODELS = {
    "pixart": (pixart_transformer, oracle.denoise_pixart, ("transformer_blocks",)),
    "flux": (flux_transformer, oracle.denoise_flux, ("transformer_blocks", "single_transformer_blocks")),
}


class Compiler:
    """A backend of torch.compile that runs the graphs as they were captured, and counts them."""

    def __init__(self) -> None:
        self.graphs: list[torch.fx.GraphModule] = []

    def __call__(self, graph: torch.fx.GraphModule, _inputs: Any) -> Any:
        self.graphs.append(graph)
        return graph.forward

    def compile(self, transformer: torch.nn.Module, stacks: tuple[str, ...]) -> None:
        for stack in stacks:
            for block in getattr(transformer, stack):
                block.compile(backend=self, fullgraph=True)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    torch._dynamo.reset()
    make, denoise, stacks = MODELS[request.param]
    return make(), denoise, stacks


def test_compiled_blocks_follow_the_schedule_bit_for_bit(model: Any) -> None:
    transformer, denoise, stacks = model
    schedules = [oracle.random_schedule(inspect(transformer), STEPS, seed) for seed in range(3)]
    plain = denoise(transformer, STEPS)
    expected = []
    for schedule in schedules:
        with oracle.brute_force(transformer, schedule):
            expected.append(denoise(transformer, STEPS))
    compiler = Compiler()
    compiler.compile(transformer, stacks)
    for schedule, cached in zip(schedules, expected, strict=True):
        with apply(transformer, schedule):
            assert torch.equal(denoise(transformer, STEPS), cached)
        assert torch.equal(denoise(transformer, STEPS), plain)
    assert compiler.graphs


def test_no_step_and_no_other_schedule_compiles_anything_beyond_the_variants(model: Any) -> None:
    transformer, denoise, stacks = model
    compiler = Compiler()
    compiler.compile(transformer, stacks)
    denoise(transformer, STEPS)
    plain = len(compiler.graphs)
    spec = inspect(transformer)
    for seed in range(6):
        with apply(transformer, oracle.random_schedule(spec, 3 * STEPS, seed)):
            denoise(transformer, 3 * STEPS)
    made = len(compiler.graphs)
    patterns = 2**3
    assert plain < made <= plain * (1 + patterns)
    for seed in range(6, 9):
        with apply(transformer, oracle.random_schedule(spec, 2 * STEPS, seed)):
            denoise(transformer, 2 * STEPS)
    denoise(transformer, STEPS)
    assert len(compiler.graphs) == made


def test_compiled_code_leaves_out_what_feeds_only_what_is_reused() -> None:
    torch._dynamo.reset()
    transformer = pixart_transformer()
    compiler = Compiler()
    compiler.compile(transformer, ("transformer_blocks",))
    with apply(transformer, oracle.reuse_schedule(inspect(transformer), 2)):
        oracle.denoise_pixart(transformer, 2)
    everything, nothing = (
        [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
        for graph in (compiler.graphs[0], compiler.graphs[-1])
    )
    assert any("layer_norm" in name for name in everything)
    assert any("linear" in name for name in everything)
    assert not any("layer_norm" in name or "linear" in name for name in nothing)


@pytest.mark.parametrize("when", ["before", "within", "between generations"])
def test_blocks_may_be_compiled_at_any_time(when: str) -> None:
    torch._dynamo.reset()
    transformer, compiler = pixart_transformer(), Compiler()
    schedule = oracle.random_schedule(inspect(transformer), STEPS)
    with oracle.brute_force(transformer, schedule):
        expected = oracle.denoise_pixart(transformer, STEPS)
    if when == "before":
        compiler.compile(transformer, ("transformer_blocks",))
    with apply(transformer, schedule):
        if when == "within":
            compiler.compile(transformer, ("transformer_blocks",))
        assert torch.equal(oracle.denoise_pixart(transformer, STEPS), expected)
        if when == "between generations":
            compiler.compile(transformer, ("transformer_blocks",))
        assert torch.equal(oracle.denoise_pixart(transformer, STEPS), expected)
        with pytest.raises(EcadError, match="already under a schedule"), apply(transformer, schedule):
            pass
        assert torch.equal(oracle.denoise_pixart(transformer, STEPS), expected)
    assert len(compiler.graphs) > 1
    state = pixart_transformer().state_dict()
    assert transformer.state_dict().keys() == state.keys()


def test_a_generation_finds_what_the_one_before_made_unless_a_component_was_replaced() -> None:
    torch._dynamo.reset()
    transformer, compiler = pixart_transformer(), Compiler()
    compiler.compile(transformer, ("transformer_blocks",))
    blocks = transformer.transformer_blocks
    schedule = oracle.random_schedule(inspect(transformer), STEPS)
    with apply(transformer, schedule):
        cached = oracle.denoise_pixart(transformer, STEPS)
        made = [block._compiled_call_impl for block in blocks]
        assert torch.equal(oracle.denoise_pixart(transformer, STEPS), cached)
        assert [block._compiled_call_impl for block in blocks] == made
        blocks[1].ff = pixart_transformer().transformer_blocks[0].ff
        replaced = oracle.denoise_pixart(transformer, STEPS)
        assert [block._compiled_call_impl is one for block, one in zip(blocks, made, strict=True)] == [
            True,
            False,
            True,
        ]
    assert not torch.equal(replaced, cached)
    with oracle.brute_force(transformer, schedule):
        assert torch.equal(oracle.denoise_pixart(transformer, STEPS), replaced)


def test_an_interrupted_call_leaves_the_block_as_it_was() -> None:
    torch._dynamo.reset()
    transformer, compiler = pixart_transformer(), Compiler()
    plain = oracle.denoise_pixart(transformer, STEPS)
    compiler.compile(transformer, ("transformer_blocks",))
    compiled = [block._compiled_call_impl for block in transformer.transformer_blocks]
    modules = dict(transformer.named_modules())
    schedule = oracle.random_schedule(inspect(transformer), STEPS)
    text_of_the_wrong_width = torch.zeros(1, 6, 7)
    with apply(transformer, schedule):
        oracle.denoise_pixart(transformer, 3)
        with pytest.raises(RuntimeError):
            transformer(torch.zeros(1, 4, 8, 8), text_of_the_wrong_width, torch.zeros(1))
    assert dict(transformer.named_modules()) == modules
    assert [block._compiled_call_impl for block in transformer.transformer_blocks] == compiled
    assert torch.equal(oracle.denoise_pixart(transformer, STEPS), plain)


@pytest.mark.parametrize("way", ["in place", "wrapped"])
def test_a_transformer_that_is_compiled_as_a_whole_is_refused(way: str, pipe: Any) -> None:
    schedule = oracle.full_schedule(inspect(pipe), 5)
    if way == "in place":
        pipe.transformer.compile()
    else:
        pipe.transformer = torch.compile(pipe.transformer)
    with pytest.raises(EcadError, match=r"block\.compile\(\)"), apply(pipe, schedule):
        pass


@pytest.mark.parametrize("what", ["block", "block.forward", "transformer.forward"])
def test_what_is_compiled_other_than_in_place_is_refused_rather_than_passed_by(what: str) -> None:
    transformer = pixart_transformer()
    schedule = oracle.reuse_schedule(inspect(transformer), 3)
    blocks = transformer.transformer_blocks
    if what == "block":
        blocks[1] = torch.compile(blocks[1])
    else:
        module = blocks[1] if what == "block.forward" else transformer
        module.forward = torch.compile(module.forward)
    with pytest.raises(EcadError, match=r"block\.compile\(\)"), apply(transformer, schedule):
        pass


@pytest.mark.parametrize("when", ["before", "within", "between generations"])
@pytest.mark.parametrize("way", ["in place", "wrapped"])
def test_a_component_compiled_by_itself_is_cached_or_refused_by_name(way: str, when: str) -> None:
    torch._dynamo.reset()
    transformer, compiler = pixart_transformer(), Compiler()
    block = transformer.transformer_blocks[1]
    schedule = oracle.random_schedule(inspect(transformer), STEPS)
    plain = oracle.denoise_pixart(transformer, STEPS)
    with oracle.brute_force(transformer, schedule):
        expected = oracle.denoise_pixart(transformer, STEPS)

    def compile_attention() -> None:
        if way == "in place":
            block.attn1.compile(backend=compiler)
        else:
            block.attn1 = torch.compile(block.attn1, backend=compiler)

    if when == "before":
        compile_attention()
    with apply(transformer, schedule):
        if when == "between generations":
            oracle.denoise_pixart(transformer, STEPS)
        if when != "before":
            compile_attention()
        if way == "wrapped" and when != "before":
            with pytest.raises(EcadError, match=r"self \(attn1\) of blocks 1 was wrapped by torch.compile"):
                oracle.denoise_pixart(transformer, STEPS)
        assert torch.equal(oracle.denoise_pixart(transformer, STEPS), expected)
    assert torch.equal(oracle.denoise_pixart(transformer, STEPS), plain)


def test_a_component_wrapped_midway_does_not_outlive_the_schedule() -> None:
    transformer = pixart_transformer()
    plain = oracle.denoise_pixart(transformer, STEPS)
    with apply(transformer, oracle.reuse_schedule(inspect(transformer), STEPS)):
        oracle.denoise_pixart(transformer, 3)
        block = transformer.transformer_blocks[1]
        block.attn1 = torch.compile(block.attn1)
    assert torch.equal(oracle.denoise_pixart(transformer, STEPS), plain)


def test_a_block_may_ask_a_component_for_its_parts_beside_calling_it() -> None:
    """Lumina's passes the output of its cross-attention through that attention's own last layer."""
    torch._dynamo.reset()
    architecture = next(a for a in ARCHITECTURES if a.transformer == "LuminaNextDiT2DModel")
    transformer, compiler = architecture.build(), Compiler()
    schedule = oracle.reuse_schedule(inspect(transformer), 2)

    def predictions(next_step: Any) -> list[torch.Tensor]:
        found = []
        with torch.no_grad():
            for step in range(2):
                found.append(transformer(**architecture.arguments(step))[0])
                next_step()
        return found

    with oracle.brute_force(transformer, schedule):
        expected = predictions(lambda: None)
    compiler.compile(transformer, ("layers",))
    with apply(transformer, schedule) as run:
        assert all(map(torch.equal, predictions(run.next_step), expected))
    assert compiler.graphs
