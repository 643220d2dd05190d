"""The reference model as a diffusers pipeline: PixArtAlphaPipeline end to end, with defaults that suit it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import PixArtAlphaPipeline
from diffusers.utils import logging
from transformers.utils import logging as transformers_logging

from ecad_dsl.reference.captions import TOKENS
from ecad_dsl.reference.reader import Reader

WEIGHTS = Path(__file__).with_name("weights")
STEPS = 20
GUIDANCE = 3.0


class ReferencePipeline(PixArtAlphaPipeline):  # type: ignore[misc]
    """diffusers' PixArtAlphaPipeline; only the defaults of a call differ."""

    defaults: Mapping[str, Any] = {
        "num_inference_steps": STEPS,
        "guidance_scale": GUIDANCE,
        "height": 256,
        "width": 256,
        "use_resolution_binning": False,
        "clean_caption": False,
        "max_sequence_length": TOKENS,
    }

    def __call__(self, prompt: str | list[str] | None = None, **options: Any) -> Any:
        """As PixArtAlphaPipeline's, at 256 x 256 pixels, 20 steps and guidance 3."""
        return super().__call__(prompt, **{**self.defaults, **options})


def load_reference(folder: Path = WEIGHTS / "pipeline") -> ReferencePipeline:
    """The shipped reference model, in single precision."""
    # Loading takes a blink; and diffusers warns that the parts are not the classes of the full-size model.
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        pipe: ReferencePipeline = ReferencePipeline.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, low_cpu_mem_usage=False
        )
    finally:
        transformers_logging.enable_progress_bar()
        logging.enable_progress_bar()
        logging.set_verbosity(verbosity)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@cache
def load_reader() -> Reader:
    """The shipped reader."""
    return Reader.load(WEIGHTS / "reader.safetensors")
