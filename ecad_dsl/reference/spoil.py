"""Scenes spoilt the way that bad sampling spoils them: what the reader learns to call unreal.

Never made with the generator, so that the reward cannot learn the generator's own habits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor


def spoil(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture spoilt in one way or in two, by a random amount: [batch, 3, height, width] in [0, 1]."""
    ways = (_noise, _blur, _jitter, _mix, _contrast, _smooth_cast)
    spoilt = pictures
    for again in range(2):
        results = torch.stack([way(spoilt, generator) for way in ways])
        chosen = torch.randint(len(ways), (len(pictures),), generator=generator)
        result = results[chosen, torch.arange(len(pictures))]
        twice = torch.rand(len(pictures), 1, 1, 1, generator=generator) < 0.3
        spoilt = torch.where(twice, result, spoilt) if again else result
    return spoilt.clamp(0, 1)


def _amount(batch: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Log-uniform between low and high: [batch, 1, 1, 1]. Most damage is slight, so the reader must look closely."""
    u = torch.rand(batch, 1, 1, 1, generator=generator)
    return low * (high / low) ** u


def _noise(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Noise left over, everywhere or in one patch of the picture alone."""
    noise = torch.randn(pictures.shape, generator=generator) * _amount(len(pictures), 0.025, 0.4, generator)
    coarse = torch.rand(len(pictures), 1, 4, 4, generator=generator)
    window = F.interpolate((coarse < 0.3).float(), pictures.shape[-2:])
    everywhere = torch.rand(len(pictures), 1, 1, 1, generator=generator) < 0.6
    return pictures + noise * torch.where(everywhere, 1.0, window)


def _blur(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian blur, drawn out along a random axis."""
    batch, channels, height, width = pictures.shape
    offsets = torch.arange(-3, 4)
    for axis in (2, 3):
        sigma = _amount(batch, 0.3, 1.6, generator)[..., 0]
        kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
        kernel = (kernel / kernel.sum(-1, keepdim=True)).repeat_interleave(channels, 0)
        weight = kernel[..., :, None] if axis == 2 else kernel[..., None, :]
        padding = (0, 0, 3, 3) if axis == 2 else (3, 3, 0, 0)
        flat = F.pad(pictures.reshape(1, batch * channels, height, width), padding, mode="replicate")
        pictures = F.conv2d(flat, weight, groups=batch * channels).reshape(batch, channels, height, width)
    return pictures


def _jitter(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Patches of 2 x 2 pixels taken from a neighbour, or lifted in brightness: the seams of a transformer."""
    batch, _, height, width = pictures.shape
    share = _amount(batch, 0.05, 0.7, generator)
    shifts = ((0, 2), (0, -2), (2, 0), (-2, 0))
    moved = torch.stack([pictures.roll(shift, (2, 3)) for shift in shifts])
    chosen = torch.randint(len(shifts), (batch,), generator=generator)
    moved = moved[chosen, torch.arange(batch)]
    offsets = torch.randn(batch, 3, height // 2, width // 2, generator=generator)
    lifted = pictures + F.interpolate(offsets, scale_factor=2) * _amount(batch, 0.02, 0.25, generator)
    spoilt = torch.where(torch.rand(batch, 1, 1, 1, generator=generator) < 0.5, moved, lifted)
    hit = F.interpolate(torch.rand(batch, 1, height // 2, width // 2, generator=generator), scale_factor=2)
    return torch.where(hit < share, spoilt, pictures)


def _mix(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Another scene shining through, everywhere or in a window."""
    batch = len(pictures)
    weight = _amount(batch, 0.06, 0.5, generator)
    coarse = torch.rand(batch, 1, 3, 3, generator=generator)
    window = F.interpolate((coarse < 0.4).float(), pictures.shape[-2:], mode="bilinear")
    weight = torch.where(torch.rand(batch, 1, 1, 1, generator=generator) < 0.5, weight, weight * window)
    return pictures + weight * (pictures.roll(1, 0) - pictures)


def _contrast(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Too much contrast or too little."""
    strength = 1 + _amount(len(pictures), 0.12, 0.8, generator)
    weaker = torch.rand(len(pictures), 1, 1, 1, generator=generator) < 0.5
    mean = pictures.mean((2, 3), keepdim=True)
    return mean + (pictures - mean) * torch.where(weaker, 1 / strength, strength)


def _smooth_cast(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Blotches of colour, as an early stop leaves them."""
    blotches = torch.randn(len(pictures), 3, 4, 4, generator=generator)
    blotches = F.interpolate(blotches, pictures.shape[-2:], mode="bilinear")
    return pictures + blotches * _amount(len(pictures), 0.05, 0.35, generator)
