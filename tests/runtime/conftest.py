from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import PixArtAlphaPipeline, PixArtSigmaPipeline

from tests.runtime.tiny import pipeline

Generate = Callable[..., torch.Tensor]


@pytest.fixture(params=[PixArtAlphaPipeline, PixArtSigmaPipeline], ids=["alpha", "sigma"])
def pipe(request: pytest.FixtureRequest) -> Any:
    return pipeline(request.param)


@pytest.fixture
def generate() -> Generate:
    """A picture as a tensor [2, 3, 16, 16], from a fixed seed."""

    def generate(pipe: Any, steps: int = 5, **options: Any) -> torch.Tensor:
        options = {"guidance_scale": 4.5, "output_type": "pt", "use_resolution_binning": False, **options}
        images: torch.Tensor = pipe(
            ["a red cube", "blue sphere on a cube"],
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(1),
            max_sequence_length=6,
            clean_caption=False,
            **options,
        ).images
        return images

    return generate
