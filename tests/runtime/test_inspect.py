from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import PixArtAlphaPipeline, PixArtSigmaPipeline, PixArtTransformer2DModel, UNet2DModel

from ecad_dsl.errors import EcadError
from ecad_dsl.models import load_spec
from ecad_dsl.models.meta import meta_transformer
from ecad_dsl.runtime import inspect
from ecad_dsl.runtime.inspect import inspect_class
from ecad_dsl.runtime.structure import read_structure
from tests.runtime.tiny import flux_transformer, pipeline, pixart_transformer


def test_a_small_model_of_a_known_class_gets_its_family_at_its_own_size() -> None:
    spec = inspect(flux_transformer())
    assert spec.name == "flux.1-dev"
    assert [stack.blocks for stack in spec.stacks] == [2, 3]
    assert spec.config["attention_head_dim"] == 16
    assert not any(key.startswith("_") for key in spec.config)


@pytest.mark.parametrize("name", ["pixart-alpha", "reference"])
def test_a_module_of_exactly_a_shipped_configuration_is_that_model(name: str) -> None:
    with torch.device("meta"):
        transformer = PixArtTransformer2DModel(**load_spec(name).config)
    assert inspect(transformer) == load_spec(name)


def test_a_module_that_lost_blocks_is_not_the_shipped_model() -> None:
    with torch.device("meta"):
        transformer = PixArtTransformer2DModel(**load_spec("reference").config)
    del transformer.transformer_blocks[-1]
    assert inspect(transformer).blocks == 7


@pytest.mark.parametrize(
    ("pipeline_class", "name"), [(PixArtAlphaPipeline, "pixart-alpha"), (PixArtSigmaPipeline, "pixart-sigma")]
)
def test_a_pipeline_tells_specs_of_one_class_apart(pipeline_class: type, name: str) -> None:
    assert inspect(pipeline(pipeline_class)).name == name


def test_subclasses_belong_to_the_family() -> None:
    class Mine(PixArtTransformer2DModel):  # type: ignore[misc]
        pass

    with torch.device("meta"):
        transformer = Mine(**pixart_transformer().config)
    assert inspect(transformer).blocks == 3


@pytest.mark.parametrize(("dual", "name"), [((), "sd3-medium"), ((0, 1), "sd3.5-medium")])
def test_of_specs_of_one_class_the_one_with_the_module_s_components_is_taken(dual: tuple[int, ...], name: str) -> None:
    transformer = meta_transformer("SD3Transformer2DModel", {"num_layers": 3, "dual_attention_layers": dual})
    spec = inspect(transformer)
    assert (spec.name, spec.blocks) == (name, 3)


def test_a_pipeline_tells_specs_of_one_configuration_apart() -> None:
    sigma = type("PixArtSigmaPipeline", (), {})()
    sigma.transformer = meta_transformer("PixArtTransformer2DModel", load_spec("pixart-sigma-512").config)
    assert inspect(sigma).name == "pixart-sigma-512"
    assert inspect(sigma.transformer).name == "pixart-alpha-512"


class Wrapped(torch.nn.Module):
    """A linear layer as LoRA leaves it."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.base_layer = layer


def test_layers_that_were_wrapped_are_still_components() -> None:
    transformer = flux_transformer()
    plain = inspect(transformer)
    read = read_structure(transformer, {})
    for block in transformer.single_transformer_blocks:
        block.proj_mlp, block.proj_out = Wrapped(block.proj_mlp), Wrapped(block.proj_out)
    assert inspect(transformer) == plain
    assert read_structure(transformer, {}) == read


def test_a_class_is_inspected_without_arguments_that_it_no_longer_has() -> None:
    spec = inspect_class("WanTransformer3DModel", {"num_layers": 2, "_class_name": "x", "gone_since": 1})
    assert (spec.name, spec.blocks) == ("wan", 2)
    assert "gone_since" not in spec.config


def test_a_default_that_no_file_could_hold_is_left_out() -> None:
    transformer = meta_transformer("SanaWMTransformer3DModel", {})
    assert None in transformer.config.mlp_acts
    assert inspect(transformer).config.keys() == {k for k in transformer.config if k[0] != "_"} - {"mlp_acts"}


class Block(torch.nn.Module):
    """Whatever is in it, by name."""

    def __init__(self, **modules: torch.nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class Twice(Block):
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.ff(tokens) + self.ff(-tokens)


class Either(Block):
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.ff(tokens) if self.gate is not None else self.ff(tokens) + self.ff(-tokens)


class Mine(torch.nn.Module):
    def __init__(self, **stacks: list[torch.nn.Module]) -> None:
        super().__init__()
        for name, blocks in stacks.items():
            setattr(self, name, torch.nn.ModuleList(blocks))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        for block in self.late_blocks if len(self.blocks) > 5 else self.blocks:
            tokens = block(tokens)
        return self.finish(tokens)

    def finish(self, tokens: torch.Tensor) -> torch.Tensor:
        for block in self.early_blocks:
            tokens = block(tokens)
        return tokens


def layer() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(2, 2))


def components(**stacks: list[torch.nn.Module]) -> dict[str, dict[str, str]]:
    spec = read_structure(Mine(**stacks), {})
    return {s.name: {c.name: c.module for c in s.components} for s in spec.stacks} if spec else {}


@pytest.mark.parametrize(
    ("block", "found"),
    [
        (Block(attn=layer(), norm=torch.nn.LayerNorm(2), mlp=layer()), {"attn": "attn", "ffn": "mlp"}),
        (Block(attn1=layer(), attn2=layer()), {"self": "attn1", "cross": "attn2"}),
        (Block(attn=layer(), attn2=layer()), {"attn_joint": "attn", "attn_image": "attn2"}),
        (Block(ff=layer(), ff_context=layer()), {"ffn_image": "ff", "ffn_text": "ff_context"}),
        (Block(img_mlp=layer()), {"ffn": "img_mlp"}),
        (Block(inner=Block(attn=layer())), {"attn": "inner.attn"}),
        (Block(experts=torch.nn.ModuleList([Block(attn=layer())]), ff=layer()), {"ffn": "ff"}),
        (Block(attn=torch.nn.Linear(2, 2), act_mlp=torch.nn.GELU(), ff=layer()), {"ffn": "ff"}),
        (Twice(ff=layer(), attn=layer()), {"attn": "attn"}),
        (Either(ff=layer(), gate=layer()), {"ffn": "ff"}),
        (Block(proj_mlp=torch.nn.Linear(2, 2), proj_out=torch.nn.Linear(2, 2)), {"mlp": "proj_mlp", "out": "proj_out"}),
        (Block(proj_out=torch.nn.Linear(2, 2)), {}),
    ],
)
def test_components_are_told_by_what_diffusers_calls_them(block: torch.nn.Module, found: dict[str, str]) -> None:
    assert list(components(blocks=[block, block]).values()) == ([found] if found else [])


def test_what_one_block_calls_twice_is_left_alone_in_all() -> None:
    once, twice = Either(ff=layer(), gate=layer(), attn=layer()), Either(ff=layer(), attn=layer())
    twice.gate = None
    assert components(blocks=[once, twice]) == {"blocks": {"attn": "attn"}}
    assert components(blocks=[once, once]) == {"blocks": {"attn": "attn", "ffn": "ff"}}


def test_stacks_stand_as_the_forward_pass_comes_to_them_and_its_methods() -> None:
    one = Block(attn=layer())
    assert list(components(early_blocks=[one], blocks=[one], late_blocks=[one])) == ["late", "main", "early"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (torch.nn.Linear(2, 2), "Linear has no list of blocks"),
        (SimpleNamespace(unet=UNet2DModel), "denoises with a UNet"),
        (SimpleNamespace(transformer=None), "has no transformer"),
        ("a path", "str has no transformer"),
    ],
)
def test_what_has_no_known_transformer_is_refused(target: Any, words: str) -> None:
    with pytest.raises(EcadError, match=words):
        inspect(target)
