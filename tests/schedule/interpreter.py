"""A naive interpreter of programs: cell by cell, with fractions and sets, written from the language's page alone.

It shares nothing with the compiler but the tree and the model spec, and is as slow as it is plain.
"""

from __future__ import annotations

from fractions import Fraction

from ecad_dsl.language import (
    AllBlocks,
    BlockRange,
    BlockTerm,
    Bound,
    Components,
    EvenBlocks,
    EvenSteps,
    FirstBlocks,
    FirstSteps,
    FromTo,
    LastBlocks,
    LastSteps,
    Let,
    Name,
    OddBlocks,
    OddSteps,
    Percent,
    Program,
    Range,
    Rule,
    StepRange,
    StepSelector,
)
from ecad_dsl.models import ModelSpec

Cell = tuple[int, str, int, str]
"""Step, stack, block, component."""


class Interpreter:
    def __init__(self, program: Program, spec: ModelSpec, steps: int) -> None:
        self.program, self.spec, self.steps = program, spec, steps
        self.lets = {s.name: s.value for s in program.statements if isinstance(s, Let)}

    def recomputed(self) -> set[Cell]:
        every_cell = {
            (step, stack.name, block, component.name)
            for step in range(self.steps)
            for stack in self.spec.stacks
            for block in range(stack.blocks)
            for component in stack.components
        }
        result = set(every_cell)
        for rule in self.program.rules:
            steps = sorted(self.chosen_steps(rule.steps))
            for cell in every_cell:
                if cell[0] in steps and self.covers(rule, cell):
                    self.paint(rule, steps, cell, result)
        return result | {cell for cell in every_cell if cell[0] == 0}

    def paint(self, rule: Rule, steps: list[int], cell: Cell, result: set[Cell]) -> None:
        step, first = cell[0], steps[0]
        if rule.every is not None:
            due = (step - first - rule.every.offset) % rule.every.period == 0
        else:
            due = rule.action.value != "cache" or step == first
        match rule.action.value:
            case "cache":
                (result.add if due else result.discard)(cell)
            case "reuse" if due:
                result.discard(cell)
            case "recompute" if due:
                result.add(cell)

    def covers(self, rule: Rule, cell: Cell) -> bool:
        _, stack, block, component = cell
        in_blocks = rule.blocks is None or any(self.holds(term, stack, block) for term in rule.blocks)
        return in_blocks and self.means(rule.components, stack, component)

    def means(self, components: Components, stack: str, component: str) -> bool:
        def named(name: str) -> bool:
            if isinstance(self.lets.get(name), Components):
                return self.means(self.lets[name], stack, component)  # type: ignore[arg-type]
            if name in ("all", component):
                return True
            if name in self.spec.groups:
                return any(named(member) for member in self.spec.groups[name])
            official = next(s for s in self.spec.stacks if s.name == stack)
            return any(c.name == component and name in c.aliases for c in official.components)

        return any(map(named, components.names)) and not any(map(named, components.excluded))

    def holds(self, term: BlockTerm, stack: str, block: int) -> bool:  # noqa: PLR0911 (one for each construct)
        if isinstance(term, Name):
            terms = self.lets[term.name]
            assert isinstance(terms, tuple)
            return any(self.holds(other, stack, block) for other in terms)
        names = [s.name for s in self.spec.stacks]
        if term.stack is None:
            index = block + sum(s.blocks for s in self.spec.stacks[: names.index(stack)])
            count = sum(s.blocks for s in self.spec.stacks)
        elif term.stack == stack:
            index, count = block, self.spec.stacks[names.index(stack)].blocks
        else:
            return False
        match term:
            case BlockRange(items=items):
                return any(index in self.indices(item, count) for item in items)
            case AllBlocks():
                return True
            case FirstBlocks(count=first):
                return index < first
            case LastBlocks(count=last):
                return index >= count - last
            case EvenBlocks():
                return index % 2 == 0
            case OddBlocks():
                return index % 2 == 1

    def chosen_steps(self, selector: StepSelector | None) -> set[int]:  # noqa: PLR0911 (one for each construct)
        every = set(range(self.steps))
        match selector:
            case None:
                return every
            case Name(name=name):
                return self.chosen_steps(self.lets[name])  # type: ignore[arg-type]
            case StepRange(items=items):
                return {index for item in items for index in self.indices(item, self.steps)}
            case FirstSteps(count=count):
                return {step for step in every if step < count}
            case LastSteps(count=count):
                return {step for step in every if step >= self.steps - count}
            case EvenSteps():
                return {step for step in every if step % 2 == 0}
            case OddSteps():
                return {step for step in every if step % 2 == 1}
            case FromTo(start=start, stop=stop):
                return {
                    step
                    for step in every
                    if (start is None or self.reached(step, start, self.steps))
                    and (stop is None or self.not_beyond(step, stop, self.steps))
                }

    def indices(self, item: Range, count: int) -> list[int]:
        inside = [
            index
            for index in range(count)
            if self.reached(index, item.first, count) and self.not_beyond(index, item.last, count)
        ]
        return inside[:: item.by]

    @staticmethod
    def reached(index: int, bound: Bound, count: int) -> bool:
        if isinstance(bound, Percent):
            return Fraction(bound.value) <= 100 * (index + Fraction(1, 2)) / count
        return index >= bound

    @staticmethod
    def not_beyond(index: int, bound: Bound, count: int) -> bool:
        if isinstance(bound, Percent):
            return 100 * (index + Fraction(1, 2)) / count <= Fraction(bound.value)
        return index <= bound
