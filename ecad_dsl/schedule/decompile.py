"""From a schedule back to a short program.

A rule paints a *box*: some steps x some cells of a row. A box follows a *pattern*, what it wants of each step:
everything reused, everything recomputed, or recomputed at every N-th step. For a pattern and a set of steps, the cells
worth most are found exactly; for those, the steps. The two moves alternate from many starts at once.

A first program is peeled off in reverse painter's order. The last rule of a program is wholly visible: every cell of
its box does what the rule says. Once such a box is found its cells are free, as whatever earlier rules did there is
painted over; so boxes are peeled off until the cells that are left recompute, as cells do before the first rule. Which
box is peeled first is a guess, though, and an exception hides the rule that it is an exception to. So the program then
has to do with one box fewer: boxes are exchanged for others until no cell is wrong, and so on until that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ecad_dsl.errors import EcadError
from ecad_dsl.language import tree
from ecad_dsl.models import ModelSpec
from ecad_dsl.schedule import wording
from ecad_dsl.schedule.schedule import Schedule

Array = npt.NDArray[Any]

MAX_STEPS = 1_000
_MAX_PERIOD = 64
"""Longer periods are written step by step."""
REUSED, RECOMPUTED = 0, 1
"""The patterns of rules without a period."""
_FORBIDDEN = -1e6
"""Outweighs everything that a box can gain."""


def decompile(
    schedule: Schedule, *, effort: float = 1.0, seed: int = 0, progress: Callable[[float], object] = lambda _: None
) -> tree.Program:
    """A short portable program that compiles to exactly this schedule, on its model and for its number of steps.

    The result is the same for the same arguments. Its ``length`` (number of rules, then of literals) is small but not
    proven smallest.

    Args:
        schedule: what to describe.
        effort: how long to search, as a multiple of the default; 0 takes the first program found.
        seed: of the search's random choices.
        progress: told again and again which share of the longest possible search is done, from 0 to 1.

    Raises:
        EcadError: ``effort`` is negative or not finite, or the schedule has more than 1,000 steps.
    """
    if not 0 <= effort < float("inf"):
        raise EcadError(f"the effort must be a number from 0 up, not {effort}")
    if schedule.steps > MAX_STEPS:
        raise EcadError(
            f"rules are looked for in schedules of up to {MAX_STEPS:,} steps; this one has {schedule.steps:,}"
        )
    grid = _Grid(schedule)
    boxes = _Search(grid, np.random.default_rng(seed)).run(effort, progress)
    return tree.Program(tuple(_Writer(grid).write(boxes[::-1])))


class _Box(NamedTuple):
    """What one rule paints: at ``steps`` the cells ``cells`` of a row, each as pattern number ``pattern`` wants."""

    pattern: int
    steps: Array
    cells: Array


class _Grid:
    """A schedule as arrays, with the patterns and the sets of components that rules can have."""

    def __init__(self, schedule: Schedule) -> None:
        spec = self.spec = schedule.spec
        self.steps = schedule.steps
        self.target = np.array([[row >> bit & 1 for bit in range(spec.cells)] for row in schedule.rows], bool)
        self.phases = [(0, 0), (1, 0)]
        """Period and phase of each pattern; first "all reused" (as period 0) and "all recomputed"."""
        for period in (*range(2, min(self.steps // 2, _MAX_PERIOD) + 1), self.steps):
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
        """Of each stack [components, sets]; the first set is empty."""
        self.local_of: list[Array] = []
        """Of each stack [sets of all stacks]: index of the local set."""
        first = 0
        for stack in spec.stacks:
            width, offset = len(stack.components), spec.offsets[stack.name]
            self.stacks.append((slice(offset, offset + stack.blocks * width), stack.blocks, width))
            local = [bits >> first & ((1 << width) - 1) for bits in self.component_sets]
            distinct = sorted({0, *local})
            self.local_sets.append(np.array([[bits >> i & 1 for bits in distinct] for i in range(width)], np.float32))
            self.local_of.append(np.array([distinct.index(bits) for bits in local]))
            first += width
        widths = [(stack.blocks, len(stack.components)) for stack in spec.stacks]
        self.block_of = np.repeat(np.arange(spec.blocks), [width for blocks, width in widths for _ in range(blocks)])
        """Of each cell of a row its block, counted over all stacks, and its component, likewise."""
        starts = np.cumsum([0, *(width for _, width in widths)])
        self.component_of = np.concatenate(
            [np.tile(np.arange(width) + start, blocks) for (blocks, width), start in zip(widths, starts, strict=False)]
        )


class _Worth(NamedTuple):
    """What painting a cell is worth, [steps, cells of a row]: once recomputed, once reused."""

    recomputed: Array
    reused: Array

    def gains(self, grid: _Grid, patterns: Array, steps: Array) -> Array:
        """For each pattern and set of steps (rows of two arrays) what each cell of a row is worth there."""
        wants = grid.patterns[patterns]
        return np.asarray(
            (steps & wants).astype(np.float32) @ self.recomputed + (steps & ~wants).astype(np.float32) @ self.reused
        )

    def best_cells(self, grid: _Grid, patterns: Array, steps: Array) -> tuple[Array, Array]:
        """For each pattern and set of steps (rows of two arrays) the cells worth most together, and that worth."""
        gains = self.gains(grid, patterns, steps)
        total = np.zeros((len(patterns), len(grid.phrases)), np.float32)
        of_blocks: list[Array] = []
        for (where, blocks, width), sets, local_of in zip(grid.stacks, grid.local_sets, grid.local_of, strict=True):
            gain = (gains[:, where].reshape(-1, width) @ sets).reshape(len(patterns), blocks, -1)
            # A product with ones is a sum, ten times faster.
            total += (np.ones(blocks, np.float32) @ np.maximum(gain, 0))[:, local_of]
            of_blocks.append(gain)
        chosen, each = total.argmax(1), np.arange(len(patterns))
        cells = np.zeros(gains.shape, bool)
        for (where, _, _), sets, local_of, gain in zip(
            grid.stacks, grid.local_sets, grid.local_of, of_blocks, strict=True
        ):
            local = local_of[chosen]
            in_blocks = gain[each, :, local] > 0
            cells[:, where] = (in_blocks[:, :, None] & (sets.T[local][:, None, :] > 0)).reshape(len(each), -1)
        return cells, total[each, chosen]

    def best_steps(self, grid: _Grid, patterns: Array, cells: Array) -> Array:
        """For each pattern and set of cells (rows of two arrays) the steps worth most; those worth nothing as well."""
        wide = cells.astype(np.float32)
        gains = np.where(grid.patterns[patterns], wide @ self.recomputed.T, wide @ self.reused.T)
        return np.asarray(gains >= 0)


class _Search:
    """Boxes are in painter's order here: a later one is painted over those before it."""

    _PEEL_WORTHS = (0.0, 1 / 64, 1 / 8, 1 / 4, 1 / 2, 1.0)
    """What a recomputed cell may count in a peel, against 1 for a reused one. Little finds rules that reuse, much
    finds exceptions to them."""
    _TIES = (0.0, 1 / 64, 3 / 64, 13 / 64)
    """What painting a cell as it would be anyway may count in an exchange."""
    _STARTS = 32
    _FOLLOWED = 12
    """Starts that are followed to their end; the others are weeded out by their first worth."""
    _ROUNDS = 30
    """Exchanges at effort 1 to become one box shorter, times the square of the number of boxes."""
    _MOST_ROUNDS = 10_000
    """Exchanges at effort 1 in all."""

    def __init__(self, grid: _Grid, random: np.random.Generator) -> None:
        self._grid = grid
        self._random = random

    def run(self, effort: float, progress: Callable[[float], object]) -> list[_Box]:
        """The boxes of a short program."""
        boxes = min((self._peel(worth) for worth in self._PEEL_WORTHS), key=len)
        most = round(effort * self._MOST_ROUNDS)
        rounds = (progress(done / most) for done in range(most))
        while len(boxes) > 1:
            shorter = self._shortened(boxes, islice(rounds, round(effort * self._ROUNDS * len(boxes) ** 2)))
            if shorter is None:
                break
            boxes = shorter
        return boxes

    def _peel(self, recompute_worth: float) -> list[_Box]:
        """Boxes that explain everything, each found below those found before; none paints a visible cell wrong."""
        target = self._grid.target
        boxes: list[_Box] = []
        while self._wrong(boxes).any():
            visible = ~self._covered(boxes)
            recomputed = np.where(target, recompute_worth, _FORBIDDEN) * visible
            reused = np.where(target, _FORBIDDEN, 1) * visible
            boxes.insert(0, self._best(_worth(recomputed, reused)))
        return boxes

    def _shortened(self, boxes: list[_Box], rounds: Iterable[object]) -> list[_Box] | None:
        """As good with one box fewer; None if one exchange for each of ``rounds`` doesn't lead there.

        A box is taken out, which leaves cells wrong. Then single boxes are exchanged for better ones. Where that gets
        stuck, the cells that are still wrong count more from there on, which moves the search out of its dead end.
        """
        boxes = self._without_one(boxes)
        count = np.ones(self._grid.target.shape)
        wrong = self._wrong(boxes)
        cost = lowest = float(count[wrong].sum())
        stale = 0
        for _ in rounds:
            if not wrong.any():
                break
            candidate = self._exchanged(boxes, count)
            its_wrong = self._wrong(candidate)
            its_cost = float(count[its_wrong].sum())
            # Slightly worse ones are taken now and then, the sooner the more is wrong anyway.
            if its_cost <= cost or self._random.random() < np.exp((cost - its_cost) / (1 + cost / 20)):
                boxes, wrong, cost = candidate, its_wrong, its_cost
            stale += 1
            if its_cost < lowest:
                lowest, stale = its_cost, 0
            elif stale > 2 * len(boxes) + 4:
                count[wrong] *= 1.5
                # In steps of 1/64, sums of such numbers are exact in any order, and the search is the same everywhere.
                count = np.round(64 * count / count.mean()) / 64
                cost = lowest = float(count[wrong].sum())
                stale = 0
        return None if wrong.any() else boxes

    def _without_one(self, boxes: list[_Box]) -> list[_Box]:
        """One box is taken out: one that is not missed, else one of those that are missed least."""
        rests = [boxes[:index] + boxes[index + 1 :] for index in range(len(boxes))]
        missed = [int(self._wrong(rest).sum()) for rest in rests]
        order = np.argsort(missed, kind="stable")
        rank = min(int(self._random.geometric(0.5)), len(rests)) - 1 if min(missed) else 0
        return rests[order[rank]]

    def _exchanged(self, boxes: list[_Box], count: Array) -> list[_Box]:
        """With one box taken out, and the best one for its place, or for another, put in."""
        random = self._random
        index = int(random.integers(len(boxes)))
        known = boxes[index] if random.random() < 0.7 else None
        rest = boxes[:index] + boxes[index + 1 :]
        if random.random() < 0.5:
            index = int(random.integers(len(boxes)))
        below, above = rest[:index], rest[index:]
        tie = self._TIES[random.integers(len(self._TIES))]
        target, before, visible = self._grid.target, self._painted(below), ~self._covered(above)
        gain = np.where(before == target, tie, 1 + tie) * count * visible
        loss = -np.where(before == target, 1 + tie, tie) * count * visible
        found = self._best(_worth(np.where(target, gain, loss), np.where(target, loss, gain)), known)
        return [*below, found, *above]

    def _best(self, worth: _Worth, known: _Box | None = None) -> _Box:
        """The box worth most, give or take a little; from many starts best cells and best steps take turns."""
        grid = self._grid
        patterns, steps = self._starts(worth)
        if known is not None:
            patterns, steps = np.append(patterns, known.pattern), np.vstack([steps, known.steps])
        _, worths = worth.best_cells(grid, patterns, steps)
        followed = np.argsort(-worths, kind="stable")[: self._FOLLOWED]
        if known is not None and len(patterns) - 1 not in followed:
            followed = np.append(followed, len(patterns) - 1)
        patterns, steps, worths = patterns[followed], steps[followed], worths[followed]
        cells, _ = worth.best_cells(grid, patterns, steps)
        while True:
            steps = worth.best_steps(grid, patterns, cells)
            cells, more = worth.best_cells(grid, patterns, steps)
            if not (more > worths + 1e-4).any():
                break
            worths = more
        best = int((more * (1 - 0.02 * self._random.random(len(more)))).argmax())
        return _Box(int(patterns[best]), steps[best], cells[best])

    def _starts(self, worth: _Worth) -> tuple[Array, Array]:
        """Patterns and sets of steps: whole patterns, what suits single columns of cells, and windows."""
        grid, random = self._grid, self._random
        everything = np.ones((len(grid.patterns), grid.steps), bool)
        gains = worth.gains(grid, np.arange(len(grid.patterns)), everything)
        order = np.argsort(-np.maximum(gains, 0).sum(1), kind="stable")
        likely = np.concatenate([[REUSED] * 6, [RECOMPUTED] * 4, order[:12]])
        patterns = likely[random.integers(len(likely), size=self._STARTS)]
        useful = np.flatnonzero((np.maximum(worth.recomputed, worth.reused) > 0.5).any(0))
        if not len(useful):
            useful = np.arange(worth.reused.shape[1])
        columns = useful[random.integers(len(useful), size=self._STARTS)]
        suits = np.where(grid.patterns[patterns], worth.recomputed.T[columns], worth.reused.T[columns])
        # Half of them with the steps at which little is at stake.
        steps = suits > np.where(random.random(self._STARTS) < 0.5, 0, -0.5)[:, None]
        first, last = np.sort(random.integers(grid.steps, size=(2, self._STARTS)), axis=0)[:, :, None]
        window = (np.arange(grid.steps) >= first) & (np.arange(grid.steps) <= last)
        steps = np.where(random.random(self._STARTS)[:, None] < 0.3, window, steps)
        return np.concatenate([order[:8], patterns]), np.vstack([everything[:8], steps])

    def _wrong(self, boxes: list[_Box]) -> Array:
        return np.asarray(self._painted(boxes) != self._grid.target)

    def _painted(self, boxes: list[_Box]) -> Array:
        canvas = np.ones_like(self._grid.target)
        for box in boxes:
            canvas[np.ix_(box.steps, box.cells)] = self._grid.patterns[box.pattern][box.steps, None]
        canvas[0] = self._grid.target[0]
        return canvas

    def _covered(self, boxes: list[_Box]) -> Array:
        """Cells at which a rule below these does not show. Whatever rules say, step 0 is recomputed."""
        covered = np.zeros_like(self._grid.target)
        covered[0] = True
        for box in boxes:
            covered |= box.steps[:, None] & box.cells
        return covered


def _worth(recomputed: Array, reused: Array) -> _Worth:
    """In single precision: products of such matrices are what the search spends its time on."""
    return _Worth(recomputed.astype(np.float32), reused.astype(np.float32))


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
        steps, cells = np.asarray(must.any(1)), np.asarray(must.any(0))
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
        when = self._steps(pattern, steps, np.asarray(fits[:, cells].all(1)))
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
