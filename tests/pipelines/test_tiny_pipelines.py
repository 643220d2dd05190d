"""The stand-ins for the published pipelines are fit to be tested on: every part of them tells in the picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

from tests.tiny_pipelines import PIPELINES, SIDE


@pytest.mark.parametrize("name", PIPELINES)
def test_a_tiny_pipeline_is_read_from_its_folder_and_heeds_the_prompt(
    tiny_folders: Callable[[str], Path], name: str
) -> None:
    pipe: Any = DiffusionPipeline.from_pretrained(tiny_folders(name))
    pipe.set_progress_bar_config(disable=True)
    options = {"use_resolution_binning": False, "clean_caption": False} if name.startswith("pixart") else {}

    def draw(prompt: str) -> torch.Tensor:
        noise = torch.Generator().manual_seed(0)
        size = {"height": SIDE, "width": SIDE}
        images: torch.Tensor = pipe(
            prompt, num_inference_steps=2, generator=noise, output_type="pt", **size, **options
        ).images
        return images

    red = draw("a photo of a red cat")
    assert red.shape == (1, 3, SIDE, SIDE)
    assert red.std() > 0.05
    assert torch.equal(draw("a photo of a red cat"), red)
    assert (draw("blue sphere under snow") - red).abs().max() > 1e-3
