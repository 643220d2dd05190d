"""SmoothCache (Liu et al., 2024, arXiv 2411.10510): a schedule from how little outputs change between denoising steps.

A component is computed anew as soon as its output has changed by more than a threshold since it was computed last.
The changes are measured once, on a few pictures without a cache; from then on the schedule is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ecad_dsl.errors import EcadError
from ecad_dsl.language import Program
from ecad_dsl.models import ModelSpec
from ecad_dsl.models.meta import submodule
from ecad_dsl.quality.bootstrap import Array
from ecad_dsl.runtime.apply import Run, apply
from ecad_dsl.runtime.inspect import find_transformer, inspect
from ecad_dsl.schedule import Schedule, compile, cost

if TYPE_CHECKING:
    import pandas as pd

By = Literal["component", "cell"]


@dataclass(frozen=True)
class Changes:
    """How much each component's output differs from what it was some steps before, without a cache.

    A change is the mean absolute difference as a share of the mean absolute value before, averaged over generations.
    """

    spec: ModelSpec
    values: Mapping[str, Array]
    """By stack: [steps, reach, blocks, components]. At [s, k] the change from step ``s - k - 1`` to ``s``; NaN where
    there is no such step, or no such component in the block."""

    @property
    def steps(self) -> int:
        return int(next(iter(self.values.values())).shape[0])

    @property
    def reach(self) -> int:
        """So many steps at most an output is reused: changes over more were not measured."""
        return int(next(iter(self.values.values())).shape[1])

    def schedule(self, threshold: float, by: By = "component") -> Schedule:
        """Reuse where the change since the last recompute is below the threshold, and no more than ``reach`` steps ago.

        SmoothCache decides for all blocks of a stack together, by the mean of their changes; ``by="cell"`` decides for
        each block of its own.
        """
        masks = {}
        for stack, values in self.values.items():
            seen = self._pooled(values) if by == "component" else values
            masks[stack] = np.broadcast_to(_decide(seen, threshold), (values.shape[0], *values.shape[2:]))
        return Schedule.from_masks(self.spec, masks)

    def for_cost(self, share: float, by: By = "component") -> tuple[float, Schedule]:
        """The lowest threshold found whose schedule has at most this share of the MACs, and the schedule.

        Raises:
            EcadError: even reusing as long as was measured costs more.
        """
        pooled = [self._pooled(values) if by == "component" else values for values in self.values.values()]
        known = np.concatenate([values.ravel() for values in pooled])
        # Between two neighbouring changes every threshold means the same; the middle is safe to be rounded.
        edges = np.unique(known[np.isfinite(known)])
        edges = np.concatenate([[0.0], edges, [2 * edges[-1] + 1]])
        thresholds = [float(f"{middle:.9g}") for middle in (edges[:-1] + edges[1:]) / 2]
        if 1 - cost(self.schedule(np.inf, by)).saved > share:
            raise EcadError(
                f"reusing for {self.reach} steps at most never comes down to {share:.1%} of the MACs;"
                " measure with a longer reach"
            )
        low, high = 0, len(thresholds) - 1
        while low < high:
            middle = (low + high) // 2
            if 1 - cost(self.schedule(thresholds[middle], by)).saved <= share:
                high = middle
            else:
                low = middle + 1
        return thresholds[low], self.schedule(thresholds[low], by)

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each change that was measured: step, since (the step before), stack, block, component, change."""
        import pandas as pd

        parts = []
        for stack in self.spec.stacks:
            values = self.values[stack.name]
            step, lag, block, index = np.indices(values.shape).reshape(4, -1)
            names = np.array([component.name for component in stack.components], object)
            parts.append(
                pd.DataFrame(
                    {
                        "step": step,
                        "since": step - lag - 1,
                        "stack": stack.name,
                        "block": block,
                        "component": names[index],
                        "change": values.reshape(-1),
                    }
                )
            )
        return pd.concat(parts).dropna(subset="change").reset_index(drop=True)

    @staticmethod
    def _pooled(values: Array) -> Array:
        """Means over the blocks that have the component, [steps, reach, 1, components]."""
        counts = np.isfinite(values).sum(2, keepdims=True)
        sums = np.nansum(values, axis=2, keepdims=True)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _decide(values: Array, threshold: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Recompute or not, [steps, blocks, components], from changes [steps, reach, blocks, components]."""
    steps, reach = values.shape[:2]
    recompute = np.ones((steps, *values.shape[2:]), bool)
    age = np.zeros(values.shape[2:], int)
    for step in range(1, steps):
        since = np.minimum(age, reach - 1)
        change = np.take_along_axis(values[step], since[None], axis=0)[0]
        # What the block does not have has no change, and whatever is said of it costs nothing.
        reused = (age < reach) & ((change < threshold) | np.isnan(change))
        recompute[step] = ~reused
        age = np.where(reused, age + 1, 0)
    return recompute


def measure_changes(pipe: Any, generations: Iterable[Callable[[], object]], steps: int, reach: int = 3) -> Changes:
    """Watch generations without a cache.

    Args:
        pipe: a diffusers pipeline, or a transformer.
        generations: each runs one generation of a batch of pictures, of ``steps`` steps.
        steps: number of denoising steps.
        reach: over how many steps changes are measured. So many outputs of each component are kept meanwhile.

    Raises:
        EcadError: there is no generation or no reach; or as for :func:`~ecad_dsl.runtime.apply.apply`.
    """
    if reach < 1:
        raise EcadError(f"changes are measured over at least 1 step, not {reach}")
    spec = inspect(pipe)
    everything = compile(Program(()), spec, steps)
    sums = {s.name: np.zeros((steps, reach, s.blocks, len(s.components))) for s in spec.stacks}
    counts = {name: np.zeros(array.shape, int) for name, array in sums.items()}
    begun = False
    with apply(pipe, everything) as run, _watched(pipe, spec, run, sums, counts) as forget:
        for generate in generations:
            begun = True
            forget()
            generate()
    if not begun:
        raise EcadError("changes are measured on at least one generation")
    values = {
        name: np.where(counts[name] > 0, array / np.maximum(counts[name], 1), np.nan) for name, array in sums.items()
    }
    return Changes(spec, values)


@contextmanager
def _watched(
    pipe: Any, spec: ModelSpec, run: Run, sums: Mapping[str, Array], counts: Mapping[str, Any]
) -> Iterator[Callable[[], None]]:
    """Hooks on all components that add changes up; what is yielded forgets the outputs of a generation."""
    transformer = find_transformer(pipe)
    watchers, handles = [], []
    for stack in spec.stacks:
        for index, block in enumerate(getattr(transformer, stack.path)):
            for number, component in enumerate(stack.components):
                module = submodule(block, component.module)
                if isinstance(module, torch.nn.Module):
                    at = (slice(None), slice(None), index, number)
                    watcher = _Watcher(run, sums[stack.name][at], counts[stack.name][at])
                    watchers.append(watcher)
                    handles.append(module.register_forward_hook(watcher))

    def forget() -> None:
        for watcher in watchers:
            watcher.kept.clear()

    try:
        yield forget
    finally:
        for handle in handles:
            handle.remove()


class _Watcher:
    """Of one component: the outputs of the last steps, and sums of their changes [steps, reach]."""

    def __init__(self, run: Run, sums: Array, counts: Any) -> None:
        self.run = run
        self.sums = sums
        self.counts = counts
        self.kept: dict[int, list[Tensor]] = {}
        """By step, one for each call of the transformer in it."""

    def __call__(self, _module: Any, _inputs: Any, output: Any) -> None:
        step = self.run.step
        new = _first_tensor(output)
        calls = self.kept.setdefault(step, [])
        for lag in range(self.sums.shape[1]):
            before = self.kept.get(step - lag - 1, [])
            if len(calls) < len(before) and before[len(calls)].shape == new.shape:
                old = before[len(calls)]
                self.sums[step, lag] += float((new - old).abs().mean() / old.abs().mean().clamp_min(1e-12))
                self.counts[step, lag] += 1
        calls.append(new)
        self.kept.pop(step - self.sums.shape[1], None)


def _first_tensor(output: Any) -> Tensor:
    """Of attention over pictures and text that of the pictures, which comes first."""
    while not isinstance(output, Tensor):
        output = output[0]
    return output.detach().float()
