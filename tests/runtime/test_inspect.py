from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import PixArtAlphaPipeline, PixArtSigmaPipeline, PixArtTransformer2DModel, UNet2DModel

from ecad_dsl.errors import EcadError
from ecad_dsl.models import load_spec
from ecad_dsl.runtime import inspect
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
