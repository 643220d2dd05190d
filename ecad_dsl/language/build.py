"""From Lark's tree of one statement to ours. One method for each rule of the grammar, of the same name."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any, NoReturn

from ecad_dsl.language import tree
from ecad_dsl.language.diagnostics import Diagnostic, Fix, Severity
from ecad_dsl.language.lines import Logical
from ecad_dsl.language.text import Source, Span

_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}


class MistakeError(Exception):
    """Carries the diagnostic of a statement up to the parser, which goes on with the next one."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic)
        self.diagnostic = diagnostic


class Builder:
    """Builds the statement of one logical line. Nodes of Lark are ``Any``: it is not typed."""

    def __init__(self, line: Logical, source: Source) -> None:
        self._line = line
        self._start = line.start
        self._source = source

    def build(self, node: Any) -> Any:
        return getattr(self, node.data)(node)

    # Statements.

    def model(self, node: Any) -> tree.Model:
        (name,) = _kept(node)
        return tree.Model(str(name), name_span=self._token_span(name), **self._layout())

    def steps(self, node: Any) -> tree.Steps:
        return tree.Steps(self._int(_kept(node)[0]), **self._layout())

    def meta(self, node: Any) -> tree.Meta:
        key, value = _kept(node)
        return tree.Meta(str(key.children[0]), self.build(value), **self._layout())

    def let(self, node: Any) -> tree.Let:
        name, value = _kept(node)
        return tree.Let(str(name), self.build(value), name_span=self._token_span(name), **self._layout())

    def rule(self, node: Any) -> tree.Rule:
        action, components, *clauses = _kept(node)
        given: dict[str, Any] = {}
        for clause in clauses:
            kind = clause.data if clause.data in ("blocks", "every") else "steps"
            if kind in given:
                self._fail(
                    "E109",
                    f"the rule says twice {_SAYS[kind]}",
                    self._span(clause),
                    help_="join the two into one, or write two rules",
                )
            given[kind] = self.build(clause)
        return tree.Rule(tree.Action(str(action.children[0])), self.build(components), **given, **self._layout())

    # Components, blocks and steps.

    def components(self, node: Any) -> tree.Components:
        names, *excluded = _kept(node)
        tokens = [*_names(names), *(token for other in excluded for token in _names(other))]
        words = tuple(map(str, tokens))
        count = len(_names(names))
        spans = tuple(map(self._token_span, tokens))
        return tree.Components(words[:count], words[count:], name_spans=spans, span=self._span(node))

    def blocks(self, node: Any) -> tuple[tree.BlockTerm, ...]:
        return tuple(map(self.build, _kept(node)))

    def block_range(self, node: Any) -> tree.BlockRange:
        *stack, items = _kept(node)
        return tree.BlockRange(self.build(items), _stack(stack), span=self._span(node))

    def all_blocks(self, node: Any) -> tree.AllBlocks:
        return tree.AllBlocks(_stack(_kept(node)), span=self._span(node))

    def first_blocks(self, node: Any) -> tree.FirstBlocks:
        count, *stack = _kept(node)
        return tree.FirstBlocks(self._int(count), _stack(stack), span=self._span(node))

    def last_blocks(self, node: Any) -> tree.LastBlocks:
        count, *stack = _kept(node)
        return tree.LastBlocks(self._int(count), _stack(stack), span=self._span(node))

    def even_blocks(self, node: Any) -> tree.EvenBlocks:
        return tree.EvenBlocks(_stack(_kept(node)), span=self._span(node))

    def odd_blocks(self, node: Any) -> tree.OddBlocks:
        return tree.OddBlocks(_stack(_kept(node)), span=self._span(node))

    def step_range(self, node: Any) -> tree.StepRange:
        return tree.StepRange(self.build(_kept(node)[0]), span=self._span(node))

    def first_steps(self, node: Any) -> tree.FirstSteps:
        return tree.FirstSteps(self._int(_kept(node)[0]), span=self._span(node))

    def last_steps(self, node: Any) -> tree.LastSteps:
        return tree.LastSteps(self._int(_kept(node)[0]), span=self._span(node))

    def even_steps(self, node: Any) -> tree.EvenSteps:
        return tree.EvenSteps(span=self._span(node))

    def odd_steps(self, node: Any) -> tree.OddSteps:
        return tree.OddSteps(span=self._span(node))

    def from_to(self, node: Any) -> tree.FromTo:
        start, *stop = _kept(node)
        last = self._bound(stop[0]) if stop else None
        return tree.FromTo(self._bound(start), last, span=self._span(node))

    def to(self, node: Any) -> tree.FromTo:
        return tree.FromTo(None, self._bound(_kept(node)[0]), span=self._span(node))

    def name(self, node: Any) -> tree.Name:
        return tree.Name(str(_kept(node)[0]), span=self._span(node))

    def every(self, node: Any) -> tree.Every:
        period, *offset = _kept(node)
        return tree.Every(self._int(period), self._int(offset[0]) if offset else 0, span=self._span(node))

    def items(self, node: Any) -> tuple[tree.Range, ...]:
        return tuple(map(self.build, _kept(node)))

    def item(self, node: Any) -> tree.Range:
        first, *rest = _kept(node)
        start = self._bound(first)
        last = self._bound(rest[0]) if rest else start
        by = self._int(rest[1]) if len(rest) > 1 else 1
        return tree.Range(start, last, by, span=self._span(node))

    # Literals.

    def value(self, node: Any) -> str | int | float:
        (content,) = node.children
        return self._string(content) if _is_token(content) else self.number(content)

    def number(self, node: Any) -> int | float:
        *sign, digits = node.children
        value = self._int(digits) if digits.type == "INT" else float(digits)
        if math.isinf(value):
            self._too_large(digits)
        return -value if sign else value

    def _string(self, token: Any) -> str:
        def unescape(match: re.Match[str]) -> str:
            if match[1] not in _ESCAPES:
                at = self._start + token.start_pos + 1 + match.start()
                self._fail(
                    "E110",
                    f"`{match[0]}` means nothing in a text in quotes",
                    Span(at, at + 2),
                    help_='write a backslash as `\\\\`; the others are `\\"`, `\\n` and `\\t`',
                    fix=Fix(Span(at, at), "\\"),
                )
            return _ESCAPES[match[1]]

        return _ESCAPE.sub(unescape, token[1:-1])

    def _bound(self, token: Any) -> tree.Bound:
        if token.type == "PERCENT":
            if len(token) > tree.MAX_DIGITS:
                self._too_large(token)
            return tree.Percent(Decimal(token[:-1]))
        return self._int(token)

    def _int(self, token: Any) -> int:
        if len(token) > tree.MAX_DIGITS:
            self._too_large(token)
        return int(token)

    def _too_large(self, token: Any) -> NoReturn:
        self._fail("E111", "the number has too many digits", self._token_span(token))

    # Places.

    def _layout(self) -> dict[str, Any]:
        return {"span": self._line.span, "above": tuple(self._line.above), "beside": self._line.beside}

    def _span(self, node: Any) -> Span:
        return Span(self._start + _edge(node, 0).start_pos, self._start + _edge(node, -1).end_pos)

    def _token_span(self, token: Any) -> Span:
        return Span(self._start + token.start_pos, self._start + token.end_pos)

    def _fail(
        self, code: str, message: str, span: Span, *, help_: str | None = None, fix: Fix | None = None
    ) -> NoReturn:
        raise MistakeError(Diagnostic(code, Severity.ERROR, message, span, None, help_, self._source, fix))


_SAYS = {"blocks": "in which blocks", "every": "how often", "steps": "at which steps"}


# Tokens that say something by themselves; the others only hold a statement together, and matter for its spans.
_CONTENT = frozenset({"NAME", "INT", "PERCENT"})


def _is_token(child: Any) -> bool:
    return not hasattr(child, "children")


def _kept(node: Any) -> list[Any]:
    return [child for child in node.children if not _is_token(child) or child.type in _CONTENT]


def _names(node: Any) -> list[Any]:
    return [token for token in node.children if token.type != "COMMA"]


def _edge(node: Any, end: int) -> Any:
    """The first (0) or last (-1) token of a node. It is quicker to look than to let Lark propagate positions."""
    while not _is_token(node):
        node = node.children[end]
    return node


def _stack(nodes: list[Any]) -> str | None:
    return str(nodes[0].children[0]) if nodes else None
