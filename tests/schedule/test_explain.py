"""What `explain` says of a rule, read back and counted out cell by cell."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_dsl.language import Program, Rule
from ecad_dsl.models import ModelSpec, load_spec
from ecad_dsl.schedule import CompileError, Schedule, compile, cost, parse
from ecad_dsl.schedule.explain import explain
from ecad_dsl.schedule.sentences import numbers
from tests.schedule.interpreter import Cell, Interpreter
from tests.strategies import programs_for

PIXART = load_spec("pixart-alpha")
SMALL_PIXART = PIXART.resized({"blocks": 3})
SMALL_FLUX = load_spec("flux.1-dev").resized({"double": 2, "single": 5})
SPECS = pytest.mark.parametrize("spec", [SMALL_PIXART, SMALL_FLUX], ids=["pixart", "flux"])


# A reader of the sentences.

_NUMBERS = r"(?:\d+|, | and | to |\.\.\.)+"
_AT = rf"at every step|at steps? {_NUMBERS}|at the other steps(?: from \d+ to \d+)?"
_SENTENCE = re.compile(rf"(Recompute|Reuse) (.+?) ({_AT})(?: and reuse (?:it|them) ({_AT}))?\.")


def read_numbers(text: str) -> list[int]:
    found: list[int] = []
    parts = re.split(", | and ", text)
    for part, before in zip(parts, ["", *parts], strict=False):
        if before == "...":
            by = found[-1] - found[-2]
            found += range(found[-1] + by, int(part) + 1, by)
        elif " to " in part:
            first, last = map(int, part.split(" to "))
            found += range(first, last + 1)
        elif part != "...":
            found.append(int(part))
    return found


def read_cells(text: str, spec: ModelSpec) -> Iterator[tuple[str, int, str]]:
    """Stack, block, component of each cell of a row."""
    names: list[str] = []
    for part in text.split(", and "):
        match = re.fullmatch(r"(?:(.+?) )?(?:in|of) (every )?(?:(\w+) )?blocks?(?: (.+))?", part)
        if match is None:
            assert text == "everything"
        named = "everything" if match is None else match[1]
        names = re.split(", | and ", named) if named else names
        for stack in spec.stacks:
            if match is None or match[3] in (None, stack.name):
                every = match is None or match[2]
                blocks = range(stack.blocks) if every else read_numbers(match[4])  # type: ignore[index]
                for component in stack.components:
                    if names == ["everything"] or component.name in names:
                        yield from ((stack.name, block, component.name) for block in blocks)


def read_steps(text: str, steps: int, recomputed: set[int]) -> set[int]:
    if text == "at every step":
        return set(range(steps))
    if not text.startswith("at the other"):
        return set(read_numbers(re.sub("at steps? ", "", text)))
    ends = [int(number) for number in re.findall(r"\d+", text)] or [0, steps - 1]
    return set(range(ends[0], ends[1] + 1)) - recomputed


def read(text: str, spec: ModelSpec, steps: int) -> tuple[set[Cell], set[Cell]]:
    """The cells that a sentence says are recomputed, and those that it says are reused."""
    if text.startswith("Does nothing: "):
        return set(), set()
    match = _SENTENCE.fullmatch(text)
    assert match, text
    cells = list(read_cells(match[2], spec))
    first = read_steps(match[3], steps, set())
    recomputed, reused = (first, set[int]()) if match[1] == "Recompute" else (set[int](), first)
    if match[4]:
        reused = read_steps(match[4], steps, recomputed)
    return {(s, *cell) for s in recomputed for cell in cells}, {(s, *cell) for s in reused for cell in cells}


def meant(rule: Rule, interpreter: Interpreter) -> tuple[set[Cell], set[Cell]]:
    """The cells that a rule recomputes, and those that it reuses at a step other than 0."""
    chosen = sorted(interpreter.chosen_steps(rule.steps))
    row = [
        (stack.name, block, component.name)
        for stack in interpreter.spec.stacks
        for block in range(stack.blocks)
        for component in stack.components
        if interpreter.covers(rule, (0, stack.name, block, component.name))
    ]
    recomputed: set[Cell] = set()
    reused: set[Cell] = set()
    for step in chosen if row else ():
        cell = (step, *row[0])
        none, one = set[Cell](), {cell}
        interpreter.paint(rule, chosen, cell, none)
        interpreter.paint(rule, chosen, cell, one)
        if none == one:
            (recomputed if one else reused).update((step, *other) for other in row)
    return recomputed, {cell for cell in reused if cell[0] > 0}


@SPECS
@given(data=st.data())
@settings(max_examples=60)
def test_a_sentence_read_back_is_the_rule(spec: ModelSpec, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 12), label="steps")
    program = data.draw(programs_for(spec, steps), label="program")
    interpreter = Interpreter(program, spec, steps)
    for explanation in explain(program, spec, steps):
        assert read(explanation.sentence, spec, steps) == meant(explanation.rule, interpreter)


@SPECS
@given(data=st.data())
@settings(max_examples=25)
def test_the_figures_are_those_of_leaving_each_rule_out(spec: ModelSpec, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 6), label="steps")
    program = data.draw(programs_for(spec, steps), label="program")
    interpreter = Interpreter(program, spec, steps)
    cells, schedule = interpreter.recomputed(), compile(program, spec, steps)
    everything = cost(Schedule(spec, ((1 << spec.cells) - 1,) * steps)).macs
    last: dict[Cell, Rule] = {}
    for rule in program.rules:
        for painted in meant(rule, interpreter):
            last.update({cell: rule for cell in painted if cell[0] > 0})
    explanations = explain(program, spec, steps)
    assert tuple(e.rule for e in explanations) == program.rules
    for explanation in explanations:
        rest = Program(tuple(s for s in program.statements if s is not explanation.rule))
        without = Interpreter(rest, spec, steps).recomputed()
        assert explanation.would_recompute == len(without - cells)
        assert explanation.would_reuse == len(cells - without)
        assert explanation.decides == sum(rule is explanation.rule for rule in last.values())
        assert explanation.saves == cost(compile(rest, spec, steps)).macs - cost(schedule).macs
        assert explanation.share == explanation.saves / everything


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("cache all every 3 steps", "Recompute everything at steps 0, 3, ..., 18 and reuse it at the other steps."),
        (
            "cache ffn in blocks 10-20 every 2 steps",
            "Recompute ffn of blocks 10 to 20 at steps 0, 2, ..., 18 and reuse it at the other steps.",
        ),
        (
            "cache self every 4 steps offset 1 from step 2",
            "Recompute self of every block at steps 3, 7, ..., 19 and reuse it at the other steps from 2 to 19.",
        ),
        ("cache cross from step 5 to 12", "Recompute cross of every block at step 5 and reuse it at steps 6 to 12."),
        ("reuse cross from step 10", "Reuse cross of every block at steps 10 to 19."),
        ("reuse ffn every 2 steps at steps 3-9", "Reuse ffn of every block at steps 3, 5, ..., 9."),
        ("reuse all", "Reuse everything at steps 1 to 19."),
        ("recompute all", "Recompute everything at every step."),
        ("recompute all in blocks 0, 2 at step 3", "Recompute everything in blocks 0 and 2 at step 3."),
        (
            "cache self, ffn in blocks 25%-75% every 5 steps at steps 2, 3, 7, 11, 17",
            "Recompute self and ffn of blocks 7 to 20 at steps 2, 7 and 17 and reuse them at steps 3 and 11.",
        ),
        ("reuse ffn at steps 0", "Does nothing: step 0, the only one that it touches, is always recomputed."),
        ("recompute ffn every 9 steps offset 8 at steps 2-9", "Does nothing: its period comes round at none of its"),
        ("reuse ffn in blocks 10%-11%", "Does nothing: it selects nothing of PixArt-alpha in 20 steps."),
    ],
)
def test_sentences(rule: str, expected: str) -> None:
    (explanation,) = explain(parse(rule), PIXART, 20)
    assert explanation.sentence.startswith(expected)


def test_stacks_are_named_where_there_are_several() -> None:
    (one, other, third) = explain(
        parse("reuse ffn in blocks 17-20\nreuse attn\nreuse all in single blocks"), "flux.1-dev", 4
    )
    assert one.sentence == (
        "Reuse ffn_image and ffn_text of double blocks 17 and 18, and mlp and out of single blocks 0 and 1"
        " at steps 1 to 3."
    )
    assert other.sentence == "Reuse attn of every block at steps 1 to 3."
    assert third.sentence == "Reuse everything in every single block at steps 1 to 3."


def test_names_stand_for_what_they_mean() -> None:
    program = parse("let deep = last 2 blocks\nlet late = from step 50%\nreuse cross in deep at late")
    (explanation,) = explain(program, PIXART, 20)
    assert explanation.sentence == "Reuse cross of blocks 26 and 27 at steps 10 to 19."


def test_a_program_with_mistakes_is_not_explained() -> None:
    with pytest.raises(CompileError, match="no block 30"):
        explain(parse("model pixart-alpha\ncache ffn in blocks 10-30"), None, 20)


@given(st.sets(st.integers(0, 60), min_size=1).map(sorted))
def test_numbers_read_back_are_the_numbers(values: list[int]) -> None:
    assert read_numbers(numbers(values)) == values
