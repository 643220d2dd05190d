"""What a call under a schedule costs in itself: ``python benchmarks/calls.py`` prints it.

Nanoseconds of Python for one call of a component that does nothing, plain and under a schedule, and the operations that
a wholly recomputed and a wholly reused block give to the device: on a GPU at small sizes, the time of a step is that of
starting them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ecad_dsl.models import ModelSpec, load_spec, spec_names
from ecad_dsl.quality.bench import random_inputs, random_transformer, scaled
from ecad_dsl.runtime import apply
from ecad_dsl.schedule import Schedule

CPU = torch.device("cpu")
ROUNDS, CALLS = 200, 200


class Nothing(nn.Module):
    def forward(self, *args: Any, **_: Any) -> Any:
        return args[0]


class Launches(TorchDispatchMode):
    """Counts operations, but for those that only look at the same memory in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    print("nanoseconds for a call of a component that does nothing, the best of many")
    for name, seconds in calls().items():
        print(f"  {name:34}{1e9 * seconds:7.0f}")
    print("operations of a block: recomputed, reused")
    for name in spec_names():
        spec = load_spec(name)
        if name == "reference" or name[-1] in "24":  # other sizes of the same blocks
            continue
        for stack in spec.stacks:
            full, reused = launches(spec, stack.name)
            print(f"  {name + ', ' + stack.name:34}{full:5}{reused:5}")


def calls() -> dict[str, float]:
    """Seconds of a call, by what the schedule says."""
    spec = scaled(load_spec("pixart-alpha"), 1, 1)
    transformer = random_transformer(spec, CPU, torch.float32)
    block: Any = transformer.transformer_blocks[0]  # type: ignore[index]
    block.attn1 = Nothing()
    inputs = random_inputs(transformer, spec, 32, 32, 1)
    tokens = torch.zeros(2, 4, 72)
    everything = (1 << spec.cells) - 1
    ops = {
        "recomputed": ((everything, everything), 0),
        "recomputed and kept": ((everything, 0), 0),
        "reused": ((everything, 0, 0), 1),
    }
    best = {"plain": measured(lambda: block.attn1(tokens))}
    for name, (rows, step) in ops.items():
        with apply(transformer, Schedule(spec, rows)) as run:
            for _ in range(step + 1):
                if run.step == step:
                    break
                transformer(**inputs)
                run.next_step()
            transformer(**inputs)
            executor = run._executor

            def call(executor: Any = executor) -> None:
                executor.forwards += 1  # or it would be a second call in the same forward pass
                block.attn1(tokens)

            best[name] = measured(call)
    return best


def measured(call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, (time.perf_counter() - start) / CALLS)
    return best


def launches(spec: ModelSpec, stack: str) -> tuple[int, int]:
    """Operations of one block of the stack: what a second one adds."""
    few, more = (counted(spec.resized({s.name: 1 + (s.name == stack) * more for s in spec.stacks})) for more in (0, 1))
    return more[0] - few[0], more[1] - few[1]


def counted(spec: ModelSpec) -> tuple[int, int]:
    spec = scaled(spec, heads=1)
    transformer = random_transformer(spec, CPU, torch.float32)
    inputs: dict[str, Tensor] = random_inputs(transformer, spec, 64, 64, 1)
    found = []
    with apply(transformer, Schedule(spec, ((1 << spec.cells) - 1, 0, 0))) as run:
        for _ in range(2):
            with Launches() as counter:
                transformer(**inputs)
            run.next_step()
            found.append(counter.count)
    return found[0], found[1]


if __name__ == "__main__":
    main()
