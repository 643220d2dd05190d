"""Reading a model spec off a loaded pipeline or transformer."""

from __future__ import annotations

import inspect as signatures
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from ecad_dsl.errors import EcadError
from ecad_dsl.models import ModelSpec, load_spec, spec_names
from ecad_dsl.models.meta import arguments, meta_transformer, submodule
from ecad_dsl.runtime.structure import read_structure


def inspect(pipe_or_transformer: Any) -> ModelSpec:
    """The spec of a diffusers transformer, or of the transformer of a pipeline.

    Of the shipped specs for the class of the transformer (or a class that it derives from), the one with the module's
    very configuration is taken as it stands. Otherwise the one that the pipeline's class is named after, else the first
    by name, is resized to the module's own numbers of blocks and given its configuration. For a class that no shipped
    spec describes, the spec is read off the modules: every list of blocks is a stack, every attention and feed-forward
    in a block a component.

    Raises:
        EcadError: there is no transformer, or it has no list of blocks with attention or feed-forwards.
    """
    transformer = find_transformer(pipe_or_transformer)
    config = _config(transformer)
    family = _family(transformer)
    if not family:
        spec = read_structure(transformer, config)
        if spec is None:
            name = type(transformer).__name__
            raise EcadError(f"{name} has no list of blocks with attention or feed-forwards, so nothing to cache")
        return spec
    exact = [spec for spec in family if _is_exactly(spec, config) and block_counts(transformer, spec) == _blocks(spec)]
    if exact:
        return _named_after(exact, pipe_or_transformer)
    spec = _named_after(family, pipe_or_transformer)
    return replace(spec.resized(block_counts(transformer, spec)), config=config)


def inspect_class(transformer_class: str, config: Mapping[str, Any]) -> ModelSpec:
    """The spec of a transformer class of diffusers with this configuration, without a weight in memory.

    Keys that are no argument of the class are passed over, as diffusers does: files on the hub have such.

    Raises:
        EcadError: diffusers has no such class, the configuration does not fit it, or it has nothing to cache.
    """
    return inspect(meta_transformer(transformer_class, arguments(transformer_class, config)))


def _family(transformer: nn.Module) -> list[ModelSpec]:
    """The shipped specs of the class all of whose components the blocks have; of those, the ones with the most."""
    classes = {cls.__name__ for cls in type(transformer).__mro__}
    shipped = [load_spec(name) for name in spec_names()]
    fitting = [spec for spec in shipped if spec.transformer in classes and _has_components(transformer, spec)]
    most = max((len(spec.component_names) for spec in fitting), default=0)
    return [spec for spec in fitting if len(spec.component_names) == most]


def _has_components(transformer: nn.Module, spec: ModelSpec) -> bool:
    """Whether each component is there in at least one block."""
    return all(
        any(submodule(block, component.module) is not None for block in getattr(transformer, stack.path, ()))
        for stack in spec.stacks
        for component in stack.components
    )


def find_transformer(pipe_or_transformer: Any) -> nn.Module:
    """The module itself, or the pipeline's ``transformer``.

    Raises:
        EcadError: it has none (a pipeline around a UNet, say).
    """
    if isinstance(pipe_or_transformer, nn.Module):
        return pipe_or_transformer
    transformer = getattr(pipe_or_transformer, "transformer", None)
    if isinstance(transformer, nn.Module):
        return transformer
    name = type(pipe_or_transformer).__name__
    if getattr(pipe_or_transformer, "unet", None) is not None:
        raise EcadError(f"{name} denoises with a UNet; schedules describe diffusion transformers (pipe.transformer)")
    raise EcadError(f"{name} has no transformer; pass a diffusers pipeline that has one, or the transformer itself")


def block_counts(transformer: nn.Module, spec: ModelSpec) -> dict[str, int]:
    """How many blocks the module itself has in each stack of the spec.

    Raises:
        EcadError: the module has no such stack.
    """
    counts = {}
    for stack in spec.stacks:
        blocks = getattr(transformer, stack.path, None)
        if not isinstance(blocks, nn.ModuleList):
            name = type(transformer).__name__
            raise EcadError(f"{name} is not built like {spec.title}: it has no list of blocks named {stack.path}")
        counts[stack.name] = len(blocks)
    return counts


def _config(transformer: nn.Module) -> dict[str, Any]:
    """Arguments that the module was made with, but for defaults that no file could hold: a None within a list.

    Keys with an underscore are diffusers' own bookkeeping.
    """
    config: Mapping[str, Any] = getattr(transformer, "config", {})
    parameters = signatures.signature(type(transformer).__init__).parameters
    return {
        key: value
        for key, value in config.items()
        if not key.startswith("_")
        and not (isinstance(value, list | tuple) and None in value and parameters[key].default == value)
    }


def _is_exactly(spec: ModelSpec, config: Mapping[str, Any]) -> bool:
    """Whether all that the spec says of the configuration holds. A list in a file is a tuple in a module."""
    return bool(spec.config) and all(
        key in config and (list(config[key]) if isinstance(config[key], tuple) else config[key]) == value
        for key, value in spec.config.items()
    )


def _blocks(spec: ModelSpec) -> dict[str, int]:
    return {stack.name: stack.blocks for stack in spec.stacks}


def _named_after(family: list[ModelSpec], pipe: Any) -> ModelSpec:
    """The spec whose name the pipeline's class bears (pixart-sigma-512: PixArtSigmaPipeline), else the first."""
    pipeline_class = type(pipe).__name__.lower()
    named = [spec for spec in family if pipeline_class.startswith(re.sub(r"-\d+$|-", "", spec.name))]
    return (named or family)[0]
