"""Hypothesis strategies for programs: any tree at all, and programs that compile for a given model."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from ecad_dsl.language import (
    Action,
    AllBlocks,
    BlockRange,
    BlockTerm,
    Components,
    EvenBlocks,
    EvenSteps,
    Every,
    FirstBlocks,
    FirstSteps,
    FromTo,
    LastBlocks,
    LastSteps,
    Let,
    Meta,
    Model,
    Name,
    OddBlocks,
    OddSteps,
    Percent,
    Program,
    Range,
    Rule,
    StepRange,
    Steps,
    StepSelector,
)
from ecad_dsl.language.tree import KEYWORDS
from ecad_dsl.models import ModelSpec

# Any tree, sensible or not: what the formatter and the parser must agree on.

names = st.one_of(
    st.sampled_from(("self", "ffn", "attn1", "single", "deep", "in_", "everyone", "flux.1-dev", "a-1")),
    st.from_regex(r"[a-z_][a-z0-9_]{0,6}([.-][a-z0-9_]{1,3})?", fullmatch=True).filter(lambda n: n not in KEYWORDS),
)
stacks = st.one_of(st.none(), st.just("blocks"), names)
numbers = st.one_of(st.integers(0, 60), st.integers(0, 10**18 - 1))
percents = st.builds(Percent, st.decimals(0, 100, places=2).map(abs))
bounds = st.one_of(numbers, percents)
ranges = st.one_of(bounds.map(Range.single), st.builds(Range, bounds, bounds, numbers))
items = st.lists(ranges, min_size=1, max_size=12).map(tuple)
components = st.builds(
    Components,
    st.lists(st.one_of(names, st.just("all")), min_size=1, max_size=8).map(tuple),
    st.lists(st.one_of(names, st.just("all")), max_size=3).map(tuple),
)
block_terms = st.one_of(
    st.builds(BlockRange, items, stacks),
    st.builds(AllBlocks, stacks),
    st.builds(FirstBlocks, numbers, stacks),
    st.builds(LastBlocks, numbers, stacks),
    st.builds(EvenBlocks, stacks),
    st.builds(OddBlocks, stacks),
    st.builds(Name, names),
)
block_lists = st.lists(block_terms, min_size=1, max_size=4).map(tuple)
step_selectors = st.one_of(
    st.builds(StepRange, items),
    st.builds(FirstSteps, numbers),
    st.builds(LastSteps, numbers),
    st.just(EvenSteps()),
    st.just(OddSteps()),
    st.builds(FromTo, bounds, st.one_of(st.none(), bounds)),
    st.builds(FromTo, st.none(), bounds),
    st.builds(Name, names),
)
_line = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)
comments = _line.map(lambda text: f"# {text}".rstrip())
layouts: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "above": st.lists(st.one_of(st.just(""), comments), max_size=3).map(tuple),
        "beside": st.one_of(st.none(), comments),
    }
)
values = st.one_of(
    st.text(st.characters(exclude_categories=("Cc", "Cs"), include_characters="\n\t")),
    st.integers(-(10**18) + 1, 10**18 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)


@st.composite
def statements(draw: st.DrawFn) -> Model | Steps | Meta | Let | Rule:
    layout = draw(layouts)
    kind = draw(st.sampled_from((Model, Steps, Meta, Let, Rule, Rule, Rule)))
    if kind is Model:
        return Model(draw(names), **layout)
    if kind is Steps:
        return Steps(draw(numbers), **layout)
    if kind is Meta:
        return Meta(draw(st.one_of(names, st.sampled_from(sorted(KEYWORDS)))), draw(values), **layout)
    if kind is Let:
        return Let(draw(names), draw(st.one_of(components, block_lists, step_selectors)), **layout)
    return Rule(
        draw(st.sampled_from(Action)),
        draw(components),
        draw(st.one_of(st.none(), block_lists)),
        draw(st.one_of(st.none(), st.builds(Every, numbers, numbers))),
        draw(st.one_of(st.none(), step_selectors)),
        **layout,
    )


programs = st.builds(
    Program,
    st.lists(statements(), max_size=6).map(tuple),
    below=st.lists(st.one_of(st.just(""), comments), max_size=3).map(tuple),
)


# Programs that compile on a model. Percentages, roles and lets included; a selection that they leave empty is only
# a warning.


def _ranges_below(count: int) -> st.SearchStrategy[Range]:
    index = st.integers(0, count - 1)
    ends = st.tuples(index, index).map(sorted)
    shares = st.tuples(*[st.integers(0, 200).map(lambda half: Decimal(half) / 2)] * 2).map(sorted)
    return st.one_of(
        index.map(Range.single),
        st.builds(lambda ends, by: Range(ends[0], ends[1], by), ends, st.integers(1, 4)),
        st.builds(lambda ends, by: Range(Percent(ends[0]), Percent(ends[1]), by), shares, st.integers(1, 3)),
    )


def _blocks_for(spec: ModelSpec) -> st.SearchStrategy[tuple[BlockTerm, ...]]:
    def terms(stack: str | None) -> st.SearchStrategy[BlockTerm]:
        blocks = spec.blocks_of(stack)
        assert blocks is not None
        some = st.lists(_ranges_below(len(blocks)), min_size=1, max_size=3).map(tuple)
        count = st.integers(1, len(blocks))
        return st.one_of(
            st.builds(BlockRange, some, st.just(stack)),
            st.builds(FirstBlocks, count, st.just(stack)),
            st.builds(LastBlocks, count, st.just(stack)),
            st.sampled_from((AllBlocks(stack), EvenBlocks(stack), OddBlocks(stack))),
        )

    stack = st.sampled_from((None, *(stack.name for stack in spec.stacks)))
    return st.lists(stack.flatmap(terms), min_size=1, max_size=3).map(tuple)


def _steps_for(steps: int) -> st.SearchStrategy[StepSelector]:
    some = st.lists(_ranges_below(steps), min_size=1, max_size=3).map(tuple)
    spans = _ranges_below(steps)
    return st.one_of(
        st.builds(StepRange, some),
        st.builds(FirstSteps, st.integers(1, steps)),
        st.builds(LastSteps, st.integers(1, steps)),
        st.sampled_from((EvenSteps(), OddSteps())),
        spans.map(lambda span: FromTo(span.first, span.last)),
        spans.map(lambda span: FromTo(span.first, None)),
        spans.map(lambda span: FromTo(None, span.last)),
    )


@st.composite
def programs_for(draw: st.DrawFn, spec: ModelSpec, steps: int, max_rules: int = 6) -> Program:
    """A portable program (what it selects may be empty, which is then a warning) that compiles on the model."""
    selections = sorted(spec.names)
    lists = st.lists(st.sampled_from(selections), min_size=1, max_size=3).map(tuple)
    chosen = st.builds(Components, lists, st.one_of(st.just(()), lists))
    blocks, when = _blocks_for(spec), _steps_for(steps)
    lets = [Let("some-components", draw(chosen)), Let("some-blocks", draw(blocks)), Let("some-steps", draw(when))]
    rules = []
    for _ in range(draw(st.integers(0, max_rules))):
        period = draw(st.integers(1, 7))
        every = Every(period, draw(st.integers(0, period - 1)))
        rules.append(
            Rule(
                draw(st.sampled_from(Action)),
                draw(st.one_of(chosen, st.just(Components(("some-components",))))),
                draw(st.one_of(st.none(), blocks, st.just((Name("some-blocks"),)))),
                draw(st.sampled_from((None, every))),
                draw(st.one_of(st.none(), when, st.just(Name("some-steps")))),
            )
        )
    return Program((*lets, *rules))
