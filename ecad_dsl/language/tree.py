"""The tree of a program: immutable, one class for each construct.

Nodes are equal when they mean the same text: source spans, comments and blank lines take no part in equality. They
are meant to be built by hand as well; whatever can be built can be formatted and parsed again. Whether it makes
sense for a model (does block 30 exist?) is for the compiler to say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import TypeAlias

from ecad_dsl.errors import EcadError
from ecad_dsl.language.text import Source, Span

STATEMENT_WORDS = ("model", "steps", "step", "meta", "let", "cache", "reuse", "recompute")
CLAUSE_WORDS = ("in", "every", "offset", "at", "from", "to", "and", "except")
"""Words with which an indented line continues the statement above it."""
KEYWORDS = frozenset(
    STATEMENT_WORDS
    + CLAUSE_WORDS
    + ("all", "block", "blocks", "by", "components", "even", "first", "last", "odd", "steps")
)
NAME = re.compile(r"[a-z_][a-z0-9_]*(?:[.-][a-z0-9_]+)*")
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""Characters that may stand nowhere in a program: control characters but for tab and line feed, lone surrogates."""
MAX_DIGITS = 18
"""The longest number of the language, its percent sign and point included."""
MAX_INT = 10**MAX_DIGITS - 1


class Action(StrEnum):
    """What a rule does with its cells."""

    CACHE = "cache"
    REUSE = "reuse"
    RECOMPUTE = "recompute"


@dataclass(frozen=True, slots=True)
class Node:
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Percent:
    """A bound as a share of what there is: ``Percent(25)``, ``Percent("12.5")``."""

    value: Decimal

    def __init__(self, value: Decimal | int | float | str) -> None:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
        if not number.is_finite() or number < 0:
            raise EcadError(f"a percentage must be a number from 0 to 100, not {value}")
        object.__setattr__(self, "value", number)
        if abs(number.adjusted()) > MAX_DIGITS or len(str(self)) > MAX_DIGITS:
            raise EcadError(f"a percentage may have {MAX_DIGITS - 2} digits at most, unlike {value}")

    def __str__(self) -> str:
        digits = f"{self.value:f}"
        return (digits.rstrip("0").rstrip(".") if "." in digits else digits) + "%"


Bound: TypeAlias = int | Percent


@dataclass(frozen=True, slots=True)
class Range(Node):
    """Indices first, first + by, ..., not beyond last. A single item has ``first == last``."""

    first: Bound
    last: Bound
    by: int = 1

    def __post_init__(self) -> None:
        _check_count(self.first)
        _check_count(self.last)
        _check_count(self.by)

    @classmethod
    def single(cls, item: Bound) -> Range:
        return cls(item, item)

    @property
    def is_single(self) -> bool:
        return self.first == self.last and self.by == 1

    @property
    def literals(self) -> int:
        """How many numbers it is made of."""
        return 1 if self.is_single else 2 + (self.by != 1)


@dataclass(frozen=True, slots=True)
class Components(Node):
    """The union of ``names`` (components, roles, groups, ``all``, bound names) without ``excluded``."""

    names: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    name_spans: tuple[Span, ...] = field(default=(), compare=False, repr=False)
    """Places of the names, then of the excluded names."""

    def __post_init__(self) -> None:
        if not self.names:
            raise EcadError("a rule needs at least one component")
        for name in self.names + self.excluded:
            if name != "all":
                check_name(name)

    def where(self, index: int) -> Span | None:
        """Place of the name with this index, counting the excluded names on."""
        return self.name_spans[index] if self.name_spans else self.span


# Block terms. Without a stack they count over all stacks in execution order.


@dataclass(frozen=True, slots=True)
class BlockRange(Node):
    items: tuple[Range, ...]
    stack: str | None = None

    def __post_init__(self) -> None:
        _check_items(self.items)
        _check_stack(self.stack)


@dataclass(frozen=True, slots=True)
class AllBlocks(Node):
    stack: str | None = None

    def __post_init__(self) -> None:
        _check_stack(self.stack)


@dataclass(frozen=True, slots=True)
class FirstBlocks(Node):
    count: int
    stack: str | None = None

    def __post_init__(self) -> None:
        _check_count(self.count)
        _check_stack(self.stack)


@dataclass(frozen=True, slots=True)
class LastBlocks(Node):
    count: int
    stack: str | None = None

    def __post_init__(self) -> None:
        _check_count(self.count)
        _check_stack(self.stack)


@dataclass(frozen=True, slots=True)
class EvenBlocks(Node):
    stack: str | None = None

    def __post_init__(self) -> None:
        _check_stack(self.stack)


@dataclass(frozen=True, slots=True)
class OddBlocks(Node):
    stack: str | None = None

    def __post_init__(self) -> None:
        _check_stack(self.stack)


@dataclass(frozen=True, slots=True)
class Name(Node):
    """Blocks or steps that a ``let`` has bound to a name."""

    name: str

    def __post_init__(self) -> None:
        check_name(self.name)


StackTerm: TypeAlias = BlockRange | AllBlocks | FirstBlocks | LastBlocks | EvenBlocks | OddBlocks
BlockTerm: TypeAlias = StackTerm | Name


# Step selectors.


@dataclass(frozen=True, slots=True)
class StepRange(Node):
    items: tuple[Range, ...]

    def __post_init__(self) -> None:
        _check_items(self.items)


@dataclass(frozen=True, slots=True)
class FirstSteps(Node):
    count: int

    def __post_init__(self) -> None:
        _check_count(self.count)


@dataclass(frozen=True, slots=True)
class LastSteps(Node):
    count: int

    def __post_init__(self) -> None:
        _check_count(self.count)


@dataclass(frozen=True, slots=True)
class EvenSteps(Node):
    pass


@dataclass(frozen=True, slots=True)
class OddSteps(Node):
    pass


@dataclass(frozen=True, slots=True)
class FromTo(Node):
    """``from step START to STOP``, both included; either may be None, not both."""

    start: Bound | None = None
    stop: Bound | None = None

    def __post_init__(self) -> None:
        if self.start is None and self.stop is None:
            raise EcadError("from ... to ... needs at least one of its two steps")
        for bound in (self.start, self.stop):
            if bound is not None:
                _check_count(bound)


StepSelector: TypeAlias = StepRange | FirstSteps | LastSteps | EvenSteps | OddSteps | FromTo | Name


@dataclass(frozen=True, slots=True)
class Every(Node):
    """``every PERIOD steps [offset OFFSET]``."""

    period: int
    offset: int = 0

    def __post_init__(self) -> None:
        _check_count(self.period)
        _check_count(self.offset)


# Statements.


@dataclass(frozen=True, slots=True)
class Statement(Node):
    above: tuple[str, ...] = field(default=(), compare=False, repr=False, kw_only=True)
    """Comment lines before the statement, each with its ``#``; an empty string is a blank line."""
    beside: str | None = field(default=None, compare=False, repr=False, kw_only=True)
    """The comment at the end of its line, with its ``#``."""


@dataclass(frozen=True, slots=True)
class Model(Statement):
    name: str
    name_span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        check_name(self.name)


@dataclass(frozen=True, slots=True)
class Steps(Statement):
    count: int

    def __post_init__(self) -> None:
        _check_count(self.count)


@dataclass(frozen=True, slots=True)
class Meta(Statement):
    key: str
    value: str | int | float

    def __post_init__(self) -> None:
        if self.key not in KEYWORDS:
            check_name(self.key)
        if isinstance(self.value, bool) or not isinstance(self.value, str | int | float):
            raise EcadError(f"meta {self.key}: the value must be a string or a number, not {self.value!r}")
        if isinstance(self.value, float) and not math.isfinite(self.value):
            raise EcadError(f"meta {self.key}: the value must be finite, not {self.value}")
        if isinstance(self.value, int) and abs(self.value) > MAX_INT:
            raise EcadError(f"meta {self.key}: the value is too large")
        if isinstance(self.value, str) and UNPRINTABLE.search(self.value):
            raise EcadError(f"meta {self.key}: the value holds a control character")


@dataclass(frozen=True, slots=True)
class Let(Statement):
    """``let NAME = VALUE``: components, block terms, or a step selector. A lone name stands for what it means."""

    name: str
    value: Components | tuple[BlockTerm, ...] | StepSelector
    name_span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.value == ():
            raise EcadError(f"let {self.name}: the value is empty")
        if isinstance(self.value, tuple) and len(self.value) == 1 and isinstance(self.value[0], Name):
            # `let a = b` is one text, so it must be one tree, whatever b stands for.
            object.__setattr__(self, "value", self.value[0])


@dataclass(frozen=True, slots=True)
class Rule(Statement):
    """``ACTION COMPONENTS [in BLOCKS] [every ...] [STEPS]``. None stands for a clause that is not there."""

    action: Action
    components: Components
    blocks: tuple[BlockTerm, ...] | None = None
    every: Every | None = None
    steps: StepSelector | None = None

    def __post_init__(self) -> None:
        if self.blocks == ():
            raise EcadError("a rule's blocks must be None (every block) or at least one term")

    @property
    def literals(self) -> int:
        """How many names and numbers the rule is made of."""
        return (
            len(self.components.names)
            + len(self.components.excluded)
            + sum(_literals(term) for term in self.blocks or ())
            + (1 + (self.every.offset > 0) if self.every else 0)
            + (_literals(self.steps) if self.steps else 0)
        )


@dataclass(frozen=True)
class Program:
    """A whole program: its statements in order."""

    statements: tuple[Statement, ...] = ()
    below: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Comment lines after the last statement, as in :attr:`Statement.above`."""
    source: Source | None = field(default=None, compare=False, repr=False)
    """The text that the program was parsed from."""
    broken: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """Names that statements bind which could not be read; there are none but in what is left of a faulty text."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(s for s in self.statements if isinstance(s, Rule))

    @property
    def model(self) -> str | None:
        """Name of the model that the program is written for; None for a portable program."""
        return next((s.name for s in self.statements if isinstance(s, Model)), None)

    @property
    def steps(self) -> int | None:
        """Number of steps that the program is written for; None when the caller says it."""
        return next((s.count for s in self.statements if isinstance(s, Steps)), None)

    @property
    def meta(self) -> Mapping[str, str | int | float]:
        return {s.key: s.value for s in self.statements if isinstance(s, Meta)}

    @property
    def length(self) -> tuple[int, int]:
        """Description length: the number of rules, then the number of literals in them. Smaller is simpler."""
        rules = self.rules
        return len(rules), sum(rule.literals for rule in rules)

    def _repr_html_(self) -> str:
        """What Jupyter shows: the canonical text in colours."""
        from ecad_dsl.language.highlight import highlighted

        return highlighted(self)


@lru_cache(maxsize=4096)
def check_name(name: str) -> None:
    """Refuse what could not be read back as a name.

    Raises:
        EcadError: not a name of the language, or one of its keywords.
    """
    if not NAME.fullmatch(name):
        raise EcadError(f"{name!r} is not a name: lower-case letters, digits, `_`, and `-` or `.` between them")
    if name in KEYWORDS:
        raise EcadError(f"`{name}` is a word of the language and cannot be a name")


def _check_stack(stack: str | None) -> None:
    if stack is not None and stack != "blocks":
        check_name(stack)


def _check_items(items: tuple[Range, ...]) -> None:
    if not items:
        raise EcadError("a range needs at least one item")


def _check_count(number: Bound) -> None:
    if isinstance(number, int) and not 0 <= number <= MAX_INT:
        raise EcadError(f"a number must lie between 0 and {MAX_INT}, not {number}")


def _literals(selector: BlockTerm | StepSelector) -> int:
    """Names and numbers of a selector; a word for a whole set (`all`, `even`, `odd`) counts like a name."""
    match selector:
        case BlockRange(items=items) | StepRange(items=items):
            own = sum(item.literals for item in items)
        case FromTo():
            own = (selector.start is not None) + (selector.stop is not None)
        case AllBlocks():
            own = 1 if selector.stack is None else 0
        case _:
            own = 1
    return own + (getattr(selector, "stack", None) is not None)
