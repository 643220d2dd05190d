"""From a schedule back to a short program: a search that peels off rules in reverse painter's order.

The last rule of a program is wholly visible: it is a box (steps x blocks x components) in which every cell does what
the rule says. Once such a rule is found its cells are *free*, as whatever earlier rules did there was painted over. So
rules are peeled off until all cells that are left recompute, as cells do before the first rule.

A box follows a *pattern*: what it wants of each step, everything reused, everything recomputed, or recomputed at every
N-th step. For a pattern and a set of steps, the best blocks and components are found exactly; for those, the best
steps. The two moves alternate from many starts at once. Then rules are torn out of the program and the holes peeled
anew, as long as it becomes no longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ecad_dsl.errors import EcadError
from ecad_dsl.language import tree
from ecad_dsl.models import ModelSpec
from ecad_dsl.schedule import wording
from ecad_dsl.schedule.schedule import Schedule

Array = npt.NDArray[Any]


def decompile(schedule: Schedule, *, effort: float = 1.0, seed: int = 0) -> tree.Program:
    """A short portable program that compiles to exactly this schedule, on its model and for its number of steps.

    The result is the same for the same arguments. Its ``length`` (number of rules, then of literals) is small but not
    proven smallest.

    Args:
        schedule: what to describe.
        effort: how long to search, as a multiple of the default; 0 takes the first program found.
        seed: of the search's random choices.

    Raises:
        EcadError: ``effort`` is negative or not finite.
    """
    if not 0 <= effort < float("inf"):
        raise EcadError(f"the effort must be a number from 0 up, not {effort}")
    grid = _Grid(schedule)
    peeler = _Peeler(grid, np.random.default_rng(seed))
    return tree.Program(tuple(_Writer(grid).write(peeler.search(effort))))


class _Box(NamedTuple):
    """What one rule paints: at ``steps`` the cells ``cells`` of a row, each as pattern number ``pattern`` wants."""

    pattern: int
    steps: Array
    cells: Array
    components: int
    """The set of components that ``cells`` are of, as an index of the grid's sets."""


class _Grid:
    """A schedule as arrays, with the patterns and the sets of components that rules can have."""

    def __init__(self, schedule: Schedule) -> None:
        spec = self.spec = schedule.spec
        self.steps = schedule.steps
        self.target = np.array([[row >> bit & 1 for bit in range(spec.cells)] for row in schedule.rows], bool)
        self.phases = [(0, 0), (1, 0)]
        """Period and phase of each pattern; first "all reused" (as period 0) and "all recomputed"."""
        for period in (*range(2, self.steps // 2 + 1), self.steps):
            # With the whole length for a period, one step is recomputed and the others reused.
            self.phases += [(period, phase) for phase in range(period)] if period > 1 else []
        self.patterns = np.array(
            [[period > 0 and step % period == phase for step in range(self.steps)] for period, phase in self.phases]
        )
        self.phrases = wording.phrase_components(spec)
        self.component_sets = sorted(self.phrases)
        self._lay_out(spec)

    def _lay_out(self, spec: ModelSpec) -> None:
        """For each stack its cells in a row, its sets of components, and which of them each set of all stacks means."""
        self.stacks: list[tuple[slice, int, int]] = []
        self.local_sets: list[Array] = []
        """Of each stack [sets, components]; the first set is empty."""
        self.local_of: list[Array] = []
        """Of each stack [sets of all stacks]: index of the local set."""
        first = 0
        for stack in spec.stacks:
            width, offset = len(stack.components), spec.offsets[stack.name]
            self.stacks.append((slice(offset, offset + stack.blocks * width), stack.blocks, width))
            local = [bits >> first & ((1 << width) - 1) for bits in self.component_sets]
            distinct = sorted({0, *local})
            self.local_sets.append(np.array([[bits >> i & 1 for i in range(width)] for bits in distinct], bool))
            self.local_of.append(np.array([distinct.index(bits) for bits in local]))
            first += width
        widths = [(stack.blocks, len(stack.components)) for stack in spec.stacks]
        self.block_of = np.repeat(np.arange(spec.blocks), [width for blocks, width in widths for _ in range(blocks)])
        """Of each cell of a row its block, counted over all stacks, and its component, likewise."""
        starts = np.cumsum([0, *(width for _, width in widths)])
        self.component_of = np.concatenate(
            [np.tile(np.arange(width) + start, blocks) for (blocks, width), start in zip(widths, starts, strict=False)]
        )


@dataclass
class _State:
    """How far a peel has come: the cells that are still to be explained."""

    grid: _Grid
    recompute_worth: float
    """What explaining a recomputed cell counts, against 1 for a reused one, which some rule must explain."""
    open: Array

    def __post_init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        reused, recomputed = self.open & ~self.grid.target, self.open & self.grid.target
        self.left = int(reused.sum())
        # A box may hold no open cell that does the opposite. As floats, so that products are matrix products.
        self.against_recompute = reused.astype(np.float32)
        self.against_reuse = recomputed.astype(np.float32)
        self.worth = self.against_recompute + np.float32(self.recompute_worth) * self.against_reuse

    def peel(self, box: _Box) -> None:
        self.open = self.open & ~(box.steps[:, None] & box.cells)
        self.refresh()

    def best_cells(self, patterns: Array, steps: Array) -> tuple[Array, Array, Array]:
        """For each pattern and set of steps (rows of two arrays) the cells worth most, their components and worth."""
        grid = self.grid
        wants = grid.patterns[patterns]
        against = (steps & wants).astype(np.float32) @ self.against_recompute
        against += (steps & ~wants).astype(np.float32) @ self.against_reuse
        fits, gains = against == 0, steps.astype(np.float32) @ self.worth
        total = np.zeros((len(patterns), len(grid.component_sets)), np.float32)
        whole: list[Array] = []
        for (where, blocks, width), sets, local_of in zip(grid.stacks, grid.local_sets, grid.local_of, strict=True):
            misfits = (~fits[:, where]).reshape(-1, width).astype(np.float32) @ sets.T.astype(np.float32)
            fitting = (misfits == 0).reshape(-1, blocks, len(sets))
            gain = (gains[:, where].reshape(-1, width) @ sets.T.astype(np.float32)).reshape(fitting.shape)
            total += (gain * fitting).sum(1)[:, local_of]
            whole.append(fitting)
        chosen = total.argmax(1)
        each = np.arange(len(patterns))
        cells = np.zeros(fits.shape, bool)
        for (where, _, _), sets, local_of, fitting in zip(
            grid.stacks, grid.local_sets, grid.local_of, whole, strict=True
        ):
            local = local_of[chosen]
            cells[:, where] = (fitting[each, :, local][:, :, None] & sets[local][:, None, :]).reshape(len(each), -1)
        return cells, chosen, total[each, chosen]

    def best_steps(self, patterns: Array, cells: Array) -> Array:
        """For each pattern and set of cells (rows of two arrays) all steps at which no cell speaks against it."""
        wide = cells.astype(np.float32)
        recomputes, reuses = wide @ self.against_recompute.T == 0, wide @ self.against_reuse.T == 0
        return np.where(self.grid.patterns[patterns], recomputes, reuses)


class _Peeler:
    _KEPT = 24
    """Starts that are followed to their end; most are weeded out by their first worth."""
    _PAIRS = 100
    _WORTHS = (0.0, 0.02, 0.1, 0.3, 0.6, 1.0)
    """What explaining a recomputed cell may count. Little finds rules that reuse, much finds exceptions to them."""

    def __init__(self, grid: _Grid, random: np.random.Generator) -> None:
        self._grid = grid
        self._random = random

    def search(self, effort: float) -> list[_Box]:
        """The boxes of a short program, the last rule first."""
        best = min((self._peel([], worth) for worth in self._WORTHS), key=len)
        current = best
        for _ in range(round(effort * 40)):
            if len(best) <= 2:
                break
            worth = float(self._random.choice(self._WORTHS))
            goal = self._goal(current) if self._random.random() < 0.6 else None
            kept = current if goal is not None else self._torn(current)
            anew = self._peel(kept, worth, noise=0.05, goal=goal, limit=len(current))
            if len(anew) <= len(current):
                current = anew
            if len(current) < len(best):
                best = current
        return best

    def _goal(self, boxes: list[_Box]) -> _Box:
        """A larger box that could stand for two if the cells that speak against it were explained before."""
        first, second = (boxes[int(i)] for i in self._random.choice(len(boxes), 2, replace=False))
        steps = first.steps | second.steps if self._random.random() < 0.7 else first.steps
        return first._replace(steps=steps, cells=self._hull(first.cells | second.cells))

    def _hull(self, cells: Array) -> Array:
        """In each stack, the blocks that hold any of the cells times the components that do."""
        hull = np.zeros_like(cells)
        for where, _, width in self._grid.stacks:
            part = cells[where].reshape(-1, width)
            hull[where] = (part.any(1)[:, None] & part.any(0)).ravel()
        return hull

    def _torn(self, boxes: list[_Box]) -> list[_Box]:
        """Without a few of the boxes: neighbours, or any."""
        count = int(self._random.integers(1, min(6, len(boxes)) + 1))
        if self._random.random() < 0.5:
            start = int(self._random.integers(len(boxes) - count + 1))
            gone = set(range(start, start + count))
        else:
            gone = set(self._random.choice(len(boxes), count, replace=False).tolist())
        return [box for index, box in enumerate(boxes) if index not in gone]

    def _peel(
        self,
        boxes: list[_Box],
        recompute_worth: float,
        noise: float = 0.0,
        goal: _Box | None = None,
        limit: float = float("inf"),
    ) -> list[_Box]:
        """Peel off ``boxes`` as far as they still fit, each made as large as it now can be; then others to the end.

        Before, if there is a goal: whatever speaks against it, and it. More than ``limit`` boxes are of no interest.
        """
        grid = self._grid
        everything = np.ones_like(grid.target)
        everything[0] = False  # whatever rules say, step 0 is recomputed
        state = _State(grid, recompute_worth, everything)
        peeled: list[_Box] = []
        if goal is not None:
            inside = goal.steps[:, None] & goal.cells & (grid.target != grid.patterns[goal.pattern][:, None])
            while (inside & state.open).any() and len(peeled) < limit:
                state.worth = (inside & state.open) + np.float32(0.01) * state.worth
                peeled.append(self._best(state, boxes, noise))
                state.peel(peeled[-1])
            boxes = [goal, *boxes]
        for box in boxes:
            again, worth = self._climb(state, np.array([box.pattern]), box.steps[None])
            if worth[0] > 0:
                state.peel(again[0])
                peeled.append(again[0])
        while state.left and len(peeled) <= limit:
            peeled.append(self._best(state, [], noise))
            state.peel(peeled[-1])
        return peeled

    def _best(self, state: _State, known: list[_Box], noise: float) -> _Box:
        """The box worth most, give or take some noise; the known ones are tried as well."""
        patterns, steps = self._starts(state)
        if known:
            patterns = np.concatenate([patterns, [box.pattern for box in known]])
            steps = np.concatenate([steps, [box.steps for box in known]])
        _, _, worth = state.best_cells(patterns, steps)
        kept = np.argsort(-worth, kind="stable")[: self._KEPT]
        found, worth = self._climb(state, patterns[kept], steps[kept])
        if noise:
            worth = worth * (1 - noise * self._random.random(len(worth)))
        return found[int(worth.argmax())]

    @staticmethod
    def _climb(state: _State, patterns: Array, steps: Array) -> tuple[list[_Box], Array]:
        """Alternate the two moves until no box gains."""
        cells, chosen, worth = state.best_cells(patterns, steps)
        while True:
            steps = state.best_steps(patterns, cells)
            cells, chosen, more = state.best_cells(patterns, steps)
            if not (more > worth).any():
                break
            worth = more
        boxes = [_Box(int(p), s, c, int(x)) for p, s, c, x in zip(patterns, steps, cells, chosen, strict=True)]
        return boxes, worth

    def _starts(self, state: _State) -> tuple[Array, Array]:
        """Patterns and sets of steps to climb from."""
        grid = self._grid
        columns = np.unique(
            np.stack([state.open.T, grid.target.T & state.open.T], 1).reshape(grid.target.shape[1], -1), axis=0
        )
        is_open, recomputed = columns[:, : grid.steps], columns[:, grid.steps :]
        patterns: list[Array] = []
        steps: list[Array] = []
        lone = np.eye(grid.steps, dtype=bool)[1:]
        pairs = np.array(list(combinations(range(len(lone)), 2)))
        for pattern, fits in ((0, ~recomputed), (1, recomputed | ~is_open)):
            shared = self._shared(fits)
            few = lone[self._some(pairs)].any(1) if len(pairs) else lone[:0]
            both = np.concatenate([lone, few, fits, shared])
            patterns.append(np.full(len(both), pattern))
            steps.append(both)
        # Of the periodic patterns, those that explain most of some column.
        for pattern in range(2, len(grid.patterns)):
            wants = grid.patterns[pattern]
            agrees = ~is_open | (recomputed == wants)
            explained = (agrees & is_open & (~wants | recomputed)).sum(1)
            best = np.argsort(-explained, kind="stable")[:2]
            patterns.append(np.full(len(best), pattern))
            steps.append(agrees[best])
        return np.concatenate(patterns), np.concatenate(steps)

    def _shared(self, fits: Array) -> Array:
        """What pairs of columns have in common."""
        if len(fits) < 2:
            return fits[:0]
        pairs = np.array(list(combinations(range(len(fits)), 2)))
        return fits[self._some(pairs)].all(1)

    def _some(self, pairs: Array) -> Array:
        if len(pairs) <= self._PAIRS:
            return pairs
        return pairs[self._random.choice(len(pairs), self._PAIRS, replace=False)]


class _Writer:
    """Turns boxes into rules. What a rule need not paint is dropped, what it may paint besides is used to say less."""

    def __init__(self, grid: _Grid) -> None:
        self._grid = grid

    def write(self, boxes: list[_Box]) -> list[tree.Rule]:
        grid = self._grid
        # Free for each box: what the rules above it paint, and step 0.
        free = [np.zeros_like(grid.target)]
        free[0][0] = True
        for box in boxes:
            free.append(free[-1] | (box.steps[:, None] & box.cells))
        canvas = np.ones_like(grid.target)
        rules = []
        for index in reversed(range(len(boxes))):
            must = free[index + 1] & ~free[index] & (canvas != grid.target)
            if must.any():
                rules.append(self._rule(boxes[index].pattern, must, free[index], canvas))
        return rules

    def _rule(self, pattern: int, must: Array, free: Array, canvas: Array) -> tree.Rule:
        """The shortest rule that paints ``must`` right and nothing wrong beyond ``free``; painted on ``canvas``."""
        options = [pattern]
        values = self._grid.target[must]
        if pattern > 1 and (values.all() or not values.any()):
            options.append(int(values.all()))
        written = [phrase for option in options if (phrase := self._phrase(option, must, free)) is not None]
        rule, steps, cells, pattern = min(written, key=lambda choice: choice[0].literals)
        painted = steps[:, None] & cells
        canvas[painted] = np.broadcast_to(self._grid.patterns[pattern][:, None], painted.shape)[painted]
        return rule

    def _phrase(self, pattern: int, must: Array, free: Array) -> tuple[tree.Rule, Array, Array, int] | None:
        """The shortest rule of a pattern, with its steps and cells; None if it would paint something wrong."""
        grid, spec = self._grid, self._grid.spec
        fits = free | (grid.target == grid.patterns[pattern][:, None])
        steps, cells = must.any(1), must.any(0)
        misfits = ~fits[steps].all(0)
        must_blocks = wording.bits_of(np.unique(grid.block_of[cells]).tolist())
        best: tuple[int, tree.Components, wording.Blocks, Array] | None = None
        for components, phrase in grid.phrases.items():
            chosen = (components >> grid.component_of & 1).astype(bool)
            literals = len(phrase.names) + len(phrase.excluded)
            if (cells & ~chosen).any() or (best is not None and literals >= best[0]):
                continue
            wrong = wording.bits_of(np.unique(grid.block_of[chosen & misfits]).tolist())
            if must_blocks & wrong:
                continue
            blocks = wording.phrase_blocks(must_blocks, (1 << spec.blocks) - 1 & ~wrong, spec)
            if best is None or literals + blocks.literals < best[0]:
                selected = chosen & np.isin(grid.block_of, wording.members(blocks.bits))
                best = literals + blocks.literals, phrase, blocks, selected
        if best is None:
            return None
        _, names, where, cells = best
        when = self._steps(pattern, steps, fits[:, cells].all(1))
        rule = tree.Rule(when.action, names, where.terms, when.every, when.selector)
        painted = np.array([when.bits >> step & 1 for step in range(grid.steps)], bool)
        return rule, painted, cells, pattern

    def _steps(self, pattern: int, must: Array, may: Array) -> wording.Steps:
        count = self._grid.steps
        needed, allowed = (wording.bits_of(np.flatnonzero(steps).tolist()) for steps in (must, may))
        if pattern > 1:
            return wording.phrase_cache(needed, allowed, count, *self._grid.phases[pattern])
        action = tree.Action.RECOMPUTE if pattern else tree.Action.REUSE
        return wording.phrase_constant(action, needed, allowed, count)
