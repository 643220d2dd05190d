"""Prompt sets: what a search is calibrated on, and what its results are judged on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ecad_dsl.reference import captions, scenes


@dataclass(frozen=True)
class PromptSet:
    """Prompts with the seed of the noise that each starts from."""

    name: str
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, chosen: slice) -> PromptSet:
        return PromptSet(self.name, self.prompts[chosen], self.seeds[chosen])

    def at(self, positions: Iterable[int]) -> PromptSet:
        """Those at these positions."""
        chosen = tuple(positions)
        return PromptSet(self.name, tuple(self.prompts[i] for i in chosen), tuple(self.seeds[i] for i in chosen))

    @property
    def sha256(self) -> str:
        """Of the prompts and seeds, so that two sets can be told apart."""
        return hashlib.sha256(repr((self.prompts, self.seeds)).encode()).hexdigest()


# Each set has a million seeds to itself, so that no two sets share noise.


def calibration(count: int, seed: int = 0) -> PromptSet:
    """Captions of scenes like those the reference model was trained on."""
    return _captions("calibration", count, (2 * seed + 1) * 1_000_000, held_out=False)


def held_out(count: int, seed: int = 0) -> PromptSet:
    """Captions with pairs of shape and colour kept out of the reference model's training; other noise, too."""
    return _captions("held-out", count, (2 * seed + 2) * 1_000_000, held_out=True)


def _captions(name: str, count: int, first_seed: int, held_out: bool) -> PromptSet:
    generator = torch.Generator().manual_seed(first_seed)
    kept: list[str] = []
    while len(kept) < count:
        texts = captions.write(scenes.sample(count, generator, held_out), generator)
        # A caption may have left out the very pair that it was drawn for.
        kept += [text for text in texts if not held_out or states_held_out_pair(text)]
    return PromptSet(name, tuple(kept[:count]), tuple(range(first_seed, first_seed + count)))


def states_held_out_pair(caption: str) -> bool:
    """Whether a caption names a shape and a colour that never came together in training."""
    stated = captions.read(caption)
    pairs = {
        (scenes.SHAPES[stated[f"shape{which}"]], scenes.COLOURS[stated[f"colour{which}"]])
        for which in (0, 1)
        if f"shape{which}" in stated and f"colour{which}" in stated
    }
    return not pairs.isdisjoint(scenes.HELD_OUT)
