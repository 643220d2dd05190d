"""The compiled schedule: for every cell (step, stack, block, component), recompute or reuse."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ecad_dsl.errors import EcadError
from ecad_dsl.models import ModelSpec, Stack

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Schedule:
    """An immutable schedule. ``rows[step]`` holds the step's cells as bits, set = recompute.

    The bit of a cell is given by :class:`~ecad_dsl.models.ModelSpec`. Integers instead of tensors keep
    compiling, comparing and hashing fast and free of torch; ``masks`` is the same thing as tensors.
    """

    spec: ModelSpec
    rows: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.rows:
            raise EcadError("a schedule needs at least one step")
        full = (1 << self.spec.cells) - 1
        if any(row & ~full for row in self.rows):
            raise EcadError(f"a row has {self.spec.cells} cells on {self.spec.title}; a bit beyond them is set")
        if self.rows[0] != full:
            # Nothing is stored before the first step, so its cells recompute whatever was asked for.
            object.__setattr__(self, "rows", (full, *self.rows[1:]))

    @property
    def steps(self) -> int:
        return len(self.rows)

    @property
    def recomputed(self) -> int:
        """Number of cells that are recomputed, of ``steps * spec.cells``."""
        return sum(row.bit_count() for row in self.rows)

    @property
    def key(self) -> str:
        """Hash of the cells: equal for schedules that do the same thing, whatever text they came from."""
        width = (self.spec.cells + 7) // 8
        digest = hashlib.sha256(b"".join(row.to_bytes(width, "little") for row in self.rows))
        return digest.hexdigest()

    def counts(self, stack: Stack) -> list[list[int]]:
        """How many components of each block are recomputed at each step: [blocks][steps]."""
        return block_counts(self.rows, self.spec, stack)

    @cached_property
    def masks(self) -> Mapping[str, torch.Tensor]:
        """Stack name to BoolTensor [steps, blocks, components], True = recompute, in the spec's order."""
        import torch

        masks = {}
        for stack in self.spec.stacks:
            size = stack.blocks * len(stack.components)
            offset = self.spec.offsets[stack.name]
            bits = [[row >> (offset + i) & 1 for i in range(size)] for row in self.rows]
            mask = torch.tensor(bits, dtype=torch.bool)
            masks[stack.name] = mask.reshape(self.steps, stack.blocks, len(stack.components))
        return masks

    @classmethod
    def from_masks(cls, spec: ModelSpec, masks: Mapping[str, torch.Tensor]) -> Schedule:
        """The schedule with these masks: stack name to a boolean array [steps, blocks, components].

        Raises:
            EcadError: a stack is missing or unknown, or a shape does not fit the spec.
        """
        expected = {stack.name for stack in spec.stacks}
        if set(masks) != expected:
            raise EcadError(f"masks must be given for exactly these stacks: {', '.join(sorted(expected))}")
        steps = {int(mask.shape[0]) if len(mask.shape) else 0 for mask in masks.values()}
        if len(steps) != 1:
            raise EcadError("all masks must have the same number of steps")
        rows = [0] * steps.pop()
        for stack in spec.stacks:
            mask = masks[stack.name]
            shape = (len(rows), stack.blocks, len(stack.components))
            if tuple(mask.shape) != shape:
                raise EcadError(f"the mask of {stack.name} must have the shape {shape}, not {tuple(mask.shape)}")
            offset = spec.offsets[stack.name]
            for step, bits in enumerate(mask.reshape(len(rows), -1).tolist()):
                rows[step] |= sum(1 << i for i, bit in enumerate(bits) if bit) << offset
        return cls(spec, tuple(rows))


def block_counts(rows: Sequence[int], spec: ModelSpec, stack: Stack) -> list[list[int]]:
    """How many components of each block are among the cells of each row: [blocks][rows]."""
    size, offset = len(stack.components), spec.offsets[stack.name]
    block = (1 << size) - 1
    return [[(row >> (offset + index * size) & block).bit_count() for row in rows] for index in range(stack.blocks)]
