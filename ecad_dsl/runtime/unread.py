"""What stands in for an output that nobody reads: a component's whose reader is reused, or a norm's before reused ones.

It is one token, [batch, 1, width]: whatever a block does with it on the way to its reader comes out in shapes that fit,
at the price of one token. On a GPU a kernel for one token takes as long to launch as any other, so that where a block
runs line by line even that arithmetic is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def first_token(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """For a norm: of its input."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            return value[:, :1]
    raise AssertionError("a norm is called with a tensor")


def sample(output: Any) -> Any:
    """For a component: of its output, copied. Of several (text beside picture) all but the first are empty."""
    if isinstance(output, Tensor):
        return output.detach()[:, :1].clone()
    first, *rest = output
    return (sample(first), *(part.detach()[:, :0].clone() for part in rest))


class Unread:
    """One token with which nothing is worked out: what is asked of it is done, but arithmetic gives itself."""

    __slots__ = ("token",)

    def __init__(self, token: Tensor) -> None:
        self.token = token

    def _itself(self, _: Any) -> Unread:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _itself

    def __getattr__(self, name: str) -> Any:
        return getattr(self.token, name)

    def __getitem__(self, key: Any) -> Tensor:
        return self.token[key]

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Functions of torch, and arithmetic with a tensor on the left."""
        if func in _ARITHMETIC:
            parts = args[0] if func in _OF_SEVERAL else args
            return next(part for part in parts if isinstance(part, Unread))
        return func(*map(_token, args), **{name: _token(value) for name, value in (kwargs or {}).items()})


_OF_SEVERAL = frozenset((torch.cat, torch.concat))
_ARITHMETIC = _OF_SEVERAL | {
    *(getattr(Tensor, f"__{side}{name}__") for name in ("add", "sub", "mul") for side in ("", "r")),
    *(getattr(of, name) for of in (torch, Tensor) for name in ("add", "sub", "mul", "div")),
    Tensor.__truediv__,
    F.gelu,
    F.silu,
}


def _token(value: Any) -> Any:
    """What a function is called with, tokens in place of what stands in for outputs."""
    if isinstance(value, list | tuple):
        return type(value)(map(_token, value))
    return value.token if isinstance(value, Unread) else value
