"""Captions of scenes: written with parts left open, and read back as the attributes that they state."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ecad_dsl.errors import EcadError
from ecad_dsl.reference.scenes import COLOURS, GROUNDS, LAYOUTS, SHAPES, SIZES, Scenes

TOKENS = 14
"""Longest caption in tokens, the end token included."""

WORDS = ("a", "in", "on", "the", "left", "of", "above", "thing", *GROUNDS, *SHAPES, *COLOURS, *SIZES)
"""Every word that the reference model knows."""

_STATED = {"size": 0.6, "colour": 0.85, "shape": 0.92, "ground": 0.8}

Stated = Mapping[str, int]
"""Attribute (``ground``, ``layout``, ``shape0``, ``colour1``, ...) to the index that a caption states."""


def write(scenes: Scenes, generator: torch.Generator, complete: bool = False) -> list[str]:
    """One caption a scene, each attribute left out with some probability unless ``complete``."""
    draws = torch.rand(len(scenes), 2, 4, generator=generator)
    return [_caption(scenes, index, draws[index] * (not complete)) for index in range(len(scenes))]


def _caption(scenes: Scenes, index: int, draws: Tensor) -> str:
    layout = LAYOUTS[int(scenes.layout[index])]
    parts = [_noun_phrase(scenes, index, 0, draws[0])]
    if layout != "single":
        parts += [layout, _noun_phrase(scenes, index, 1, draws[1])]
    if draws[0, 3] < _STATED["ground"]:
        ground = GROUNDS[int(scenes.ground[index])]
        parts.append("in the sky" if ground == "sky" else f"on {ground}")
    return " ".join(parts)


def _noun_phrase(scenes: Scenes, index: int, which: int, draws: Tensor) -> str:
    words = ["a"]
    if draws[0] < _STATED["size"]:
        words.append(SIZES[int(scenes.size[index, which])])
    if draws[1] < _STATED["colour"]:
        words.append(COLOURS[int(scenes.colour[index, which])])
    words.append(SHAPES[int(scenes.shape[index, which])] if draws[2] < _STATED["shape"] else "thing")
    return " ".join(words)


def read(caption: str) -> Stated:
    """The attributes that a caption states.

    Raises:
        EcadError: a word that the reference model does not know, or a caption of more than TOKENS - 1 words.
    """
    words = caption.lower().replace(".", " ").replace(",", " ").split()
    unknown = [word for word in words if word not in WORDS]
    if unknown:
        raise EcadError(f"the reference model does not know {unknown[0]!r}; it knows: {', '.join(WORDS)}")
    if len(words) >= TOKENS:
        raise EcadError(f"the caption has {len(words)} words, the reference model reads {TOKENS - 1}: {caption!r}")
    stated: dict[str, int] = {}
    which = 0
    for word in words:
        if word in {"left", "above"}:
            which = 1
            stated["layout"] = LAYOUTS.index("left of" if word == "left" else "above")
        elif word in GROUNDS:
            stated["ground"] = GROUNDS.index(word)
        elif word in SHAPES:
            stated[f"shape{which}"] = SHAPES.index(word)
        elif word in COLOURS:
            stated[f"colour{which}"] = COLOURS.index(word)
        elif word in SIZES:
            stated[f"size{which}"] = SIZES.index(word)
    if words:
        stated.setdefault("layout", LAYOUTS.index("single"))
    return stated
