"""The reader: a small network that reads a scene's attributes off a picture and says how real it looks."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ecad_dsl.reference.scenes import COLOURS, GROUNDS, LAYOUTS, SHAPES, SIZES

HEADS = {
    "ground": len(GROUNDS),
    "layout": len(LAYOUTS),
    **{
        f"{name}{i}": len(values)
        for i in (0, 1)
        for name, values in (("shape", SHAPES), ("colour", COLOURS), ("size", SIZES))
    },
    "real": 2,
}
"""Classes of each head. ``real`` is (spoilt, real)."""


class Reader(nn.Module):
    """Reads pictures [batch, 3, 16, 16] in [0, 1]; 256 features feed all heads."""

    def __init__(self) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
            convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            return [convolution, nn.GroupNorm(8, outputs), nn.SiLU()]

        self.trunk = nn.Sequential(
            *layer(3, 48), *layer(48, 64), *layer(64, 96, 2), *layer(96, 96), *layer(96, 128, 2), *layer(128, 64),
            nn.Flatten(), nn.Linear(64 * 16, 256), nn.SiLU(),
        )  # fmt: skip
        self.heads = nn.Linear(256, sum(HEADS.values()))

    def features(self, pictures: Tensor) -> Tensor:
        """[batch, 256]: what a Frechet distance can be computed on."""
        features: Tensor = self.trunk(pictures * 2 - 1)
        return features

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Log-probabilities by head, each [batch, classes]."""
        logits = self.heads(self.features(pictures)).split(tuple(HEADS.values()), dim=1)
        return {name: head.log_softmax(1) for name, head in zip(HEADS, logits, strict=True)}

    @classmethod
    def load(cls, path: Path) -> Reader:
        """The reader with these safetensors weights, in single precision, ready to read."""
        reader = cls()
        reader.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
        return reader.eval().requires_grad_(False)


def parameters_of(reader: Reader) -> dict[str, Tensor]:
    """Weights in half precision, as they are shipped."""
    return {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in reader.state_dict().items()}
