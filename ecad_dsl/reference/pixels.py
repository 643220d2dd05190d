"""The reference model's autoencoder: its latents are the pixels themselves, only shown larger."""

from __future__ import annotations

import torch
from diffusers import AutoencoderTiny
from torch import nn

_STAGES = 5
_SCALING = 100.0
"""Latents are divided by this much first: there the decoder's tanh is a straight line to seven digits."""
_LIFT = 4.0
"""Keeps everything positive where the decoder has its one rectifier."""


def pixel_autoencoder() -> AutoencoderTiny:
    """diffusers' AutoencoderTiny with weights that show each latent as a square of 16 x 16 equal pixels.

    Its convolutions pass their input on, its four upsamplings repeat it. Nothing is learned, and the encoder, which
    generation has no use for, is zero.
    """
    autoencoder = AutoencoderTiny(
        encoder_block_out_channels=(3,) * _STAGES,
        decoder_block_out_channels=(3,) * _STAGES,
        num_encoder_blocks=(0,) * _STAGES,
        num_decoder_blocks=(0,) * _STAGES,
        latent_channels=3,
        scaling_factor=_SCALING,
    )
    convolutions = [layer for layer in autoencoder.decoder.layers if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            parameter.zero_()
        for convolution in convolutions:
            convolution.weight[range(3), range(3), 1, 1] = 1
        convolutions[0].weight.mul_(_SCALING)
        convolutions[0].bias = nn.Parameter(torch.full((3,), _LIFT))
        # The decoder ends with 2 y - 1.
        convolutions[-1].weight.mul_(0.5)
        convolutions[-1].bias = nn.Parameter(torch.full((3,), (1 - _LIFT) / 2))
    return autoencoder
