"""The network whose features the Frechet inception distance compares: Inception v3 as it was published for TensorFlow.

Szegedy et al., arXiv 1512.00567, with the TensorFlow model's own ways that published distances depend on: bilinear
scaling without centres of pixels, means that leave out the border, and a maximum in the last block. Names of weights
are those of the conversions that torch-fidelity and pytorch-fid publish, so either file can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from ecad_dsl.quality.weights import fetched, fill, read_weights

PUBLISHED = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
FEATURES = 2048
_SIZE = 299


class _Conv(NamedTuple):
    """A convolution with its norm, as a branch's table lists it."""

    name: str
    outputs: int
    kernel: int | tuple[int, int]
    stride: int = 1


_Pool = Callable[[Tensor], Tensor]
_Part = _Conv | _Pool | tuple[_Conv, _Conv]
"""One thing after the other in a branch; two convolutions work on the same input, side by side."""

_mean: _Pool = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
_maximum: _Pool = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
_halved: _Pool = partial(F.max_pool2d, kernel_size=3, stride=2)


class _Normed(nn.Module):
    def __init__(self, inputs: int, shape: _Conv, padded: bool = True) -> None:
        super().__init__()
        rows, columns = (shape.kernel, shape.kernel) if isinstance(shape.kernel, int) else shape.kernel
        padding = (rows // 2, columns // 2) if padded and shape.stride == 1 else (0, 0)
        self.conv = nn.Conv2d(inputs, shape.outputs, (rows, columns), shape.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(shape.outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _Mixed(nn.Module):
    """Branches side by side, whose outputs are one after the other in the channels."""

    def __init__(self, inputs: int, branches: Sequence[Sequence[_Part]]) -> None:
        super().__init__()
        self._branches = branches
        for branch in branches:
            width = inputs
            for part in branch:
                convs = (part,) if isinstance(part, _Conv) else part if isinstance(part, tuple) else ()
                for conv in convs:
                    self.add_module(conv.name, _Normed(width, conv))
                width = sum(conv.outputs for conv in convs) or width

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._run(branch, x) for branch in self._branches], 1)

    def _run(self, branch: Sequence[_Part], x: Tensor) -> Tensor:
        for part in branch:
            if isinstance(part, _Conv):
                x = self.get_submodule(part.name)(x)
            elif isinstance(part, tuple):
                x = torch.cat([self.get_submodule(conv.name)(x) for conv in part], 1)
            else:
                x = part(x)
        return x


def _block_a(inputs: int, pooled: int) -> _Mixed:
    return _Mixed(
        inputs,
        (
            (_Conv("branch1x1", 64, 1),),
            (_Conv("branch5x5_1", 48, 1), _Conv("branch5x5_2", 64, 5)),
            (_Conv("branch3x3dbl_1", 64, 1), _Conv("branch3x3dbl_2", 96, 3), _Conv("branch3x3dbl_3", 96, 3)),
            (_mean, _Conv("branch_pool", pooled, 1)),
        ),
    )


def _block_b(inputs: int) -> _Mixed:
    return _Mixed(
        inputs,
        (
            (_Conv("branch3x3", 384, 3, 2),),
            (_Conv("branch3x3dbl_1", 64, 1), _Conv("branch3x3dbl_2", 96, 3), _Conv("branch3x3dbl_3", 96, 3, 2)),
            (_halved,),
        ),
    )


def _block_c(inputs: int, inner: int) -> _Mixed:
    flat, tall = (1, 7), (7, 1)
    return _Mixed(
        inputs,
        (
            (_Conv("branch1x1", 192, 1),),
            (_Conv("branch7x7_1", inner, 1), _Conv("branch7x7_2", inner, flat), _Conv("branch7x7_3", 192, tall)),
            (
                _Conv("branch7x7dbl_1", inner, 1),
                _Conv("branch7x7dbl_2", inner, tall),
                _Conv("branch7x7dbl_3", inner, flat),
                _Conv("branch7x7dbl_4", inner, tall),
                _Conv("branch7x7dbl_5", 192, flat),
            ),
            (_mean, _Conv("branch_pool", 192, 1)),
        ),
    )


def _block_d(inputs: int) -> _Mixed:
    return _Mixed(
        inputs,
        (
            (_Conv("branch3x3_1", 192, 1), _Conv("branch3x3_2", 320, 3, 2)),
            (
                _Conv("branch7x7x3_1", 192, 1),
                _Conv("branch7x7x3_2", 192, (1, 7)),
                _Conv("branch7x7x3_3", 192, (7, 1)),
                _Conv("branch7x7x3_4", 192, 3, 2),
            ),
            (_halved,),
        ),
    )


def _block_e(inputs: int, pool: _Pool) -> _Mixed:
    flat, tall = (1, 3), (3, 1)
    return _Mixed(
        inputs,
        (
            (_Conv("branch1x1", 320, 1),),
            (_Conv("branch3x3_1", 384, 1), (_Conv("branch3x3_2a", 384, flat), _Conv("branch3x3_2b", 384, tall))),
            (
                _Conv("branch3x3dbl_1", 448, 1),
                _Conv("branch3x3dbl_2", 384, 3),
                (_Conv("branch3x3dbl_3a", 384, flat), _Conv("branch3x3dbl_3b", 384, tall)),
            ),
            (pool, _Conv("branch_pool", 192, 1)),
        ),
    )


class Inception(nn.Module):
    """Pictures to the 2,048 features before the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Normed(3, _Conv("", 32, 3, 2))
        self.Conv2d_2a_3x3 = _Normed(32, _Conv("", 32, 3), padded=False)
        self.Conv2d_2b_3x3 = _Normed(32, _Conv("", 64, 3))
        self.Conv2d_3b_1x1 = _Normed(64, _Conv("", 80, 1))
        self.Conv2d_4a_3x3 = _Normed(80, _Conv("", 192, 3), padded=False)
        self.Mixed_5b = _block_a(192, 32)
        self.Mixed_5c = _block_a(256, 64)
        self.Mixed_5d = _block_a(288, 64)
        self.Mixed_6a = _block_b(288)
        self.Mixed_6b = _block_c(768, 128)
        self.Mixed_6c = _block_c(768, 160)
        self.Mixed_6d = _block_c(768, 160)
        self.Mixed_6e = _block_c(768, 192)
        self.Mixed_7a = _block_d(768)
        self.Mixed_7b = _block_e(1280, _mean)
        self.Mixed_7c = _block_e(2048, _maximum)

    @classmethod
    def load(cls, weights: Path | None = None, device: torch.device | str = "cpu") -> Inception:
        """From the published weights, or a file of the same names.

        Raises:
            EcadError: they cannot be fetched, or do not fit.
        """
        path = weights if weights is not None else fetched(PUBLISHED, "96 MB")
        network = cls()
        fill(network, read_weights(path), str(path))
        return network.to(device)

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8, [batch, 3, height, width], to [batch, 2048]."""
        x = (_scaled(pictures.float(), _SIZE) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(_halved(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(_halved(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        pooled: Tensor = x.mean((2, 3))
        return pooled


def _scaled(pictures: Tensor, size: int) -> Tensor:
    """Bilinear as TensorFlow 1 does it: pixel k lies at k, not at k + 0.5."""
    for dim in (2, 3):
        length = pictures.shape[dim]
        at = torch.arange(size, device=pictures.device) * torch.tensor(length / size)
        low = at.long()
        high = (low + 1).clamp(max=length - 1)
        shape = [1, 1, 1, 1]
        shape[dim] = size
        between = (at - low).reshape(shape)
        pictures = torch.lerp(pictures.index_select(dim, low), pictures.index_select(dim, high), between)
    return pictures
