"""Tree to text: the one canonical text of a program."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

from ecad_dsl.language import tree

WIDTH = 100
"""Longer statements are continued on the next line, where the language allows it."""

Part: TypeAlias = tree.Range | tree.Every | tree.StepSelector | tree.BlockTerm

_INDENT = " " * 4
_BREAK = re.compile(r"(?<=,) |(?<= and) ")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"})


def format(program: tree.Program) -> str:
    """The canonical text of a program, its comments kept. Empty for an empty program."""
    lines: list[str] = []
    for statement in program.statements:
        _add_comments(lines, statement.above)
        text = _wrap(_chunks(statement))
        lines.append(f"{text}  {_comment(statement.beside)}" if statement.beside else text)
    _add_comments(lines, program.below)
    while lines and not lines[-1]:
        lines.pop()
    return "".join(line + "\n" for line in lines)


def format_statement(statement: tree.Statement) -> str:
    """One statement on one line, without its comments."""
    return " ".join(_chunks(statement))


def format_part(node: Part) -> str:
    """The canonical text of a part of a statement."""
    match node:
        case tree.Range():
            return _range(node)
        case tree.Every():
            offset = f" offset {node.offset}" if node.offset else ""
            return f"every {_counted(node.period, 'step')}{offset}"
        case (
            tree.StepRange() | tree.FirstSteps() | tree.LastSteps() | tree.EvenSteps() | tree.OddSteps() | tree.FromTo()
        ):
            return _steps(node)
        case _:
            return _block_term(node)


def _add_comments(lines: list[str], comments: Iterable[str]) -> None:
    for comment in comments:
        if comment:
            lines.append(_comment(comment))
        elif lines and lines[-1]:
            lines.append("")


def _comment(text: str) -> str:
    text = tree.UNPRINTABLE.sub(" ", text.replace("\n", " ")).rstrip()
    return text if text.startswith("#") else f"# {text}"


def _wrap(chunks: list[str]) -> str:
    """Fill lines with chunks; a line may break between any two."""
    lines = [chunks[0]]
    for chunk in chunks[1:]:
        if len(lines[-1]) + 1 + len(chunk) <= WIDTH:
            lines[-1] += " " + chunk
        else:
            lines.append(_INDENT + chunk)
    return "\n".join(lines)


def _chunks(statement: tree.Statement) -> list[str]:
    """The text of a statement, cut where it may continue on the next line."""
    match statement:
        case tree.Model():
            return [f"model {statement.name}"]
        case tree.Steps():
            return [f"steps {statement.count}"]
        case tree.Meta():
            return [f"meta {statement.key} {_literal(statement.value)}"]
        case tree.Let():
            return _BREAK.split(f"let {statement.name} = {_let_value(statement.value)}")
        case tree.Rule():
            return [chunk for clause in _clauses(statement) for chunk in _BREAK.split(clause)]
    raise TypeError(f"not a statement: {statement!r}")


def _clauses(rule: tree.Rule) -> Iterable[str]:
    yield f"{rule.action.value} {_components(rule.components)}"
    if rule.blocks is not None:
        yield f"in {_blocks(rule.blocks)}"
    if rule.every is not None:
        yield format_part(rule.every)
    if isinstance(rule.steps, tree.FromTo):
        yield _steps(rule.steps)
    elif rule.steps is not None:
        yield f"at {_steps(rule.steps)}"


def _let_value(value: tree.Components | tuple[tree.BlockTerm, ...] | tree.StepSelector) -> str:
    if isinstance(value, tree.Components):
        return f"components {_components(value)}"
    return _blocks(value) if isinstance(value, tuple) else _steps(value)


def _components(components: tree.Components) -> str:
    names = ", ".join(components.names)
    return f"{names} except {', '.join(components.excluded)}" if components.excluded else names


def _blocks(terms: tuple[tree.BlockTerm, ...]) -> str:
    return " and ".join(map(_block_term, terms))


def _block_term(term: tree.BlockTerm) -> str:  # noqa: PLR0911 (one for each construct)
    if isinstance(term, tree.Name):
        return term.name
    noun = f"{term.stack} block" if term.stack else "block"
    match term:
        case tree.BlockRange(items=items):
            return _items(items, noun)
        case tree.AllBlocks():
            return f"all {noun}s"
        case tree.FirstBlocks(count=count):
            return f"first {_counted(count, noun)}"
        case tree.LastBlocks(count=count):
            return f"last {_counted(count, noun)}"
        case tree.EvenBlocks():
            return f"even {noun}s"
        case tree.OddBlocks():
            return f"odd {noun}s"


def _steps(selector: tree.StepSelector) -> str:  # noqa: PLR0911 (one for each construct)
    match selector:
        case tree.Name(name=name):
            return name
        case tree.StepRange(items=items):
            return _items(items, "step")
        case tree.FirstSteps(count=count):
            return f"first {_counted(count, 'step')}"
        case tree.LastSteps(count=count):
            return f"last {_counted(count, 'step')}"
        case tree.EvenSteps():
            return "even steps"
        case tree.OddSteps():
            return "odd steps"
        case tree.FromTo(start=None, stop=stop):
            return f"to step {stop}"
        case tree.FromTo(start=start, stop=None):
            return f"from step {start}"
        case tree.FromTo(start=start, stop=stop):
            return f"from step {start} to {stop}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _items(items: tuple[tree.Range, ...], noun: str) -> str:
    # A percentage stands for a share, which may hold many.
    one = len(items) == 1 and items[0].is_single and isinstance(items[0].first, int)
    return f"{noun if one else noun + 's'} {', '.join(map(_range, items))}"


def _range(item: tree.Range) -> str:
    if item.is_single:
        return str(item.first)
    by = f" by {item.by}" if item.by != 1 else ""
    return f"{item.first}-{item.last}{by}"


def _literal(value: str | int | float) -> str:
    return f'"{value.translate(_ESCAPES)}"' if isinstance(value, str) else repr(value)
