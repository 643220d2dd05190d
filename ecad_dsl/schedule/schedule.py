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
    import numpy as np
    import torch
    from numpy.typing import ArrayLike, NDArray


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

    def to_numpy(self) -> dict[str, NDArray[np.bool_]]:
        """Stack name to a new boolean array [steps, blocks, components], True = recompute, in the spec's order."""
        import numpy as np

        width = (self.spec.cells + 7) // 8
        packed = np.frombuffer(b"".join(row.to_bytes(width, "little") for row in self.rows), np.uint8)
        cells = np.unpackbits(packed.reshape(self.steps, width), axis=1, bitorder="little").view(np.bool_)
        arrays = {}
        for stack in self.spec.stacks:
            first, shape = self.spec.offsets[stack.name], (self.steps, stack.blocks, len(stack.components))
            arrays[stack.name] = np.ascontiguousarray(cells[:, first : first + shape[1] * shape[2]]).reshape(shape)
        return arrays

    @cached_property
    def masks(self) -> Mapping[str, torch.Tensor]:
        """Stack name to BoolTensor [steps, blocks, components], True = recompute, in the spec's order."""
        import torch

        return {name: torch.from_numpy(array) for name, array in self.to_numpy().items()}

    def _repr_html_(self) -> str:
        """What Jupyter shows: the heat map."""
        from ecad_dsl.schedule.svg import as_html

        return as_html(self)

    def steps_mask(self) -> list[int]:
        """1 for each step that recomputes everything and 0 for each that reuses everything.

        That is what cache-dit takes as ``steps_computation_mask``.

        Raises:
            EcadError: a step does both, which such a mask cannot say.
        """
        everything = (1 << self.spec.cells) - 1
        mixed = [step for step, row in enumerate(self.rows) if row not in (0, everything)]
        if mixed:
            recomputed = self.rows[mixed[0]].bit_count()
            raise EcadError(
                f"step {mixed[0]} recomputes {recomputed} of {self.spec.cells} cells, and a steps mask can only say"
                f" all or none ({len(mixed)} steps are like that); write such a schedule as .json or .safetensors"
            )
        return [int(row > 0) for row in self.rows]

    @classmethod
    def from_masks(cls, spec: ModelSpec, masks: Mapping[str, ArrayLike | torch.Tensor]) -> Schedule:
        """The schedule with these masks: stack name to a boolean array [steps, blocks, components].

        An array may be a tensor on any device, a numpy array or nested lists; 0 and 1 do for False and True.

        Raises:
            EcadError: a stack is missing or unknown, a shape does not fit the spec, or something is not boolean.
        """
        import numpy as np

        expected = {stack.name for stack in spec.stacks}
        if set(masks) != expected:
            raise EcadError(f"masks must be given for exactly these stacks: {', '.join(sorted(expected))}")
        arrays = {name: _boolean(name, mask) for name, mask in masks.items()}
        steps = {array.shape[0] if array.shape else 0 for array in arrays.values()}
        if len(steps) != 1:
            raise EcadError("all masks must have the same number of steps")
        count = steps.pop()
        for stack in spec.stacks:
            shape, given = (count, stack.blocks, len(stack.components)), arrays[stack.name].shape
            if given != shape:
                raise EcadError(f"the mask of {stack.name} must have the shape {shape}, not {given}")
        rows = [arrays[stack.name].reshape(count, stack.blocks * len(stack.components)) for stack in spec.stacks]
        cells = np.concatenate(rows, axis=1)
        packed = np.packbits(cells, axis=1, bitorder="little")
        return cls(spec, tuple(int.from_bytes(row.tobytes(), "little") for row in packed))


def _boolean(name: str, mask: ArrayLike | torch.Tensor) -> NDArray[np.bool_]:
    import numpy as np

    try:
        array = np.asarray(mask.cpu() if hasattr(mask, "cpu") else mask)
    except (RuntimeError, TypeError, ValueError):  # ragged lists, or a tensor of a kind that numpy does not have
        raise EcadError(f"the mask of {name} must be an array [steps, blocks, components]") from None
    if array.size and (array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all()):
        raise EcadError(f"the mask of {name} must hold booleans, or 0 and 1; True stands for recompute")
    return array.astype(np.bool_)


def block_counts(rows: Sequence[int], spec: ModelSpec, stack: Stack) -> list[list[int]]:
    """How many components of each block are among the cells of each row: [blocks][rows]."""
    size, offset = len(stack.components), spec.offsets[stack.name]
    block = (1 << size) - 1
    return [[(row >> (offset + index * size) & block).bit_count() for row in rows] for index in range(stack.blocks)]
