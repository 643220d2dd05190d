"""What all metrics have in common: numbers for each picture of a batch, and what they come to for all pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ecad_dsl.errors import EcadError
from ecad_dsl.quality.bootstrap import Array

Need = Literal["prompts", "originals"]

CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the channels, as CLIP and BLIP were trained with."""


@dataclass(frozen=True)
class Batch:
    """Pictures to be measured together, with what a metric may want to know of each."""

    pictures: Sequence[Image.Image]
    prompts: Sequence[str] = ()
    originals: Sequence[Image.Image] = ()
    """The pictures that the same prompts and seeds give without a cache."""


class Metric(Protocol):
    """Implement this to measure pictures by something of your own."""

    @property
    def name(self) -> str:
        """What tables and the command line call it."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """What a batch must hold beside the pictures."""
        ...

    @property
    def more_is_better(self) -> bool: ...

    @property
    def identity(self) -> str:
        """Whatever the numbers depend on beside the batch; numbers kept under another are not taken for these."""
        ...

    def numbers(self, batch: Batch) -> Array:
        """[pictures, numbers of each]: one for a score, many for features."""
        ...

    def total(self, numbers: Array) -> float:
        """What the numbers of all pictures, [pictures, numbers of each], come to: the figure that a table shows."""
        ...


@dataclass(frozen=True)
class MetricReward:
    """A metric of one number a picture, as the reward of a search."""

    metric: Metric

    def __call__(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        """Pictures [batch, 3, height, width] in [0, 1] and their prompts to one number each, [batch]."""
        numbers = self.metric.numbers(Batch(as_pictures(pictures), prompts))
        return torch.from_numpy(numbers[:, 0])


def as_pictures(pictures: Tensor) -> list[Image.Image]:
    """[batch, 3, height, width] in [0, 1] as they would be saved: rounded to 8 bits as diffusers does it."""
    eight_bits = (pictures.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in eight_bits]


def as_tensor(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size as uint8, [batch, 3, height, width].

    Raises:
        EcadError: their sizes differ.
    """
    if len(sizes := {picture.size for picture in pictures}) > 1:
        raise EcadError(
            f"pictures of {len(sizes)} sizes cannot be measured together; measure them one by one (--batch 1)"
        )
    arrays = [np.asarray(picture.convert("RGB")) for picture in pictures]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def cropped(picture: Image.Image, size: int) -> Tensor:
    """The middle of a picture whose shorter side is ``size``, scaled bicubically, [3, size, size], as CLIP sees it."""
    width, height = picture.size
    short = min(width, height)
    scaled = picture.resize((size * width // short, size * height // short), Image.Resampling.BICUBIC)
    # Halves go to the even number, in the reference as in Python.
    left, top = round((scaled.width - size) / 2), round((scaled.height - size) / 2)
    square = np.asarray(scaled.crop((left, top, left + size, top + size)).convert("RGB"))
    channels = torch.from_numpy(square.copy()).permute(2, 0, 1).float().div(255)
    mean, deviation = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_DEVIATION)
    return (channels - mean[:, None, None]) / deviation[:, None, None]


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Tells one set of weights from another, whatever device they are on."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        content = weights[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(f"{name} {tuple(weights[name].shape)} {weights[name].dtype}\n".encode())
        digest.update(content.numpy().data)
    return digest.hexdigest()[:16]


def mean(numbers: Array) -> float:
    """The total of a metric that gives one number a picture."""
    return float(np.mean(numbers, dtype=np.float64))


def device_of(module: Any) -> torch.device:
    found: torch.device = next(module.parameters()).device
    return found
