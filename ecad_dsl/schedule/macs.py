"""Counting the multiply-accumulates of one forward pass, on the meta device: shapes only, no arithmetic.

Linear and convolution layers are what the paper counts. The score and value products of attention are counted
apart: they dominate at high resolution, and the paper leaves them out.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any

import diffusers
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ecad_dsl.errors import EcadError
from ecad_dsl.models import ModelSpec

FIXED = -1
"""Owner of what runs whatever the schedule says; every other owner is a cell, counted as the bit of a row."""


class MacCounter(TorchFunctionMode):
    """Counts what runs while it is entered, by owner."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = FIXED
        self.layers: Counter[int] = Counter()
        """Multiply-accumulates of linear and convolution layers."""
        self.attention: Counter[int] = Counter()
        """Multiply-accumulates of attention's two products."""

    def own(self, module: nn.Module, cell: int) -> None:
        """Charge what runs inside this module to a cell."""

        def enter(*_: Any) -> None:
            self.owner = cell

        def leave(*_: Any) -> None:
            self.owner = FIXED

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func in _LAYERS:
            self.layers[self.owner] += _LAYERS[func](output, *args, **kwargs)
        elif func in _ATTENTION:
            self.attention[self.owner] += _ATTENTION[func](*args, **kwargs)
        return output


def count_forward(spec: ModelSpec, height: int, width: int, batch: int) -> MacCounter:
    """Run the transformer of the spec once at this size in pixels, for ``batch`` images, and count.

    Raises:
        EcadError: diffusers has no such transformer, or the spec does not say what it is fed.
    """
    counter = MacCounter()
    with torch.device("meta"), torch.no_grad():
        transformer = meta_transformer(spec)
        for cell, module in enumerate(_components(transformer, spec)):
            if module is not None:
                counter.own(module, cell)
        inputs = forward_inputs(spec, transformer.config, height, width, batch)
        with counter:
            transformer(**inputs)
    return counter


def meta_transformer(spec: ModelSpec) -> Any:
    """The transformer of the spec on the meta device: shapes without weights.

    Raises:
        EcadError: diffusers has no such transformer.
    """
    transformer_class = getattr(diffusers, spec.transformer, None)
    if transformer_class is None:
        raise EcadError(f"diffusers {diffusers.__version__} has no {spec.transformer}")
    with torch.device("meta"):
        transformer = transformer_class(**spec.config)
        _fit_blocks(transformer, spec)
    return transformer


def _fit_blocks(transformer: nn.Module, spec: ModelSpec) -> None:
    """Give the transformer the spec's numbers of blocks, where a resized spec kept another size's configuration."""
    for stack in spec.stacks:
        blocks = getattr(transformer, stack.path)
        more = (copy.deepcopy(blocks[0]) for _ in range(stack.blocks - len(blocks)))
        setattr(transformer, stack.path, nn.ModuleList([*blocks[: stack.blocks], *more]))


def _components(transformer: nn.Module, spec: ModelSpec) -> Iterator[nn.Module | None]:
    """The module of each cell in the order of a row; None where a block lacks the component."""
    for stack in spec.stacks:
        for block in getattr(transformer, stack.path):
            for component in stack.components:
                yield attrgetter(component.module)(block)


def forward_inputs(spec: ModelSpec, config: Mapping[str, Any], height: int, width: int, batch: int) -> dict[str, Any]:
    """Arguments of the forward pass for ``batch`` images of this size in pixels, on torch's default device.

    Random tensors of the shapes in the spec, whose words are sizes or configuration.

    Raises:
        EcadError: the spec does not say what the transformer is fed, or the model cannot make pictures of this size.
    """
    if "shapes" not in spec.inputs:
        raise EcadError(f"the spec of {spec.title} does not say what the transformer is fed; add [inputs.shapes] to it")
    rows, columns = latent_size(spec, height, width)
    words = {**config, **spec.inputs, "rows": rows, "columns": columns, "tokens": rows * columns}
    words["batch"] = batch * samples(spec)

    def tensor(shape: Any) -> Any:
        if isinstance(shape, Mapping):
            return {name: tensor(inner) for name, inner in shape.items()}
        return torch.randn([size if isinstance(size, int) else words[size] for size in shape])

    condition = spec.inputs.get("only_if", {})
    return {
        name: tensor(shape)
        for name, shape in spec.inputs["shapes"].items()
        if name not in condition or config[condition[name]]
    }


def latent_size(spec: ModelSpec, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the latents of a picture of this size in pixels.

    Raises:
        EcadError: the model cannot make a picture of this size.
    """
    pixels = spec.inputs["pixels_per_latent"]
    unit = pixels * spec.config.get("patch_size", 1)
    if height < unit or width < unit or height % unit or width % unit:
        raise EcadError(
            f"{spec.title} makes pictures whose sides are multiples of {unit} pixels, not {height} x {width}"
        )
    return height // pixels, width // pixels


def samples(spec: ModelSpec) -> int:
    """Samples in the batch of one forward pass for one image: two with a guidance pair."""
    return int(spec.inputs.get("samples", 2 if spec.inputs.get("guidance_pair") else 1))


def _linear(output: Tensor, _input: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return output.numel() * weight.shape[-1]


def _convolution(output: Tensor, _input: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    """The weight is [out channels, in channels of one group, *kernel]."""
    return output.numel() * weight[0].numel()


def _transposed(_output: Tensor, input: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:  # noqa: A002
    """The weight is [in channels, out channels of one group, *kernel]."""
    return input.numel() * weight[0].numel()


def _scaled_dot_product(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Scores [..., queries, keys] from the width of the keys, then outputs from the width of the values."""
    return query[..., 0].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def _product(left: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    return left.numel() * right.shape[-1]


_LAYERS: dict[Any, Callable[..., int]] = {
    F.linear: _linear,
    F.conv1d: _convolution,
    F.conv2d: _convolution,
    F.conv3d: _convolution,
    F.conv_transpose1d: _transposed,
    F.conv_transpose2d: _transposed,
    F.conv_transpose3d: _transposed,
}
_ATTENTION: dict[Any, Callable[..., int]] = {
    F.scaled_dot_product_attention: _scaled_dot_product,
    torch.bmm: _product,
    torch.baddbmm: lambda _bias, left, right, **_: _product(left, right),
}
