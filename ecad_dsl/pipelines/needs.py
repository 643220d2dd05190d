"""How much memory a pipeline needs, read off its configurations on the meta device: no weight is in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from ecad_dsl.errors import EcadError
from ecad_dsl.models import load_spec
from ecad_dsl.models.meta import arguments, meta_transformer
from ecad_dsl.pipelines.source import Source, is_text_part, part_names, read_index

GIB = 1 << 30


@dataclass(frozen=True)
class Size:
    """Parameters of a part of a pipeline."""

    parameters: int
    wide: int = 0
    """Of these, the ones that stay in float32 where the others are in float16: T5 needs it."""

    def bytes(self, dtype: torch.dtype) -> int:
        """What the weights take."""
        return self.parameters * dtype.itemsize + (2 * self.wide if dtype == torch.float16 else 0)


@dataclass(frozen=True)
class Needs:
    """What a pipeline is made of."""

    parts: Mapping[str, Size]

    @property
    def parameters(self) -> dict[str, int]:
        """Of each part."""
        return {part: size.parameters for part, size in self.parts.items()}

    def bytes(self, dtype: torch.dtype, transformer_bits: int | None = None) -> dict[str, int]:
        """What the weights of each part take, those of the transformer in so many bits where they are quantised."""
        taken = {part: size.bytes(dtype) for part, size in self.parts.items()}
        if transformer_bits is not None and "transformer" in taken:
            taken["transformer"] = self.parts["transformer"].parameters * transformer_bits // 8
        return taken

    def without_text(self) -> Needs:
        """Of the pipeline without its text encoders."""
        return Needs({part: size for part, size in self.parts.items() if not is_text_part(part)})

    def text_only(self) -> Needs:
        """Of the text encoders alone."""
        return Needs({part: size for part, size in self.parts.items() if is_text_part(part)})


def needs_of(source: Source) -> Needs | None:
    """What a pipeline needs; None for a repository of the hub that no spec describes.

    Raises:
        EcadError: a folder's configuration does not fit its class.
    """
    if source.is_folder:
        return _needs_of_folder(Path(source.place))
    return None if source.checkpoint is None else needs_of_model(source.name)


@cache
def needs_of_model(model: str) -> Needs:
    """What a model that is known by name needs, by the configurations in its spec."""
    spec = load_spec(model)
    parts: Mapping[str, Any] = spec.checkpoint.get("parts", {})
    sizes = {"transformer": _size(meta_transformer(spec.transformer, spec.config))}
    return Needs(sizes | {name: _size_of(part["class"], json.dumps(part["config"])) for name, part in parts.items()})


def _needs_of_folder(folder: Path) -> Needs:
    index, sizes = read_index(folder), {}
    for name in part_names(index):
        config = folder / name / "config.json"
        if config.is_file():
            try:
                sizes[name] = _size_of(index[name][1], config.read_text(encoding="utf-8"))
            except ValueError as error:
                raise EcadError(f"cannot read {config}: {error}") from None
    return Needs(sizes)


@cache
def _size_of(class_name: str, config: str) -> Size:
    """Of a model with this configuration as JSON. Models share their text encoders."""
    return _size(_meta(class_name, json.loads(config)))


def _meta(class_name: str, config: Mapping[str, Any]) -> nn.Module:
    """A model of diffusers or transformers without weights."""
    cls = getattr(transformers, class_name, None)
    if cls is None:
        return meta_transformer(class_name, arguments(class_name, config))  # type: ignore[no-any-return]
    try:
        with torch.device("meta"):
            module: nn.Module = cls(cls.config_class(**config))
    except Exception as error:  # whatever a class makes of a configuration that does not fit
        raise EcadError(f"{class_name} cannot be made of its configuration: {type(error).__name__}: {error}") from error
    return module


def _size(module: nn.Module) -> Size:
    wide = getattr(module, "_keep_in_fp32_modules", None) or ()
    counts = {name: parameter.numel() for name, parameter in module.named_parameters()}
    return Size(
        sum(counts.values()), sum(count for name, count in counts.items() if not set(wide).isdisjoint(name.split(".")))
    )


def in_gib(size: int) -> str:
    """Bytes as people say them."""
    return f"{size / GIB:.1f} GiB" if size >= GIB // 10 else f"{size / (1 << 20):.1f} MiB"
