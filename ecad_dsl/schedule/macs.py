"""Counting the multiply-accumulates of one forward pass, on the meta device: shapes only, no arithmetic.

Linear and convolution layers are what the paper counts. The score and value products of attention are counted
apart: they dominate at high resolution, and the paper leaves them out.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ecad_dsl.errors import EcadError
from ecad_dsl.models import ModelSpec
from ecad_dsl.models.meta import meta_transformer, submodule

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
        """Multiply-accumulates of attention's two products, and of whatever else multiplies activations."""
        self.outputs: dict[int, int] = {}
        """Elements of each cell's output, cells in the order they ran in."""

    def own(self, module: nn.Module, cell: int) -> None:
        """Charge what runs inside this module to a cell."""

        def enter(*_: Any) -> None:
            self.owner = cell

        def leave(_module: nn.Module, _args: Any, output: Tensor | tuple[Tensor | None, ...]) -> None:
            self.owner = FIXED
            parts = output if isinstance(output, tuple) else (output,)
            self.outputs[cell] = sum(part.numel() for part in parts if part is not None)

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func in _LAYERS:
            self.layers[self.owner] += _LAYERS[func](output, *args, **kwargs)
        if func in _ATTENTION:
            self.attention[self.owner] += _ATTENTION[func](output, *args, **kwargs)
        return output


def count_forward(spec: ModelSpec, height: int, width: int, batch: int) -> MacCounter:
    """Run the transformer of the spec once at this size in pixels, for ``batch`` images, and count.

    Raises:
        EcadError: diffusers has no such transformer, or the spec does not say what it is fed, or not rightly.
    """
    counter = MacCounter()
    transformer = transformer_of(spec)
    with torch.device("meta"), torch.no_grad():
        for cell, module in enumerate(_components(transformer, spec)):
            if module is not None:
                counter.own(module, cell)
        inputs = forward_inputs(spec, transformer.config, height, width, batch)
        try:
            with counter:
                transformer(**inputs)
        except Exception as error:  # whatever a model makes of inputs of other shapes than its own
            message = f"{spec.transformer} cannot be fed what [inputs.shapes] of {spec.title} says"
            raise EcadError(f"{message}: {type(error).__name__}: {error}") from error
    return counter


def transformer_of(spec: ModelSpec) -> Any:
    """The transformer of the spec on the meta device: shapes without weights.

    Raises:
        EcadError: diffusers has no such transformer, or the spec's configuration does not fit it.
    """
    transformer = meta_transformer(spec.transformer, spec.config)
    with torch.device("meta"):
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
                yield submodule(block, component.module)


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
        return torch.randn([size if isinstance(size, int) else _size(words, size) for size in shape])

    condition = spec.inputs.get("only_if", {})
    return {
        name: tensor(shape)
        for name, shape in spec.inputs["shapes"].items()
        if name not in condition or config[condition[name]]
    }


def _size(words: Mapping[str, Any], word: str) -> int:
    if not isinstance(words.get(word), int):
        raise EcadError(f"[inputs.shapes] has {word!r}, which is no whole number of [config] or [inputs]")
    return int(words[word])


def latent_size(spec: ModelSpec, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the latents of a picture of this size in pixels.

    Raises:
        EcadError: the model cannot make a picture of this size.
    """
    if "pixels_per_latent" not in spec.inputs:
        raise EcadError(f"the spec of {spec.title} does not say pixels_per_latent; add it to [inputs]")
    pixels = spec.inputs["pixels_per_latent"]
    unit = pixels * spec.config.get("patch_size", 1)
    if height < unit or width < unit or height % unit or width % unit:
        raise EcadError(
            f"{spec.title} makes pictures whose sides are multiples of {unit} pixels, not {height} x {width}"
        )
    return height // pixels, width // pixels


def samples(spec: ModelSpec) -> int:
    """Samples in the batch of one forward pass for one image: two with a guidance pair."""
    return int(spec.inputs.get("samples", samples_run(spec)))


def samples_run(spec: ModelSpec) -> int:
    """As ``samples``, but as pipelines run it, where published figures count otherwise."""
    return 2 if spec.inputs.get("guidance_pair") else 1


def _linear(output: Tensor, _input: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return output.numel() * weight.shape[-1]


def _convolution(output: Tensor, _input: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    """The weight is [out channels, in channels of one group, *kernel]."""
    return output.numel() * weight[0].numel()


def _transposed(_output: Tensor, input: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:  # noqa: A002
    """The weight is [in channels, out channels of one group, *kernel]."""
    return input.numel() * weight[0].numel()


def _scaled_dot_product(_output: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Scores [..., queries, keys] from the width of the keys, then outputs from the width of the values."""
    return query[..., 0].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def _product(output: Tensor, left: Tensor, *_: Any, **__: Any) -> int:
    return output.numel() * left.shape[-1]


def _einsum(output: Tensor, equation: str, *operands: Tensor) -> int:
    """Each element of the output sums over the indices that it lacks; without such, nothing is summed."""
    terms, _, kept = equation.replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for term, operand in zip(terms.split(","), operands, strict=True):
        before, _, after = term.partition("...")
        sizes |= dict(zip(before, operand.shape, strict=False))
        sizes |= dict(zip(reversed(after), reversed(operand.shape), strict=False))
    summed = [size for index, size in sizes.items() if index not in kept]
    return output.numel() * prod(summed) if summed else 0


def _multi_head_layers(outputs: Any, query: Tensor, key: Tensor, value: Tensor, width: int, *_: Any, **__: Any) -> int:
    """The projections of query, key and value, and that of the output; tensors are [tokens, batch, width]."""
    return sum(tensor.numel() for tensor in (query, key, value, outputs[0])) * width


def _multi_head_products(_output: Any, query: Tensor, key: Tensor, *_: Any, **__: Any) -> int:
    return 2 * query.numel() * key.shape[0]


_LAYERS: dict[Any, Callable[..., int]] = {
    F.linear: _linear,
    F.conv1d: _convolution,
    F.conv2d: _convolution,
    F.conv3d: _convolution,
    F.conv_transpose1d: _transposed,
    F.conv_transpose2d: _transposed,
    F.conv_transpose3d: _transposed,
    F.multi_head_attention_forward: _multi_head_layers,
}
_ATTENTION: dict[Any, Callable[..., int]] = {
    F.scaled_dot_product_attention: _scaled_dot_product,
    torch.bmm: _product,
    torch.baddbmm: lambda output, _bias, left, *_, **__: _product(output, left),
    torch.matmul: _product,
    Tensor.matmul: _product,
    Tensor.__matmul__: _product,
    torch.einsum: _einsum,
    F.multi_head_attention_forward: _multi_head_products,
}
