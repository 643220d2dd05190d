"""Every architecture of diffusers that schedules are proved on: a tiny configuration of it, and what it is fed.

The table of docs/models.md is made of the same data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from torch import nn

Tensor = torch.Tensor


@dataclass(frozen=True)
class Architecture:
    transformer: str
    """Class of diffusers."""
    modality: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Any]
    """Arguments of a forward pass: noise of the shape of a tuple, everything else as it stands. The first are the
    latents, and ``timestep`` is said at each step."""
    timestep: str = "timestep"
    remark: str = ""

    def build(self) -> nn.Module:
        """Random weights, so that none is zero: some classes begin with gates that let nothing through."""
        torch.manual_seed(0)
        transformer: nn.Module = getattr(diffusers, self.transformer)(**self.config).eval()
        with torch.no_grad():
            for parameter in transformer.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
        return transformer

    def arguments(self, step: int) -> dict[str, Any]:
        """Arguments of the forward pass of a step: other latents and another timestep at each."""
        latents = next(iter(self.inputs))
        arguments = {
            name: _noise(value, seed=step if name == latents else 1000 + index)
            for index, (name, value) in enumerate(self.inputs.items())
        }
        return {**arguments, self.timestep: torch.tensor([900.0 - 100 * step]), "return_dict": False}


def _noise(value: Any, seed: int) -> Any:
    if isinstance(value, list):
        return [_noise(item, seed) for item in value]
    if type(value) is tuple:
        return torch.randn(value, generator=torch.Generator().manual_seed(seed))
    return value


def grid(axes: int, *sizes: int) -> Tensor:
    """Positions of tokens [tokens, axes], the last axes being those of the grid."""
    places = torch.cartesian_prod(*map(torch.arange, sizes)).reshape(-1, len(sizes))
    return torch.cat([torch.zeros(len(places), axes - len(sizes)), places], dim=1)


def mask(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


HEADS = {"num_attention_heads": 2, "attention_head_dim": 16}
FLUX = {**HEADS, "patch_size": 1, "in_channels": 4, "num_layers": 2, "num_single_layers": 2, "joint_attention_dim": 8}
FLUX_INPUTS = {
    "hidden_states": (1, 16, 4),
    "encoder_hidden_states": (1, 5, 8),
    "img_ids": grid(3, 4, 4),
    "txt_ids": torch.zeros(5, 3),
}
WAN = {
    **HEADS,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 8,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 2,
    "rope_max_seq_len": 32,
}
VIDEO = (1, 4, 2, 8, 8)
WAN_INPUTS = {"hidden_states": VIDEO, "encoder_hidden_states": (1, 5, 8)}
HUNYUAN = {
    **HEADS,
    "in_channels": 4,
    "out_channels": 4,
    "num_refiner_layers": 1,
    "num_layers": 2,
    "num_single_layers": 2,
    "text_embed_dim": 8,
    "rope_axes_dim": (4, 6, 6),
}
COGVIDEO = {
    **HEADS,
    "in_channels": 4,
    "out_channels": 4,
    "time_embed_dim": 8,
    "text_embed_dim": 8,
    "num_layers": 2,
    "sample_width": 8,
    "sample_height": 8,
    "sample_frames": 5,
    "max_text_seq_length": 5,
}
COGVIEW = {
    **HEADS,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "text_embed_dim": 8,
    "time_embed_dim": 8,
    "condition_dim": 4,
    "pos_embed_max_size": 8,
    "sample_size": 8,
}
SIZES = {"original_size": torch.ones(1, 2), "target_size": torch.ones(1, 2), "crop_coords": torch.zeros(1, 2)}
SANA = {
    **HEADS,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 16,
    "cross_attention_dim": 32,
    "caption_channels": 8,
    "sample_size": 8,
}

ARCHITECTURES = [
    # Pictures.
    Architecture(
        "PixArtTransformer2DModel",
        "image",
        {
            **HEADS,
            "num_layers": 2,
            "in_channels": 4,
            "cross_attention_dim": 32,
            "sample_size": 8,
            "caption_channels": 8,
        },
        {
            "hidden_states": (1, 4, 8, 8),
            "encoder_hidden_states": (1, 5, 8),
            "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
        },
    ),
    Architecture(
        "FluxTransformer2DModel",
        "image",
        {**FLUX, "pooled_projection_dim": 8, "axes_dims_rope": (4, 6, 6)},
        {**FLUX_INPUTS, "pooled_projections": (1, 8)},
    ),
    Architecture(
        "Flux2Transformer2DModel",
        "image",
        {**FLUX, "axes_dims_rope": (4, 4, 4, 4), "timestep_guidance_channels": 8, "guidance_embeds": False},
        {
            "hidden_states": (1, 16, 4),
            "encoder_hidden_states": (1, 5, 8),
            "img_ids": grid(4, 4, 4),
            "txt_ids": torch.zeros(5, 4),
        },
        remark="a single block is one module: attention and feed-forward together",
    ),
    Architecture(
        "ChromaTransformer2DModel",
        "image",
        {**FLUX, "axes_dims_rope": (4, 6, 6), "approximator_num_channels": 8, "approximator_hidden_dim": 8},
        {**FLUX_INPUTS},
    ),
    Architecture(
        "BriaTransformer2DModel",
        "image",
        {**FLUX, "axes_dims_rope": [0, 8, 8]},
        {**FLUX_INPUTS},
    ),
    Architecture(
        "BriaFiboTransformer2DModel",
        "image",
        {**FLUX, "axes_dims_rope": [0, 8, 8], "text_encoder_dim": 8},
        {**FLUX_INPUTS, "text_encoder_layers": [(1, 5, 8)] * 4},
    ),
    Architecture(
        "OvisImageTransformer2DModel",
        "image",
        {**FLUX, "out_channels": 4, "axes_dims_rope": (4, 6, 6)},
        {**FLUX_INPUTS},
    ),
    Architecture(
        "LongCatImageTransformer2DModel",
        "image",
        {**FLUX, "pooled_projection_dim": 8, "axes_dims_rope": [4, 6, 6]},
        {**FLUX_INPUTS},
    ),
    Architecture(
        "SD3Transformer2DModel",
        "image",
        {
            **HEADS,
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 3,
            "joint_attention_dim": 8,
            "caption_projection_dim": 32,
            "pooled_projection_dim": 8,
            "dual_attention_layers": (0,),
            "pos_embed_max_size": 8,
        },
        {"hidden_states": (1, 4, 8, 8), "encoder_hidden_states": (1, 5, 8), "pooled_projections": (1, 8)},
        remark="attn_image in SD3.5-medium alone: without it, `attn_joint` is called `attn`",
    ),
    Architecture(
        "AuraFlowTransformer2DModel",
        "image",
        {
            **HEADS,
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "num_mmdit_layers": 2,
            "num_single_dit_layers": 2,
            "joint_attention_dim": 8,
            "caption_projection_dim": 32,
            "pos_embed_max_size": 16,
        },
        {"hidden_states": (1, 4, 8, 8), "encoder_hidden_states": (1, 5, 8)},
    ),
    Architecture(
        "QwenImageTransformer2DModel",
        "image",
        {
            **HEADS,
            "patch_size": 2,
            "in_channels": 16,
            "out_channels": 4,
            "num_layers": 2,
            "joint_attention_dim": 8,
            "axes_dims_rope": (4, 6, 6),
        },
        {
            "hidden_states": (1, 16, 16),
            "encoder_hidden_states": (1, 5, 8),
            "encoder_hidden_states_mask": mask(1, 5),
            "img_shapes": [[torch.Size((1, 4, 4))]],
        },
    ),
    Architecture(
        "HunyuanImageTransformer2DModel",
        "image",
        {**HUNYUAN, "patch_size": (1, 1), "rope_axes_dim": (8, 8)},
        {"hidden_states": (1, 4, 4, 4), "encoder_hidden_states": (1, 5, 8), "encoder_attention_mask": mask(1, 5)},
    ),
    Architecture(
        "CogView3PlusTransformer2DModel",
        "image",
        COGVIEW,
        {"hidden_states": (1, 4, 8, 8), "encoder_hidden_states": (1, 5, 8), **SIZES},
    ),
    Architecture(
        "CogView4Transformer2DModel",
        "image",
        {**COGVIEW, "rope_axes_dim": (8, 8)},
        {"hidden_states": (1, 4, 8, 8), "encoder_hidden_states": (1, 5, 8), **SIZES},
        remark="the feed-forward is called twice in a block, for picture and text, and is not cached",
    ),
    Architecture(
        "GlmImageTransformer2DModel",
        "image",
        {key: value for key, value in COGVIEW.items() if key not in {"pos_embed_max_size", "sample_size"}}
        | {"prior_vq_quantizer_codebook_size": 8},
        {
            "hidden_states": (1, 4, 8, 8),
            "encoder_hidden_states": (1, 5, 8),
            "prior_token_id": torch.zeros(1, 16, dtype=torch.long),
            "prior_token_drop": torch.zeros(1, 16, dtype=torch.bool),
            "target_size": torch.ones(1, 2),
            "crop_coords": torch.zeros(1, 2),
        },
        remark="the feed-forward is called twice in a block, for picture and text, and is not cached",
    ),
    Architecture(
        "SanaTransformer2DModel",
        "image",
        SANA,
        {"hidden_states": (1, 4, 8, 8), "encoder_hidden_states": (1, 5, 8)},
    ),
    Architecture(
        "LuminaNextDiT2DModel",
        "image",
        {
            "sample_size": 8,
            "hidden_size": 32,
            "num_layers": 2,
            "num_attention_heads": 2,
            "num_kv_heads": 2,
            "multiple_of": 16,
            "cross_attention_dim": 8,
        },
        {
            "hidden_states": (1, 4, 8, 8),
            "encoder_hidden_states": (1, 5, 8),
            "encoder_mask": mask(1, 5),
            "image_rotary_emb": torch.polar(torch.ones(8, 8, 8), torch.ones(8, 8, 8)),
            "cross_attention_kwargs": {},
        },
    ),
    Architecture(
        "Lumina2Transformer2DModel",
        "image",
        {
            "sample_size": 8,
            "in_channels": 4,
            "hidden_size": 32,
            "num_layers": 2,
            "num_refiner_layers": 1,
            "num_attention_heads": 2,
            "num_kv_heads": 1,
            "multiple_of": 16,
            "axes_dim_rope": (4, 6, 6),
            "axes_lens": (16, 16, 16),
            "cap_feat_dim": 8,
        },
        {"hidden_states": (1, 4, 8, 8), "encoder_hidden_states": (1, 5, 8), "encoder_attention_mask": mask(1, 5)},
    ),
    Architecture(
        "HiDreamImageTransformer2DModel",
        "image",
        {
            **HEADS,
            "patch_size": 2,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "num_single_layers": 2,
            "caption_channels": [8, 8],
            "text_emb_dim": 8,
            "axes_dims_rope": (4, 6, 6),
            "max_resolution": (8, 8),
            "llama_layers": (0, 1, 0, 1),
            "force_inference_output": True,
        },
        {
            "hidden_states": (1, 4, 8, 8),
            "encoder_hidden_states_t5": (1, 5, 8),
            "encoder_hidden_states_llama3": (2, 1, 5, 8),
            "pooled_embeds": (1, 8),
        },
        timestep="timesteps",
    ),
    Architecture(
        "ZImageTransformer2DModel",
        "image",
        {
            "in_channels": 4,
            "dim": 32,
            "n_layers": 2,
            "n_refiner_layers": 1,
            "n_heads": 2,
            "n_kv_heads": 2,
            "cap_feat_dim": 8,
            "axes_dims": [4, 6, 6],
            "axes_lens": [64, 16, 16],
        },
        {"x": [(4, 1, 8, 8)], "cap_feats": [(5, 8)]},
        timestep="t",
    ),
    Architecture(
        "DiTTransformer2DModel",
        "image",
        {**HEADS, "num_layers": 2, "sample_size": 8, "norm_num_groups": 4},
        {"hidden_states": (1, 4, 8, 8), "class_labels": torch.tensor([3])},
    ),
    Architecture(
        "HunyuanDiT2DModel",
        "image",
        {
            **HEADS,
            "in_channels": 4,
            "patch_size": 2,
            "sample_size": 8,
            "hidden_size": 32,
            "num_layers": 4,
            "cross_attention_dim": 8,
            "cross_attention_dim_t5": 8,
            "pooled_projection_dim": 4,
            "text_len": 3,
            "text_len_t5": 3,
            "use_style_cond_and_image_meta_size": False,
        },
        {
            "hidden_states": (1, 4, 8, 8),
            "encoder_hidden_states": (1, 3, 8),
            "text_embedding_mask": mask(1, 3),
            "encoder_hidden_states_t5": (1, 3, 8),
            "text_embedding_mask_t5": mask(1, 3),
            "image_rotary_emb": [torch.ones(16, 16), torch.zeros(16, 16)],
        },
    ),
    Architecture(
        "OmniGenTransformer2DModel",
        "image",
        {
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 32,
            "num_layers": 2,
            "pad_token_id": 0,
            "vocab_size": 8,
            "max_position_embeddings": 64,
            "original_max_position_embeddings": 64,
            "rope_scaling": {"long_factor": [1.0] * 8, "short_factor": [1.0] * 8},
            "pos_embed_max_size": 8,
            "time_step_dim": 8,
        },
        {
            "hidden_states": (1, 4, 8, 8),
            "input_ids": torch.ones(1, 5, dtype=torch.long),
            "input_img_latents": [],
            "input_image_sizes": {},
            "attention_mask": torch.ones(1, 22, 22, dtype=torch.long),
            "position_ids": torch.arange(22)[None],
        },
    ),
    Architecture(
        "PRXTransformer2DModel",
        "image",
        {"in_channels": 4, "context_in_dim": 8, "hidden_size": 32, "num_heads": 2, "depth": 2, "axes_dim": [8, 8]},
        {"hidden_states": (1, 4, 8, 8), "encoder_hidden_states": (1, 5, 8)},
    ),
    Architecture(
        "ErnieImageTransformer2DModel",
        "image",
        {
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_layers": 2,
            "ffn_hidden_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "text_in_dim": 8,
            "rope_axes_dim": (4, 6, 6),
        },
        {"hidden_states": (1, 4, 4, 4), "text_bth": (1, 5, 8), "text_lens": torch.tensor([5])},
    ),
    Architecture(
        "PriorTransformer",
        "image embedding",
        {**HEADS, "num_layers": 2, "embedding_dim": 8, "num_embeddings": 5},
        {"hidden_states": (1, 8), "proj_embedding": (1, 8), "encoder_hidden_states": (1, 5, 8)},
    ),
    Architecture(
        "JoyImageEditTransformer3DModel",
        "image",
        {"in_channels": 4, "hidden_size": 32, "num_attention_heads": 2, "text_dim": 8, "num_layers": 2}
        | {"rope_dim_list": [4, 6, 6]},
        {"hidden_states": (1, 1, 4, 1, 8, 8), "encoder_hidden_states": (1, 5, 8)},
    ),
    # Videos.
    Architecture("WanTransformer3DModel", "video", WAN, WAN_INPUTS),
    Architecture(
        "WanVACETransformer3DModel",
        "video",
        {**WAN, "vace_layers": [0], "vace_in_channels": 4},
        {**WAN_INPUTS, "control_hidden_states": VIDEO},
    ),
    Architecture("SkyReelsV2Transformer3DModel", "video", WAN, WAN_INPUTS),
    Architecture("ChronoEditTransformer3DModel", "video", WAN, WAN_INPUTS),
    Architecture(
        "HunyuanVideoTransformer3DModel",
        "video",
        {**HUNYUAN, "pooled_projection_dim": 8, "guidance_embeds": False},
        {
            "hidden_states": VIDEO,
            "encoder_hidden_states": (1, 5, 8),
            "encoder_attention_mask": mask(1, 5),
            "pooled_projections": (1, 8),
        },
    ),
    Architecture(
        "MotifVideoTransformer3DModel",
        "video",
        {key: value for key, value in HUNYUAN.items() if key != "num_refiner_layers"},
        {"hidden_states": VIDEO, "encoder_hidden_states": (1, 5, 8)},
    ),
    Architecture(
        "CogVideoXTransformer3DModel",
        "video",
        COGVIDEO,
        {"hidden_states": (1, 2, 4, 8, 8), "encoder_hidden_states": (1, 5, 8)},
    ),
    Architecture(
        "ConsisIDTransformer3DModel",
        "video",
        COGVIDEO,
        {"hidden_states": (1, 2, 4, 8, 8), "encoder_hidden_states": (1, 5, 8)},
        remark="the attention to a face is an item of a list and stays as it is",
    ),
    Architecture(
        "LTXVideoTransformer3DModel",
        "video",
        {
            **HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "cross_attention_dim": 32,
            "num_layers": 2,
            "caption_channels": 8,
        },
        {
            "hidden_states": (1, 32, 4),
            "encoder_hidden_states": (1, 5, 8),
            "encoder_attention_mask": mask(1, 5),
            "num_frames": 2,
            "height": 4,
            "width": 4,
        },
    ),
    Architecture(
        "LTX2VideoTransformer3DModel",
        "video and audio",
        {
            **HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "cross_attention_dim": 32,
            "audio_in_channels": 4,
            "audio_out_channels": 4,
            "audio_num_attention_heads": 2,
            "audio_attention_head_dim": 8,
            "audio_cross_attention_dim": 16,
            "num_layers": 2,
            "caption_channels": 8,
        },
        {
            "hidden_states": (1, 32, 4),
            "audio_hidden_states": (1, 6, 4),
            "encoder_hidden_states": (1, 5, 8),
            "audio_encoder_hidden_states": (1, 5, 8),
            "num_frames": 2,
            "height": 4,
            "width": 4,
            "audio_num_frames": 6,
        },
    ),
    Architecture(
        "MochiTransformer3DModel",
        "video",
        {
            **HEADS,
            "num_layers": 2,
            "pooled_projection_dim": 8,
            "in_channels": 4,
            "text_embed_dim": 8,
            "time_embed_dim": 8,
            "max_sequence_length": 5,
        },
        {"hidden_states": VIDEO, "encoder_hidden_states": (1, 5, 8), "encoder_attention_mask": mask(1, 5)},
    ),
    Architecture(
        "SanaVideoTransformer3DModel",
        "video",
        {**SANA, "rope_max_seq_len": 32},
        {"hidden_states": VIDEO, "encoder_hidden_states": (1, 5, 8)},
    ),
    Architecture(
        "CosmosTransformer3DModel",
        "video",
        {
            **HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "text_embed_dim": 8,
            "adaln_lora_dim": 4,
            "max_size": (4, 16, 16),
            "concat_padding_mask": False,
        },
        {"hidden_states": VIDEO, "encoder_hidden_states": (1, 5, 8), "attention_mask": mask(1, 5), "fps": 16},
    ),
    Architecture(
        "AllegroTransformer3DModel",
        "video",
        {
            "num_attention_heads": 2,
            "attention_head_dim": 24,
            "num_layers": 2,
            "cross_attention_dim": 48,
            "sample_height": 8,
            "sample_width": 8,
            "sample_frames": 2,
            "caption_channels": 8,
        },
        {
            "hidden_states": VIDEO,
            "encoder_hidden_states": (1, 1, 5, 8),
            "image_rotary_emb": [
                [[torch.ones(2, 8), torch.zeros(2, 8)]] * 3,
                [torch.zeros(1, 32, dtype=torch.long)] * 3,
            ],
        },
    ),
    Architecture(
        "LatteTransformer3DModel",
        "video",
        {
            **HEADS,
            "in_channels": 4,
            "num_layers": 2,
            "cross_attention_dim": 32,
            "sample_size": 8,
            "patch_size": 2,
            "norm_type": "ada_norm_single",
            "norm_elementwise_affine": False,
            "caption_channels": 8,
            "video_length": 2,
        },
        {"hidden_states": VIDEO, "encoder_hidden_states": (1, 5, 8)},
        remark="blocks of both stacks take turns",
    ),
    Architecture(
        "EasyAnimateTransformer3DModel",
        "video",
        {
            **HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "patch_size": 2,
            "sample_width": 8,
            "sample_height": 8,
            "num_layers": 2,
            "mmdit_layers": 2,
            "time_embed_dim": 8,
            "text_embed_dim": 8,
            "add_noise_in_inpaint_model": False,
        },
        {"hidden_states": VIDEO, "encoder_hidden_states": (1, 5, 8)},
    ),
    Architecture(
        "Kandinsky5Transformer3DModel",
        "video",
        {
            "in_text_dim": 8,
            "in_text_dim2": 8,
            "time_dim": 8,
            "model_dim": 32,
            "ff_dim": 32,
            "num_text_blocks": 1,
            "num_visual_blocks": 2,
            "axes_dims": (4, 6, 6),
        },
        {
            "hidden_states": (1, 2, 8, 8, 4),
            "encoder_hidden_states": (1, 5, 8),
            "pooled_projections": (1, 8),
            "visual_rope_pos": [torch.arange(2), torch.arange(4), torch.arange(4)],
            "text_rope_pos": torch.arange(5),
        },
    ),
    # Sound.
    Architecture(
        "StableAudioDiTModel",
        "audio",
        {
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "num_key_value_attention_heads": 2,
            "cross_attention_dim": 32,
            "time_proj_dim": 8,
            "global_states_input_dim": 8,
            "cross_attention_input_dim": 8,
        },
        {
            "hidden_states": (1, 4, 8),
            "encoder_hidden_states": (1, 5, 8),
            "global_hidden_states": (1, 1, 8),
            "rotary_embedding": [torch.ones(9, 8), torch.zeros(9, 8)],
        },
    ),
    Architecture(
        "AceStepTransformer1DModel",
        "audio",
        {
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "in_channels": 12,
            "audio_acoustic_hidden_dim": 4,
            "sliding_window": 4,
        },
        {
            "hidden_states": (1, 8, 4),
            "timestep_r": torch.tensor([0.5]),
            "encoder_hidden_states": (1, 5, 32),
            "context_latents": (1, 8, 8),
        },
    ),
    Architecture(
        "LongCatAudioDiTTransformer",
        "audio",
        {"dit_dim": 32, "dit_depth": 2, "dit_heads": 2, "dit_text_dim": 8, "latent_dim": 4},
        {
            "hidden_states": (1, 8, 4),
            "encoder_hidden_states": (1, 5, 8),
            "encoder_attention_mask": mask(1, 5),
            "latent_cond": (1, 8, 4),
        },
    ),
]
