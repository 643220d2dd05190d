"""How near a picture comes to the one that the same prompt and seed give without a cache: PSNR and LPIPS.

LPIPS: Zhang et al., *The Unreasonable Effectiveness of Deep Features as a Perceptual Metric* (arXiv 1801.03924),
version 0.1 on AlexNet. Its weights of features, 1,152 numbers fitted to people's judgements, ship with this package
(lpips/LICENSE holds their licence); those of AlexNet are torchvision's and are fetched once.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from ecad_dsl.errors import EcadError
from ecad_dsl.quality.bootstrap import Array
from ecad_dsl.quality.metric import Batch, Need, as_tensor, device_of, fingerprint, mean
from ecad_dsl.quality.reward import psnr
from ecad_dsl.quality.weights import fetched, fill, read_weights

ALEXNET = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of the channels in [-1, 1]: ImageNet's mean and deviation."""
_SMALLEST = 31
"""Pixels of a side that leave something for AlexNet's last layers."""
_TAPS = (1, 4, 7, 9, 11)
"""AlexNet's layers whose outputs are compared: each ReLU after a convolution."""


class Psnr:
    """Peak signal-to-noise ratio to the original, in dB, no more than 40; see :func:`ecad_dsl.quality.reward.psnr`."""

    name = "psnr"
    needs: frozenset[Need] = frozenset({"originals"})
    more_is_better = True
    identity = "1"

    def numbers(self, batch: Batch) -> Array:
        found = [psnr(picture.float() / 255, original.float() / 255) for picture, original in _pairs(batch)]
        numbers: Array = torch.stack(found).double().numpy()
        return numbers

    def total(self, numbers: Array) -> float:
        return mean(numbers)


class Lpips:
    """Distance to the original as people see it: 0 for the same picture, less is better."""

    name = "lpips"
    needs: frozenset[Need] = frozenset({"originals"})
    more_is_better = False

    def __init__(self, network: LpipsNetwork) -> None:
        self._network = network
        self.identity = fingerprint(network.state_dict())

    @classmethod
    def load(cls, weights: Path | None = None, device: torch.device | str = "cpu") -> Lpips:
        """With torchvision's AlexNet, or a file of the same names.

        Raises:
            EcadError: it cannot be fetched, or does not fit.
        """
        path = weights if weights is not None else fetched(ALEXNET, "233 MB")
        return cls(LpipsNetwork.of(read_weights(path), str(path)).to(device))

    @torch.no_grad()
    def numbers(self, batch: Batch) -> Array:
        if any(min(picture.size) < _SMALLEST for picture in batch.pictures):
            raise EcadError(f"lpips takes pictures of {_SMALLEST} x {_SMALLEST} pixels or more; leave that metric out")
        device = device_of(self._network)
        found = [self._network(picture.to(device), original.to(device)) for picture, original in _pairs(batch)]
        numbers: Array = torch.stack(found).double().cpu().numpy()
        return numbers

    def total(self, numbers: Array) -> float:
        return mean(numbers)


def _pairs(batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """Each picture and its original as batches of one, uint8; pairs may differ in size from one another."""
    for picture, original in zip(batch.pictures, batch.originals, strict=True):
        if picture.size != original.size:
            sizes = " and ".join(f"{width} x {height}" for width, height in (picture.size, original.size))
            raise EcadError(f"a picture and its original have different sizes, {sizes}; make both at one size")
        yield as_tensor([picture]), as_tensor([original])


class LpipsNetwork(nn.Module):
    """Two batches of pictures to their distances."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        shipped = load_safetensors((files("ecad_dsl.quality") / "lpips" / "alex.safetensors").read_bytes())
        for index in range(len(_TAPS)):
            self.register_buffer(f"weight{index}", shipped[f"lin{index}"])

    @classmethod
    def of(cls, alexnet: dict[str, Tensor], where: str) -> LpipsNetwork:
        """With weights by torchvision's names for AlexNet.

        Raises:
            EcadError: some are missing or have another shape.
        """
        network = cls()
        prefix = "features."
        fill(
            network.features,
            {name.removeprefix(prefix): tensor for name, tensor in alexnet.items() if name.startswith(prefix)},
            where,
        )
        return network.eval().requires_grad_(False)

    def forward(self, pictures: Tensor, originals: Tensor) -> Tensor:
        """uint8, [batch, 3, height, width] both, to [batch]."""
        apart = torch.zeros(len(pictures), device=pictures.device)
        one, other = self._prepared(pictures), self._prepared(originals)
        for index, layer in enumerate(self.features):
            one, other = layer(one), layer(other)
            if index in _TAPS:
                weight = self.get_buffer(f"weight{_TAPS.index(index)}")
                squares = (_directions(one) - _directions(other)).square()
                apart = apart + F.conv2d(squares, weight).mean((1, 2, 3))
        return apart

    def _prepared(self, pictures: Tensor) -> Tensor:
        shift, scale = (torch.tensor(values, device=pictures.device)[:, None, None] for values in (_SHIFT, _SCALE))
        return (pictures.float() / 255 * 2 - 1 - shift) / scale


def _directions(features: Tensor) -> Tensor:
    """Each place's features divided by their length."""
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
