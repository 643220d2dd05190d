"""Tiny random models of the real diffusers classes. Nothing is downloaded."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

torch.set_num_threads(1)

WORDS = ["<pad>", "</s>", "<unk>", "a", "red", "blue", "cube", "sphere", "on"]


def pixart_transformer(**config: Any) -> PixArtTransformer2DModel:
    torch.manual_seed(0)
    sizes = {"num_layers": 3, "num_attention_heads": 2, "attention_head_dim": 8, "cross_attention_dim": 16}
    inputs = {"sample_size": 8, "caption_channels": 8, "in_channels": 4, "out_channels": 8}
    return PixArtTransformer2DModel(**{**sizes, **inputs, "use_additional_conditions": False, **config}).eval()


def flux_transformer() -> FluxTransformer2DModel:
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=4,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    ).eval()


def pipeline(pipeline_class: type) -> Any:
    vocabulary = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    pipe = pipeline_class(
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=vocabulary, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        ),
        text_encoder=T5EncoderModel(
            T5Config(vocab_size=len(WORDS), d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
        ).eval(),
        vae=AutoencoderKL(
            block_out_channels=(8, 8),
            norm_num_groups=4,
            latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        ).eval(),
        transformer=pixart_transformer(),
        scheduler=DPMSolverMultistepScheduler(),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
