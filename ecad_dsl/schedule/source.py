"""Programs as the user meets them: read from text or a file, and written with the model's own names."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path

from ecad_dsl import language, schedules
from ecad_dsl.errors import EcadError
from ecad_dsl.files import read_start
from ecad_dsl.language import tree
from ecad_dsl.language.parser import MAX_BYTES
from ecad_dsl.models import ModelSpec, load_spec, spec_names
from ecad_dsl.schedule.interchange import holds_masks

parse = language.parse


def load(path: str | PathLike[str]) -> tree.Program:
    """The program in a file, or the schedule of the library that is called so (``fora-3``).

    Raises:
        EcadError: the file cannot be read, or holds masks; there is neither such a file nor such a schedule.
        ScheduleSyntaxError: it holds no program.
    """
    return parse(read_bytes(path), str(path))


def read_bytes(path: str | PathLike[str]) -> bytes:
    """The text of a program in a file or, where there is no such file, in the library.

    Of a file that is too large for a program only so much is read that the parser will refuse it.

    Raises:
        EcadError: the file cannot be read, or holds masks; there is neither such a file nor such a schedule.
    """
    if is_in_library(path):
        return schedules.text(str(path)).encode()
    if holds_masks(path):
        raise EcadError(f"{path} holds masks, not a program; `ecad show` and `ecad compile` read it")
    return read_start(path, MAX_BYTES + 1)


def is_in_library(path: str | PathLike[str]) -> bool:
    """Whether this is no file but the name of a schedule in the library. A file that is called so goes first.

    Raises:
        EcadError: it looks like such a name, and there is neither; the message says which comes closest.
    """
    name = str(path)
    if not language.tree.NAME.fullmatch(name) or name.endswith(_SUFFIXES) or Path(name).exists():
        return False
    if name in schedules.names():
        return True
    help_ = schedules.closest(name) or "ecad schedules list says which there are"
    raise EcadError(f"there is no file {name}, and no schedule of the library is called so; {help_}")


_SUFFIXES = (".ecad", ".json", ".safetensors")


def format(program: tree.Program) -> str:
    """The canonical text of a program. Aliases become the model's own names if the program names a known model."""
    if program.model in spec_names():
        program = rewrite_aliases(program, load_spec(program.model))
    return language.format(program)


def rewrite_aliases(program: tree.Program, spec: ModelSpec) -> tree.Program:
    """The same program with the spec's own names in place of aliases, wherever that keeps its meaning."""
    names = _Names(program, spec)
    return replace(program, statements=tuple(map(names.rewrite, program.statements)))


class _Names:
    def __init__(self, program: tree.Program, spec: ModelSpec) -> None:
        self._spec = spec
        self._bound = {s.name for s in program.statements if isinstance(s, tree.Let)}

    def rewrite(self, statement: tree.Statement) -> tree.Statement:
        if isinstance(statement, tree.Rule):
            return self._rule(statement)
        if isinstance(statement, tree.Let) and isinstance(statement.value, tree.Components):
            return replace(statement, value=self._renamed(statement.value, frozenset()))
        return statement

    def _rule(self, rule: tree.Rule) -> tree.Rule:
        """An alias of one stack's component needs that stack said, where the component's name means others too."""
        if rule.blocks is not None:
            named = {None if isinstance(term, tree.Name) else term.stack for term in rule.blocks}
            return replace(rule, components=self._renamed(rule.components, frozenset(named)))
        renamed = self._renamed(rule.components, frozenset())
        stacks = self._stacks(rule.components)
        scoped = self._renamed(rule.components, frozenset(stacks))
        if scoped == renamed or len(stacks) != 1:
            return replace(rule, components=renamed)
        return replace(rule, components=scoped, blocks=tuple(tree.AllBlocks(stack) for stack in stacks))

    def _stacks(self, components: tree.Components) -> set[str]:
        """The stacks in which the names select anything; all of them for a name bound in the program."""
        every = {stack.name for stack in self._spec.stacks}
        selections = [None if name in self._bound else self._spec.select(name) for name in components.names]
        return set().union(*(every if chosen is None else chosen for chosen in selections))

    def _renamed(self, components: tree.Components, scope: frozenset[str | None]) -> tree.Components:
        names = tuple(dict.fromkeys(self._official(name, scope) for name in components.names))
        excluded = tuple(dict.fromkeys(self._official(name, scope) for name in components.excluded))
        if (names, excluded) == (components.names, components.excluded):
            return components
        return tree.Components(names, excluded, span=components.span)

    def _official(self, name: str, scope: frozenset[str | None]) -> str:
        """The component's own name if it selects the same cells within these stacks; no stacks stand for all."""
        official = self._spec.official_name(name)
        if official is None or name in self._bound:
            return name
        mine, theirs = self._spec.select(name) or {}, self._spec.select(official) or {}
        if mine == theirs:
            return official
        if not scope or None in scope:
            return name
        same = all(mine.get(stack) == theirs.get(stack) for stack in scope if stack is not None)
        return official if same else name
