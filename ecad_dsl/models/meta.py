"""Transformers of diffusers on the meta device: their modules and shapes, without a weight in memory."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
import torch
from torch import nn

from ecad_dsl.errors import EcadError


def meta_transformer(transformer_class: str, config: Mapping[str, Any]) -> Any:
    """A transformer of this class of diffusers, made of these arguments.

    Raises:
        EcadError: diffusers has no such class, or the arguments do not fit it.
    """
    cls = _class(transformer_class)
    try:
        with torch.device("meta"):
            return cls(**config)
    except Exception as error:  # whatever a class of diffusers makes of arguments that do not fit
        given = "this configuration" if config else "its defaults alone; pass its configuration"
        raise EcadError(f"{transformer_class} cannot be made of {given}: {type(error).__name__}: {error}") from error


def arguments(transformer_class: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration are arguments of the class.

    Raises:
        EcadError: diffusers has no such class.
    """
    known = inspect.signature(_class(transformer_class).__init__).parameters
    return {key: value for key, value in config.items() if key in known}


def submodule(block: nn.Module, path: str) -> Any:
    """The module of a component (``attn1``, ``block.attn1``); None where the block lacks it."""
    module: Any = block
    for attribute in path.split("."):
        module = getattr(module, attribute, None)
    return module


def _class(name: str) -> Any:
    cls = getattr(diffusers, name, None)
    if not isinstance(cls, type) or not issubclass(cls, nn.Module):
        close = difflib.get_close_matches(name, dir(diffusers), 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise EcadError(f"diffusers {diffusers.__version__} has no transformer {name}{hint}")
    return cls
