"""Weights, pictures and prompts that two environments make alike, so that no file of weights need be kept.

Only numpy, PIL and torch: `record.py` uses this beside libraries of years ago. numpy promises that the numbers of
`RandomState` never change.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

VIT = {"embed_dim": 128, "depth": 2, "num_heads": 2}
"""A small picture encoder, by the names of the package image-reward. Heads are 64 wide, as in the published one."""

MED = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 160,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 64,
    "model_type": "bert",
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "pad_token_id": 0,
    "add_type_embeddings": False,
    "vocab_size": 42,
    "encoder_width": 128,
    "add_cross_attention": True,
}
"""The keys of the published med_config.json, with smaller numbers."""

VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a the of on with and photo painting cat dog house tree river red green blue yellow"
    " big small old new night day sun moon very ##s ##ing ##ed walk run sleep , . !"
)

PROMPTS = (
    "a photo of a big red house",
    "A painting of the moon, walking dogs and a cat sleeping!",
    "",
    "an unknown zebra, running",
    "very very very old tree " * 12,
    "[ENC] a yellow sun [DEC]",
)


def weights(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    """Random weights by name: signals neither die nor explode, and every bias and norm counts."""
    return {name: _weight(name, tuple(shape), seed) for name, shape in shapes.items()}


def _weight(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    random = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    numbers = random.standard_normal(shape)
    if name.endswith(("running_var", "norm.weight", "norm1.weight", "norm2.weight", "LayerNorm.weight", "bn.weight")):
        numbers = 1 + 0.2 * np.tanh(numbers)
    elif len(shape) < 2:
        numbers = 0.1 * numbers
    elif "embed" not in name and "token" not in name:
        numbers = numbers * math.sqrt(2 / math.prod(shape[1:]))
    return torch.from_numpy(numbers.astype(np.float32))


def pictures() -> list[Image.Image]:
    """Of several shapes and modes: square, wide, tall, small, grey, with an alpha channel."""
    sizes = (
        (256, 256, "RGB"),
        (333, 240, "RGB"),
        (201, 300, "RGB"),
        (64, 64, "RGB"),
        (128, 97, "L"),
        (300, 230, "RGBA"),
    )
    return [_picture(width, height, mode, seed) for seed, (width, height, mode) in enumerate(sizes)]


def _picture(width: int, height: int, mode: str, seed: int) -> Image.Image:
    """Smooth shapes and some noise."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[0:height, 0:width] / 64
    channels = []
    for _ in mode:
        a, b, c, d = random.uniform(0.5, 3, 4)
        wave = 128 + 60 * np.sin(a * x + b * y) + 50 * np.cos(c * x * y / 4 + d)
        channels.append(wave + random.uniform(-15, 15, (height, width)))
    array = np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8)
    return Image.fromarray(array[..., 0] if mode == "L" else array, mode)


def spoilt(picture: Image.Image, seed: int) -> Image.Image:
    """The same with noise: what a distance to an original is measured on."""
    array = np.asarray(picture.convert("RGB")).astype(np.float64)
    noise = np.random.RandomState(seed).normal(0, 12, array.shape)
    return Image.fromarray(np.clip(array + noise, 0, 255).astype(np.uint8))


def write_vocabulary(folder: Path) -> Path:
    path = folder / "vocab.txt"
    path.write_text(VOCABULARY.replace(" ", "\n") + "\n")
    return path


def write_med_config(folder: Path) -> Path:
    path = folder / "med_config.json"
    path.write_text(json.dumps(MED))
    return path
