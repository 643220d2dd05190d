"""A program rewritten for another model, another number of steps, or both.

Blocks and steps keep their position (:mod:`ecad_dsl.schedule.position`), components their role. Periods and strides
stay as they are: `every 2 steps` is a share of the steps, and with the share the schedule keeps its speed-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ecad_dsl.errors import EcadError
from ecad_dsl.language import format_statement, tree
from ecad_dsl.models import ROLES, ModelSpec, Stack, load_spec
from ecad_dsl.schedule.compile import CompileError, check
from ecad_dsl.schedule.position import move_blocks, move_steps, step_axis
from ecad_dsl.schedule.resolve import Resolver
from ecad_dsl.schedule.sentences import listed


@dataclass(frozen=True)
class Note:
    """Something that could not be kept."""

    statement: tree.Statement
    """As it was."""
    line: int | None
    """Where it stands, counted from 1; None in a program that was not parsed."""
    text: str


def retarget(
    program: tree.Program,
    source: str | ModelSpec,
    target: str | ModelSpec,
    steps: int | None = None,
    to_steps: int | None = None,
) -> tuple[tree.Program, list[Note]]:
    """The program for ``target`` and ``to_steps``, and what could not be kept.

    Args:
        program: written for ``source``.
        source: the model that it was written for, or its name.
        target: the model that it is wanted for; a resized spec will do.
        steps: what it was written for, where the program does not say it. None leaves all steps as they are.
        to_steps: what it is wanted for; None for as many as before.

    The result has no mistakes on the target. Rules without anything left to select are dropped, comments are kept,
    and between equal models and steps the result equals the program.

    Raises:
        CompileError: the program has mistakes on the source, or the target has too many cells.
        EcadError: ``to_steps`` is given, and nobody says how many steps the program was written for.
    """
    source, target = (load_spec(model) if isinstance(model, str) else model for model in (source, target))
    steps = program.steps if steps is None else steps
    if to_steps is not None and steps is None:
        raise EcadError("the program does not say for how many steps it was written; say it: --steps N")
    to_steps = steps if to_steps is None else to_steps
    for found in (check(program, source, steps), check(tree.Program(), target, to_steps)):
        if any(diagnostic.is_error for diagnostic in found):
            raise CompileError(found)
    rewriter = _Rewriter(program, source, target, steps, to_steps)
    return rewriter.program(), rewriter.notes


class _Rewriter:
    _statement: tree.Statement
    """The one in hand."""

    def __init__(
        self, program: tree.Program, source: ModelSpec, target: ModelSpec, steps: int | None, to_steps: int | None
    ) -> None:
        self.notes: list[Note] = []
        self._program = program
        self._source, self._target = source, target
        self._roles = _Roles(source, target)
        self._steps = steps, to_steps
        self._axis = step_axis(steps, to_steps) if steps is not None and to_steps is not None else None
        # What selectors mean before and after; mistakes that they find have been, or will be, found by `check`.
        self._before = Resolver(program, source, steps)
        self._after = Resolver(program, target, to_steps)
        self._lets = {s.name: s for s in program.statements if isinstance(s, tree.Let)}
        self._kept: dict[str, tree.Let] = {}
        """The rewritten ``let`` of each name that still stands for something."""

    def program(self) -> tree.Program:
        statements: list[tree.Statement] = []
        comments: tuple[str, ...] = ()
        for statement in self._program.statements:
            self._statement = statement
            new = list(self._rewrite(statement))
            if new:
                new[0] = replace(new[0], above=comments + new[0].above)
                comments = ()
            else:
                comments += statement.above + ((statement.beside,) if statement.beside else ())
            statements += new
        return tree.Program(tuple(statements), below=comments + self._program.below)

    def _note(self, text: str) -> None:
        span, source = self._statement.span, self._program.source
        line = source.position(span.start).line if source is not None and span is not None else None
        note = Note(self._statement, line, text)
        if note not in self.notes:
            self.notes.append(note)

    def _rewrite(self, statement: tree.Statement) -> Iterable[tree.Statement]:
        match statement:
            case tree.Model():
                return [replace(statement, name=self._target.name)]
            case tree.Steps():
                return [replace(statement, count=self._steps[1] or statement.count)]
            case tree.Let():
                return self._let(statement)
            case tree.Rule():
                return list(self._rule(statement))
            case _:
                return [statement]

    # Names.

    def _let(self, let: tree.Let) -> list[tree.Let]:
        self._before.bind(let)
        value = self._value(let.value)
        if value is None:
            self._note(f"`{format_statement(let)}` is dropped: {self._target.title} has nothing for it")
            return []
        new = replace(let, name=self._free_name(let.name), value=value)
        if new.name != let.name:
            self._note(f"`{let.name}` is now `{new.name}`: on {self._target.title} the name is taken")
        self._after.bind(new)
        self._kept[let.name] = new
        return [new]

    def _value(
        self, value: tree.Components | tuple[tree.BlockTerm, ...] | tree.StepSelector
    ) -> tree.Components | tuple[tree.BlockTerm, ...] | tree.StepSelector | None:
        match value:
            case tree.Components():
                bits = 0
                for stack in self._source.stacks:
                    bits |= self._image(value, stack)
                return self._components(value, bits) if bits or self._roles.family else None
            case tuple():
                return self._blocks(value)
            case tree.Name():
                return self._name(value)
            case _:
                return self._selector(value)

    def _free_name(self, name: str) -> str:
        """The name of a ``let``, changed where it names components of the target."""
        taken = {*self._lets, *self._target.names}
        if self._target.select(name) is None:
            return name
        return next(new for number in range(2, len(taken) + 3) if (new := f"{name}-{number}") not in taken)

    def _name(self, node: tree.Name) -> tree.Name | None:
        let = self._kept.get(node.name)
        return replace(node, name=let.name) if let is not None else None

    # Rules.

    def _rule(self, rule: tree.Rule) -> Iterator[tree.Rule]:
        parts = list(self._parts(rule))
        steps = self._selector(rule.steps) if rule.steps is not None else None
        if not parts or (steps is None and rule.steps is not None):
            self._note(f"`{format_statement(rule)}` is dropped: {self._target.title} has nothing for it")
            return
        if len(parts) > 1:
            self._note(f"one rule becomes {len(parts)}, since its components differ from stack to stack")
        every = self._every(rule, steps)
        for number, (components, blocks) in enumerate(parts):
            new = replace(rule, components=components, blocks=blocks, every=every, steps=steps)
            yield replace(new, above=(), beside=None) if number else new

    def _parts(self, rule: tree.Rule) -> Iterator[tuple[tree.Components, tuple[tree.BlockTerm, ...] | None]]:
        """Components and blocks of the rules that one rule becomes. Stacks with different components part ways."""
        if self._roles.family:
            blocks = self._blocks(rule.blocks) if rule.blocks is not None else None
            if blocks is not None or rule.blocks is None:
                yield self._components(rule.components, 0), blocks
            return
        cells = self._before.blocks(rule.blocks) if rule.blocks is not None else -1
        scope = [stack for stack in self._source.stacks if cells & _stack_bits(stack, self._source)]
        images = {stack.name: self._image(rule.components, stack) for stack in scope}
        self._report_losses(rule, scope)
        for image in dict.fromkeys(filter(None, images.values())):
            stacks = [stack for stack in scope if images[stack.name] == image]
            if len(stacks) == len(scope):
                blocks = self._blocks(rule.blocks) if rule.blocks is not None else None
            else:
                blocks = self._within(rule.blocks, cells, stacks)
            components = self._components(rule.components, image)
            found = self._after.blocks(blocks) if blocks is not None else -1
            if (blocks is not None or rule.blocks is None) and found & self._after.components(components):
                yield components, blocks

    def _every(self, rule: tree.Rule, steps: tree.StepSelector | None) -> tree.Every | None:
        """The period as it is; its offset lowered where it would never come round any more."""
        every = rule.every
        if every is None or not every.offset:
            return every
        before, after = self._before.steps(rule.steps), self._after.steps(steps)
        if not after or not _comes_round(every, before) or _comes_round(every, after):
            return every
        offset = (after[-1] - after[0]) % every.period
        self._note(f"the offset {every.offset} becomes {offset}, to come round within the steps that there are")
        return replace(every, offset=offset)

    # Components.

    def _image(self, node: tree.Components, stack: Stack) -> int:
        """Cells of the target, as bits of a row, of what the node selects in one stack of the source."""
        without = self._chosen(node.excluded, stack)
        bits = 0
        for name in node.names:
            let = self._lets.get(name)
            chosen = self._chosen((name,), stack)
            if let is not None and not without:
                bits |= self._image(self._meaning(let), stack)
            elif chosen & without or let is not None:
                bits |= self._roles.bits(self._component_names(chosen - without, stack))
            elif chosen:
                bits |= self._roles.bits([name])
        return bits

    def _meaning(self, let: tree.Let) -> tree.Components:
        value = let.value
        while isinstance(value, tree.Name):
            value = self._lets[value.name].value
        assert isinstance(value, tree.Components)
        return value

    def _chosen(self, names: Iterable[str], stack: Stack) -> set[int]:
        """Indices of the components of a stack of the source that the names select together."""
        chosen: set[int] = set()
        for name in names:
            if name in self._lets:
                node = self._meaning(self._lets[name])
                chosen |= self._chosen(node.names, stack) - self._chosen(node.excluded, stack)
            else:
                chosen.update((self._source.select(name) or {}).get(stack.name, ()))
        return chosen

    @staticmethod
    def _component_names(indices: Iterable[int], stack: Stack) -> list[str]:
        return [stack.components[index].name for index in sorted(indices)]

    def _components(self, node: tree.Components, bits: int) -> tree.Components:
        """The node in the target's words. They select ``bits``, where the words of the node cannot be kept."""
        names = self._renamed(node.names)
        if names:
            new = replace(node, names=names, excluded=self._renamed(node.excluded))
            if self._roles.family or self._after.components(new) == bits:
                return new if (new.names, new.excluded) != (node.names, node.excluded) else node
        return tree.Components(self._roles.spell(bits))

    def _renamed(self, names: Iterable[str]) -> tuple[str, ...]:
        result: list[str] = []
        for name in names:
            if name in self._lets:
                result += [self._kept[name].name] if name in self._kept else []
            else:
                result += [name] if self._roles.family else self._roles.counterparts(name)
        return tuple(result) if self._roles.family else tuple(dict.fromkeys(result))

    def _report_losses(self, rule: tree.Rule, scope: Sequence[Stack]) -> None:
        for stack in scope:
            chosen = self._chosen(rule.components.names, stack) - self._chosen(rule.components.excluded, stack)
            mine, image = self._component_names(chosen, stack), self._image(rule.components, stack)
            if not image:
                continue
            for name in mine:
                if not self._roles.counterparts(name) and "all" not in rule.components.names:
                    self._note(f"{self._target.title} has no counterpart of `{name}`")
            rest = set(range(len(stack.components))) - chosen
            along = [name for name in self._component_names(rest, stack) if self._roles.bits([name]) & image]
            if along:
                kept, others = (listed([f"`{name}`" for name in names]) for names in (mine, along))
                self._note(f"{self._target.title} does not tell {kept} from {others}: the rule now covers both")

    # Blocks and steps.

    def _blocks(self, terms: tuple[tree.BlockTerm, ...]) -> tuple[tree.BlockTerm, ...] | None:
        moved = tuple(new for term in terms if (new := self._term(term)) is not None)
        return moved or None

    def _term(self, term: tree.BlockTerm) -> tree.BlockTerm | None:
        if isinstance(term, tree.Name):
            return self._name(term)
        return move_blocks(term, self._source, self._target, self._note)

    def _within(
        self, terms: tuple[tree.BlockTerm, ...] | None, cells: int, stacks: Sequence[Stack]
    ) -> tuple[tree.BlockTerm, ...] | None:
        """What the terms select in some stacks of the source, as they are written if possible."""
        if terms is None:
            return self._blocks(tuple(tree.AllBlocks(stack.name) for stack in stacks))
        stack_of = [None if isinstance(term, tree.Name) else term.stack for term in terms]
        if None not in stack_of:
            names = {stack.name for stack in stacks}
            return self._blocks(tuple(t for t, name in zip(terms, stack_of, strict=True) if name in names))
        selected = [
            tree.BlockRange(tuple(_runs(cells, stack, self._source)), stack.name)
            for stack in stacks
            if cells & _stack_bits(stack, self._source)
        ]
        return self._blocks(tuple(selected))

    def _selector(self, selector: tree.StepSelector) -> tree.StepSelector | None:
        if isinstance(selector, tree.Name):
            return self._name(selector)
        return move_steps(selector, self._axis, self._note) if self._axis is not None else selector


def _stack_bits(stack: Stack, spec: ModelSpec) -> int:
    blocks = spec.blocks_of(stack.name)
    assert blocks is not None
    return spec.block_bits(blocks)


def _runs(cells: int, stack: Stack, spec: ModelSpec) -> Iterator[tree.Range]:
    """The blocks of a stack that hold some of the cells, as ranges."""
    width, offset = len(stack.components), spec.offsets[stack.name]
    first: int | None = None
    for block in range(stack.blocks + 1):
        inside = block < stack.blocks and cells >> offset + block * width & (1 << width) - 1
        if inside and first is None:
            first = block
        elif not inside and first is not None:
            yield tree.Range(first, block - 1)
            first = None


def _comes_round(every: tree.Every, steps: Sequence[int]) -> bool:
    return any((step - steps[0] - every.offset) % every.period == 0 for step in steps)


class _Roles:
    """Which names of the target stand for a name of the source: the same name, or else that of its role."""

    def __init__(self, source: ModelSpec, target: ModelSpec) -> None:
        self._source, self._target = source, target
        self.family = source.is_family_of(target) and all(
            source.select(name) == target.select(name) for name in source.names
        )
        """Whether every name means the same on both."""

    def counterparts(self, name: str) -> list[str]:
        official = self._source.official_name(name) or name
        if official == "all":
            return ["all"]
        if official in ROLES:
            return self._role(official)
        if official in self._target.component_names or official in self._target.groups:
            return [official]
        if official in self._source.groups:
            members = [self.counterparts(member) for member in self._source.groups[official]]
            return list(dict.fromkeys(name for names in members for name in names))
        mine = self._source.component_bits(official) or 0
        roles = (role for role in _FINEST_FIRST if mine & (self._source.component_bits(role) or 0))
        return next(filter(None, map(self._role, roles)), [])

    def _role(self, role: str) -> list[str]:
        """A role as one component of the target, if it is one; nothing for a role that is empty there."""
        bits = self._target.component_bits(role)
        if not bits:
            return []
        names = (name for name in self._target.component_names if self._target.component_bits(name) == bits)
        return [next(names, role)]

    def bits(self, names: Iterable[str]) -> int:
        """Cells of the target, as bits of a row, of the counterparts of the names."""
        bits = 0
        for name in names:
            for other in self.counterparts(name):
                bits |= self._target.component_bits(other) or 0
        return bits

    def spell(self, bits: int) -> tuple[str, ...]:
        """Names of the target for cells that whole names make up, the widest first."""
        chosen: list[str] = []
        for name in self._widest_first:
            own = self._target.component_bits(name) or 0
            if own & bits and not own & ~bits:
                chosen.append(name)
                bits &= ~own
        return tuple(chosen)

    @cached_property
    def _widest_first(self) -> list[str]:
        names = dict.fromkeys(("all", *self._target.component_names, *ROLES, *self._target.groups))
        return sorted(names, key=lambda name: -(self._target.component_bits(name) or 0).bit_count())


_FINEST_FIRST = ("self", "cross", "ffn", "attn")
