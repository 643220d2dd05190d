"""Tiny random pipelines as folders in the hub's layout: every class and file of the published ones, none of the size.

``folder(tmp, "pixart-alpha")`` writes one that ``from_pretrained`` accepts. The tokenizers are real (Unigram for T5,
byte-level pairs for CLIP), of the words below.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,'-"
WORDS = ("red", "blue", "green", "cube", "sphere", "cat", "dog", "on", "under", "the", "photo", "of", "snow")
SIDE = 16
"""Pixels of a picture: what the tiny PixArt and SD3 draw by themselves. FLUX must be told, its own are 256."""


def folder(place: Path, name: str) -> Path:
    """The pipeline of this name, saved; where the folder is already, it stays as it is."""
    target = place / name
    if not target.exists():
        pipeline(name).save_pretrained(target)
    return target


def pipeline(name: str) -> Any:
    """The pipeline of this name: pixart-alpha, pixart-sigma, flux or sd3."""
    torch.manual_seed(0)
    pipe = PIPELINES[name]()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _pixart(cls: type) -> Any:
    return cls(
        tokenizer=_t5_tokenizer(),
        text_encoder=_t5(),
        vae=_autoencoder(),
        transformer=_shaken(
            PixArtTransformer2DModel(
                num_layers=3,
                num_attention_heads=2,
                attention_head_dim=8,
                cross_attention_dim=16,
                sample_size=8,
                caption_channels=32,
                in_channels=4,
                out_channels=8,
                use_additional_conditions=False,
            )
        ),
        scheduler=DPMSolverMultistepScheduler(),
    )


def _flux() -> Any:
    return FluxPipeline(
        tokenizer=_clip_tokenizer(),
        text_encoder=_clip(CLIPTextModel),
        tokenizer_2=_t5_tokenizer(),
        text_encoder_2=_t5(),
        vae=_autoencoder(),
        transformer=_shaken(
            FluxTransformer2DModel(
                in_channels=16,
                num_layers=2,
                num_single_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=32,
                pooled_projection_dim=32,
                guidance_embeds=True,
                axes_dims_rope=(4, 4, 8),
            )
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


def _sd3() -> Any:
    return StableDiffusion3Pipeline(
        tokenizer=_clip_tokenizer(),
        text_encoder=_clip(CLIPTextModelWithProjection),
        tokenizer_2=_clip_tokenizer(),
        text_encoder_2=_clip(CLIPTextModelWithProjection),
        tokenizer_3=_t5_tokenizer(),
        text_encoder_3=_t5(width=64),
        vae=_autoencoder(),
        transformer=_shaken(
            SD3Transformer2DModel(
                sample_size=8,
                patch_size=1,
                in_channels=4,
                out_channels=4,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=4,
                joint_attention_dim=64,
                caption_projection_dim=32,
                pooled_projection_dim=64,
            )
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


PIPELINES: dict[str, Callable[[], Any]] = {
    "pixart-alpha": lambda: _pixart(PixArtAlphaPipeline),
    "pixart-sigma": lambda: _pixart(PixArtSigmaPipeline),
    "flux": _flux,
    "sd3": _sd3,
}


def _shaken(transformer: Any) -> Any:
    """With no weight left at zero: some classes begin with outputs that let nothing through."""
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return transformer.eval()


def _autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        shift_factor=0.1,
    ).eval()


def _t5(width: int = 32) -> T5EncoderModel:
    size = len(_t5_tokenizer())
    return T5EncoderModel(T5Config(vocab_size=size, d_model=width, d_kv=8, d_ff=32, num_layers=2, num_heads=4)).eval()


def _clip(cls: Any) -> Any:
    tokenizer = _clip_tokenizer()
    return cls(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            projection_dim=32,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).eval()


def _t5_tokenizer() -> T5Tokenizer:
    pieces = ["▁", *LETTERS, *(f"▁{word}" for word in WORDS)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(vocab=[*special, *((piece, -float(len(pieces)) / len(piece)) for piece in pieces)], extra_ids=0)


def _clip_tokenizer() -> CLIPTokenizer:
    tokens = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    merges = [("c", "a"), ("ca", "t</w>"), ("r", "e"), ("re", "d</w>")]
    tokens += ["".join(pair) for pair in merges]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=merges, model_max_length=77)


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny pipeline by its name, made once a session. Read it, and leave it as it is."""
    place = tmp_path_factory.mktemp("tiny")
    return lambda name: folder(place, name)
