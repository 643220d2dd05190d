"""The tree of one statement, built while Lark parses it. One method for each rule of the grammar, of the same name.

A method gets the parts of its rule: the tokens (keywords too: the places of nodes hang on them), and in place of each
smaller rule what its method has returned. Lark is not typed, so parts are ``Any``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, NoReturn, TypeAlias

from ecad_dsl.language import tree
from ecad_dsl.language.diagnostics import Diagnostic, Fix, Severity
from ecad_dsl.language.text import Span

_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}

Parts: TypeAlias = list[Any]
Unplaced: TypeAlias = Callable[..., tree.Statement]
"""A statement that still wants its ``span`` and the comments ``above`` and ``beside`` it, which Lark never sees."""


class MistakeError(Exception):
    """Carries the diagnostics of a statement up to the parser, which goes on with the next one."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__(*diagnostics)
        self.diagnostics = diagnostics


class Builder:
    """What Lark calls. It has no state, so that threads can share it."""

    # Statements.

    def model(self, parts: Parts) -> Unplaced:
        _, name = parts
        return partial(tree.Model, str(name), name_span=_span(name))

    def steps(self, parts: Parts) -> Unplaced:
        return partial(tree.Steps, _int(parts[1]))

    def meta(self, parts: Parts) -> Unplaced:
        _, key, value = parts
        return partial(tree.Meta, key, value)

    def let(self, parts: Parts) -> Unplaced:
        name, value = parts[1], parts[-1]
        return partial(tree.Let, str(name), value, name_span=_span(name))

    def rule(self, parts: Parts) -> Unplaced:
        action, components, *clauses = parts
        given: dict[str, Any] = {}
        again: list[Diagnostic] = []
        for clause in clauses:
            if isinstance(clause, str):
                continue  # `in` or `at`
            kind = "blocks" if isinstance(clause, tuple) else "every" if isinstance(clause, tree.Every) else "steps"
            if kind in given:
                help_ = "join the two into one, or write two rules"
                again.append(_error("E109", f"the rule says twice {_SAYS[kind]}", _span(clause), help_))
            given[kind] = clause
        if again:
            raise MistakeError(*again)
        return partial(tree.Rule, tree.Action(str(action)), components, **given)

    # Components, blocks and steps.

    def components(self, parts: Parts) -> tree.Components:
        names, excluded = parts[0], parts[2] if len(parts) > 1 else ()
        spans = tuple(map(_span, (*names, *excluded)))
        span = Span(spans[0].start, spans[-1].stop)
        return tree.Components(tuple(map(str, names)), tuple(map(str, excluded)), name_spans=spans, span=span)

    def names(self, parts: Parts) -> Parts:
        return parts[::2]

    def blocks(self, parts: Parts) -> tuple[tree.BlockTerm, ...]:
        return tuple(parts[::2])

    def block_range(self, parts: Parts) -> tree.BlockRange:
        *stack, _, items = parts
        return tree.BlockRange(items, _stack(stack), span=_span(*parts))

    def all_blocks(self, parts: Parts) -> tree.AllBlocks:
        stack = parts[1:-1] if parts[0].type == "ALL" else parts[:-1]
        return tree.AllBlocks(_stack(stack), span=_span(*parts))

    def first_blocks(self, parts: Parts) -> tree.FirstBlocks:
        _, count, *stack, _ = parts
        return tree.FirstBlocks(_int(count), _stack(stack), span=_span(*parts))

    def last_blocks(self, parts: Parts) -> tree.LastBlocks:
        _, count, *stack, _ = parts
        return tree.LastBlocks(_int(count), _stack(stack), span=_span(*parts))

    def even_blocks(self, parts: Parts) -> tree.EvenBlocks:
        return tree.EvenBlocks(_stack(parts[1:-1]), span=_span(*parts))

    def odd_blocks(self, parts: Parts) -> tree.OddBlocks:
        return tree.OddBlocks(_stack(parts[1:-1]), span=_span(*parts))

    def stack(self, parts: Parts) -> Any:
        return parts[0]  # a token, for its place

    def step_range(self, parts: Parts) -> tree.StepRange:
        return tree.StepRange(parts[1], span=_span(*parts))

    def first_steps(self, parts: Parts) -> tree.FirstSteps:
        return tree.FirstSteps(_int(parts[1]), span=_span(*parts))

    def last_steps(self, parts: Parts) -> tree.LastSteps:
        return tree.LastSteps(_int(parts[1]), span=_span(*parts))

    def even_steps(self, parts: Parts) -> tree.EvenSteps:
        return tree.EvenSteps(span=_span(*parts))

    def odd_steps(self, parts: Parts) -> tree.OddSteps:
        return tree.OddSteps(span=_span(*parts))

    def from_to(self, parts: Parts) -> tree.FromTo:
        _, _, start, *stop = parts
        return tree.FromTo(_bound(start), _bound(stop[-1]) if stop else None, span=_span(*parts))

    def to(self, parts: Parts) -> tree.FromTo:
        return tree.FromTo(None, _bound(parts[-1]), span=_span(*parts))

    def name(self, parts: Parts) -> tree.Name:
        return tree.Name(str(parts[0]), span=_span(*parts))

    def every(self, parts: Parts) -> tree.Every:
        offset = _int(parts[-1]) if len(parts) > 3 else 0
        return tree.Every(_int(parts[1]), offset, span=_span(*parts))

    def items(self, parts: Parts) -> tuple[tree.Range, ...]:
        return tuple(parts[::2])

    def item(self, parts: Parts) -> tree.Range:
        start = _bound(parts[0])
        last = _bound(parts[2]) if len(parts) > 1 else start
        by = _int(parts[4]) if len(parts) > 3 else 1
        return tree.Range(start, last, by, span=_span(*parts))

    # Metadata.

    def key(self, parts: Parts) -> str:
        return str(parts[0])

    def value(self, parts: Parts) -> str | int | float:
        (value,) = parts
        return _unquoted(value) if isinstance(value, str) else value

    def number(self, parts: Parts) -> int | float:
        *sign, digits = parts
        value = _int(digits) if digits.type == "INT" else float(digits)
        if math.isinf(value):
            _too_large(digits)
        return -value if sign else value


_SAYS = {"blocks": "in which blocks", "every": "how often", "steps": "at which steps"}


def _stack(parts: Parts) -> str | None:
    if not parts:
        return None
    return "blocks" if parts[0].type == "BLOCKS" else str(parts[0])


def _bound(token: Any) -> tree.Bound:
    if token.type == "PERCENT":
        if len(token) > tree.MAX_DIGITS:
            _too_large(token)
        return tree.Percent(Decimal(token[:-1]))
    return _int(token)


def _int(token: Any) -> int:
    if len(token) > tree.MAX_DIGITS:
        _too_large(token)
    return int(token)


def _too_large(token: Any) -> NoReturn:
    _fail("E111", "the number has too many digits", _span(token))


def _unquoted(token: Any) -> str:
    def unescape(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            at = token.start_pos + 1 + match.start()
            help_ = 'write a backslash as `\\\\`; the others are `\\"`, `\\n` and `\\t`'
            message = f"`{match[0]}` means nothing in a text in quotes"
            _fail("E110", message, Span(at, at + 2), help_, Fix(Span(at, at), "\\"))
        return _ESCAPES[match[1]]

    return _ESCAPE.sub(unescape, token[1:-1])


def _span(*parts: Any) -> Span:
    """From the first part to the last: tokens, nodes, or tuples of nodes."""
    first, last = parts[0], parts[-1]
    if isinstance(first, tuple):
        first = first[0]
    if isinstance(last, tuple):
        last = last[-1]
    start = first.span.start if hasattr(first, "span") else first.start_pos
    return Span(start, last.span.stop if hasattr(last, "span") else last.end_pos)


def _fail(code: str, message: str, span: Span, help_: str | None = None, fix: Fix | None = None) -> NoReturn:
    raise MistakeError(_error(code, message, span, help_, fix))


def _error(code: str, message: str, span: Span, help_: str | None = None, fix: Fix | None = None) -> Diagnostic:
    return Diagnostic(code, Severity.ERROR, message, span, None, help_, fix=fix)
