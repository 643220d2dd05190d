"""What a schedule costs in multiply-accumulates: exact integers, from the model's shapes and never from a clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from ecad_dsl.errors import EcadError
from ecad_dsl.models import ModelSpec
from ecad_dsl.schedule.plan import plan
from ecad_dsl.schedule.schedule import Schedule

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one denoising step: of each cell, in the order of a row, and of all that is no cell."""

    cells: tuple[int, ...]
    fixed: int

    @cached_property
    def _by_weight(self) -> tuple[tuple[int, int], ...]:
        """Each distinct figure with the mask of the cells that cost it: a row is scored by a few popcounts."""
        masks: dict[int, int] = {}
        for bit, macs in enumerate(self.cells):
            masks[macs] = masks.get(macs, 0) | 1 << bit
        return tuple(masks.items())

    def total(self, rows: Sequence[int]) -> int:
        """Of these rows (``Schedule.rows``), one denoising step each."""
        return len(rows) * self.fixed + sum(
            macs * sum((row & mask).bit_count() for row in rows) for macs, mask in self._by_weight
        )


@dataclass(frozen=True)
class CostTable:
    """What one forward pass costs, cell by cell, for a resolution in pixels and a number of images."""

    spec: ModelSpec
    height: int
    width: int
    batch: int
    layers: Macs
    """Linear and convolution layers, as the paper counts."""
    full: Macs
    """With the score and value products of attention."""
    outputs: Mapping[int, int]
    """Elements of each cell's output as pipelines run the model, cells in the order they run in."""


@dataclass(frozen=True)
class Cost:
    """The cost of a schedule. ``macs`` counts as the paper does; ``macs_full`` adds the products of attention."""

    schedule: Schedule
    table: CostTable

    @cached_property
    def macs(self) -> int:
        return self.table.layers.total(self.schedule.rows)

    @cached_property
    def macs_full(self) -> int:
        return self.table.full.total(self.schedule.rows)

    @property
    def saved(self) -> float:
        """Share of ``macs`` that the schedule saves of recomputing everything, from 0 to 1."""
        everything = self.schedule.rows[0]  # the first step recomputes every cell
        return 1 - self.macs / self.table.layers.total([everything] * self.schedule.steps)

    @cached_property
    def cache_elements(self) -> int:
        """The most elements of outputs that are kept at any instant; times the bytes of one, the memory it takes."""
        return plan(self.schedule).peak(self.table.outputs)

    @property
    def by_step(self) -> pd.DataFrame:
        """One line a step: step, recomputed (cells), macs, macs_full."""
        import pandas as pd

        lines = [
            (step, row.bit_count(), self.table.layers.total([row]), self.table.full.total([row]))
            for step, row in enumerate(self.schedule.rows)
        ]
        return pd.DataFrame(lines, columns=["step", "recomputed", "macs", "macs_full"])

    @property
    def by_component(self) -> pd.DataFrame:
        """One line for each step and component: step, stack, component, recomputed (blocks), macs, macs_full.

        What runs whatever the schedule says (embeddings, modulations, the final layer) is the component ``fixed``
        of no stack, so that the columns sum to the totals.
        """
        import pandas as pd

        layers, full = self.table.layers, self.table.full
        lines: list[tuple[int, str, str, int, int, int]] = []
        for step, row in enumerate(self.schedule.rows):
            lines.append((step, "", "fixed", 0, layers.fixed, full.fixed))
            for stack, component, bits in component_cells(self.schedule.spec):
                run = [bit for bit in bits if row >> bit & 1]
                macs, macs_full = (sum(table.cells[bit] for bit in run) for table in (layers, full))
                lines.append((step, stack, component, len(run), macs, macs_full))
        return pd.DataFrame(lines, columns=["step", "stack", "component", "recomputed", "macs", "macs_full"])


def cost(schedule: Schedule, height: int | None = None, width: int | None = None, batch: int = 1) -> Cost:
    """The cost of making ``batch`` images of ``height`` x ``width`` pixels (the model's own size if not given).

    Each step is one forward pass of the transformer, with the guidance pair in the batch where the model uses one.
    Step 0 counts as recomputed whole, as the published totals do, whatever the bits of a file say.

    Raises:
        EcadError: the model cannot make pictures of this size, or its spec does not say what it is fed.
    """
    return Cost(schedule, cost_table(schedule.spec, height, width, batch))


def cost_table(spec: ModelSpec, height: int | None = None, width: int | None = None, batch: int = 1) -> CostTable:
    """What each cell costs, counted on the model's real modules on the meta device.

    The first call for a spec and size imports diffusers and takes up to a second; later ones are looked up.

    Raises:
        EcadError: as for :func:`cost`.
    """
    if batch < 1:
        raise EcadError(f"batch counts images and must be at least 1, not {batch}")
    height = spec.inputs.get("height") if height is None else height
    width = spec.inputs.get("width") if width is None else width
    if height is None or width is None:
        raise EcadError(f"the spec of {spec.title} names no resolution; pass height= and width=")
    return _table(spec, height, width, batch)


@cache
def _table(spec: ModelSpec, height: int, width: int, batch: int) -> CostTable:
    """A spec hashes without its configuration and compares with it, so equal keys mean equal figures."""
    from ecad_dsl.schedule.macs import FIXED, count_forward, samples, samples_run

    counter = count_forward(spec, height, width, batch)
    outputs = {cell: size * samples_run(spec) // samples(spec) for cell, size in counter.outputs.items()}
    both = counter.layers + counter.attention
    layers, full = (
        Macs(tuple(counts[bit] for bit in range(spec.cells)), counts[FIXED]) for counts in (counter.layers, both)
    )
    return CostTable(spec, height, width, batch, layers, full, outputs)


def component_cells(spec: ModelSpec) -> Iterator[tuple[str, str, range]]:
    """Stack, component and the bits of its cells."""
    for stack in spec.stacks:
        first, width = spec.offsets[stack.name], len(stack.components)
        for index, component in enumerate(stack.components):
            yield stack.name, component.name, range(first + index, first + stack.blocks * width, width)
