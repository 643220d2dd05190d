"""What stands in for outputs that nobody reads: no work is done with it, and whatever else is asked is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ecad_dsl.runtime import apply, inspect
from ecad_dsl.runtime.unread import Unread, first_token, sample
from tests.runtime import oracle
from tests.runtime.tiny import flux_transformer, pixart_transformer

TOKEN = torch.arange(6.0).reshape(2, 1, 3)
FULL = torch.ones(2, 5, 3)
PIXART = {
    "hidden_states": torch.zeros(1, 4, 8, 8),
    "encoder_hidden_states": torch.zeros(1, 6, 8),
    "timestep": torch.zeros(1),
}
FLUX = oracle.flux_inputs(1.0, torch.zeros(1, 16, 4))


class Operations(TorchDispatchMode):
    """Counts what is given to the device: everything but other looks at the same memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "arithmetic",
    [
        lambda x: x * (1 + FULL[:, :1]) + FULL[:, :1],
        lambda x: FULL[:, :1] + (1 + FULL[:, :1]) * x,
        lambda x: torch.mul(x, FULL) - FULL,
        lambda x: 2 - x / FULL,
        lambda x: FULL.div(torch.add(FULL, x)),
        lambda x: torch.cat([FULL[:, :1], F.gelu(F.silu(x), approximate="tanh")], dim=2),
        torch.nn.GELU(),
    ],
)
def test_arithmetic_gives_the_same_and_does_nothing(arithmetic: Callable[[Any], Any]) -> None:
    unread = Unread(TOKEN)
    with Operations() as operations:
        assert isinstance(arithmetic(TOKEN), Tensor)
    tensors_alone = operations.count
    with Operations() as operations:
        assert arithmetic(unread) is unread
    assert operations.count < tensors_alone


@pytest.mark.parametrize(
    "question",
    [
        lambda x: x.shape,
        lambda x: x.to(torch.float64),
        lambda x: x.squeeze(1),
        lambda x: x[:, 0],
        lambda x: x.flatten(1, 2) * 2,
        lambda x: torch.matmul(x, torch.ones(3, 2)),
        lambda x: torch.split(x, 1, dim=2)[1],
        lambda x: F.layer_norm(x, (3,)),
        lambda x: torch.stack([x, TOKEN]),
        lambda x: F.linear(input=x, weight=torch.ones(4, 3)),
    ],
)
def test_everything_else_is_asked_of_the_token(question: Callable[[Any], Any]) -> None:
    answer, expected = question(Unread(TOKEN)), question(TOKEN)
    assert torch.equal(answer, expected) if isinstance(expected, Tensor) else answer == expected


def test_one_token_of_what_came_in_or_went_out() -> None:
    assert first_token((3,), {"x": FULL}).shape == (2, 1, 3)
    picture, text = sample((FULL, FULL[:, :4]))
    assert picture.shape == (2, 1, 3)
    assert text.shape == (2, 0, 3)


@pytest.mark.parametrize(
    ("make", "inputs", "operations"),
    [
        # The table's sum; two times one plus a scale, two gates and three sums.
        (pixart_transformer, PIXART, {"transformer_blocks": 8}),
        # Twice (picture, text): the modulation's two layers, two times one plus a scale, two gates and two sums. Then
        # the modulation's two layers, one plus the scale, text beside picture, the gate and the sum.
        (flux_transformer, FLUX, {"transformer_blocks": 16, "single_transformer_blocks": 6}),
    ],
)
def test_a_reused_block_does_only_what_somebody_reads(make: Any, inputs: Any, operations: dict[str, int]) -> None:
    transformer = make()
    with torch.no_grad(), apply(transformer, oracle.reuse_schedule(inspect(transformer), 3)) as run:
        for _ in range(2):
            counters = {path: Operations() for path in operations}
            handles = [
                handle
                for path, counter in counters.items()
                for handle in counted(getattr(transformer, path)[1], counter)
            ]
            transformer(**inputs)
            run.next_step()
            for handle in handles:
                handle.remove()
    assert {path: counter.count for path, counter in counters.items()} == operations


def counted(block: Any, counter: Operations) -> tuple[Any, Any]:
    """Count while the block runs; what hooks return would replace arguments and output."""

    def enter(*_: Any) -> None:
        counter.__enter__()

    def leave(*_: Any) -> None:
        counter.__exit__(None, None, None)

    return block.register_forward_pre_hook(enter), block.register_forward_hook(leave)
