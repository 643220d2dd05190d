"""The reference model's place of an autoencoder: its latents are the pixels themselves."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor


class PixelVAE(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Shows each of the 16 x 16 latents as a square of 16 x 16 picture pixels.

    Has the parts of ``AutoencoderKL`` that a pipeline uses: ``decode`` and ``config``. As there, the length of
    ``block_out_channels`` tells by how much a picture is larger than its latents.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        block_out_channels: tuple[int, ...] = (3,) * 5,  # noqa: ARG002 - read off the config, as are the others
        latent_channels: int = 3,  # noqa: ARG002
        scaling_factor: float = 1.0,  # noqa: ARG002
    ) -> None:
        super().__init__()
        # A model without any tensor has no device and no dtype, which pipelines ask for.
        self.register_buffer("anchor", torch.zeros(1))

    def decode(self, z: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """Latents [batch, 3, h, w] to pictures [batch, 3, 16 h, 16 w], both in [-1, 1]."""
        factor = 2 ** (len(self.config.block_out_channels) - 1)
        picture = F.interpolate(z, scale_factor=factor, mode="nearest")
        return DecoderOutput(sample=picture) if return_dict else (picture,)
