"""What `lint` warns of, against a naive interpreter that leaves out each rule and follows each output."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ecad_dsl import language
from ecad_dsl.language import TITLES, Action, Components, Program, Rule, Severity
from ecad_dsl.models import ModelSpec, load_spec
from ecad_dsl.schedule import check, lint, load, parse
from tests.schedule.interpreter import Cell, Interpreter
from tests.strategies import programs_for

PIXART = load_spec("pixart-alpha")
FLUX = load_spec("flux.1-dev")
SMALL_PIXART = PIXART.resized({"blocks": 3})
SMALL_FLUX = FLUX.resized({"double": 2, "single": 3})
BASELINES = sorted((Path(__file__).parents[2] / "schedules" / "baselines").glob("*.ecad"))
FEEDS = {("single", "attn"): "out", ("single", "mlp"): "out"}


def linted(text: str, model: str | ModelSpec | None = "pixart-alpha", steps: int | None = 20) -> list[tuple[str, str]]:
    """Each finding's code, and the text that it marks."""
    found = lint(parse(text), model, steps)
    assert all(d.severity is Severity.WARNING and d.code in TITLES and d.span and d.help for d in found)
    return [(d.code, text[d.span.start : d.span.stop]) for d in found if d.span]


def labels(text: str, code: str, model: str = "pixart-alpha") -> list[str]:
    return [f"{d.message}: {d.label}" for d in lint(parse(text), model, 20) if d.code == code]


# The naive side.


def painters(program: Program, spec: ModelSpec, steps: int) -> dict[Cell, list[int]]:
    """For each cell beyond step 0, the rules that paint it, in order."""
    interpreter = Interpreter(program, spec, steps)
    result: dict[Cell, list[int]] = {}
    for stack in spec.stacks:
        for cell in [
            (step, stack.name, block, component.name)
            for step in range(1, steps)
            for block in range(stack.blocks)
            for component in stack.components
        ]:
            result[cell] = []
            for number, rule in enumerate(program.rules):
                chosen = sorted(interpreter.chosen_steps(rule.steps))
                if cell[0] in chosen and interpreter.covers(rule, cell):
                    # A rule paints what ends up the same whatever it was before.
                    none, one = set[Cell](), {cell}
                    interpreter.paint(rule, chosen, cell, none)
                    interpreter.paint(rule, chosen, cell, one)
                    if none == one:
                        result[cell].append(number)
    return result


def selects_nothing(rule: Rule, interpreter: Interpreter) -> bool:
    cells = any(
        interpreter.covers(rule, (0, stack.name, block, component.name))
        for stack in interpreter.spec.stacks
        for block in range(stack.blocks)
        for component in stack.components
    )
    return not cells or not interpreter.chosen_steps(rule.steps)


def unread(recomputed: set[Cell], spec: ModelSpec, steps: int) -> set[Cell]:
    """The recomputes whose output no step reads, found by running through the steps with every output in hand."""
    result = set()
    for (stack, component), reader in FEEDS.items():
        layout = spec.stack(stack)
        for block in range(layout.blocks if layout else 0):
            kept = None
            for step in range(steps):
                if (step, stack, block, component) in recomputed:
                    kept = (step, stack, block, component)
                    result.add(kept)
                if (step, stack, block, reader) in recomputed:
                    result.discard(kept)  # type: ignore[arg-type]
    return result


def by_line(program: Program, found: list[language.Diagnostic], codes: set[str]) -> dict[int, language.Diagnostic]:
    """The findings with these codes by the number of their rule; each rule has one at most."""
    assert program.source is not None
    starts = [program.source.position(rule.span.start).line for rule in program.rules if rule.span]
    placed = [
        (starts.index(program.source.position(d.span.start).line), d) for d in found if d.code in codes and d.span
    ]
    assert len(dict(placed)) == len(placed)
    return dict(placed)


def without(program: Program, number: int) -> Program:
    gone = program.rules[number]
    return Program(tuple(statement for statement in program.statements if statement is not gone))


@pytest.mark.parametrize("spec", [SMALL_PIXART, SMALL_FLUX], ids=["pixart", "flux"])
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_exactly_the_rules_that_change_nothing_are_reported(spec: ModelSpec, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 6), label="steps")
    program = parse(language.format(data.draw(programs_for(spec, steps, max_rules=7), label="program")))
    reported = by_line(program, lint(program, spec, steps), {"W305", "W306"})
    interpreter = Interpreter(program, spec, steps)
    cells = interpreter.recomputed()
    touched = painters(program, spec, steps)
    for number, rule in enumerate(program.rules):
        if selects_nothing(rule, interpreter):
            assert number not in reported
            continue
        idle = Interpreter(without(program, number), spec, steps).recomputed() == cells
        assert (number in reported) == idle
        mine = [order for order in touched.values() if number in order]
        hidden = bool(mine) and all(order[-1] != number for order in mine)
        if idle:
            finding = reported[number]
            event(f"{finding.code} {re.sub('[0-9].*', '', finding.label or '')}")
            assert (finding.code == "W306") == hidden
            last = {order[-1] for order in mine} - {number}
            lines = sorted(program.source.position(program.rules[n].span.start).line for n in last)  # type: ignore
            named = re.findall(r"\d+", re.sub("step 0", "", f"{finding.message} {finding.label}"))
            assert list(map(int, named)) == lines[:4]


@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_exactly_the_unread_recomputes_are_counted_at_the_rules_that_answer_for_them(data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 7), label="steps")
    program = parse(language.format(data.draw(programs_for(SMALL_FLUX, steps), label="program")))
    reported = by_line(program, lint(program, SMALL_FLUX, steps), {"W309"})
    touched = painters(program, SMALL_FLUX, steps)
    recomputed = Interpreter(program, SMALL_FLUX, steps).recomputed()
    expected: dict[int, int] = {}
    for step, stack, block, component in unread(recomputed, SMALL_FLUX, steps):
        reader = FEEDS[stack, component]
        order = touched[step, stack, block, component] or touched[step, stack, block, reader]
        expected[order[-1]] = expected.get(order[-1], 0) + 1
    event(f"rules: {len(expected)}")
    assert {number: int(d.message.split()[0]) for number, d in reported.items()} == expected


@given(programs_for(SMALL_FLUX, 6))
@settings(max_examples=30, deadline=None)
def test_unread_recomputes_may_be_reused_without_being_missed(program: Program) -> None:
    cells = Interpreter(program, SMALL_FLUX, 6).recomputed()
    fewer = cells - unread(cells, SMALL_FLUX, 6)
    assert not unread(fewer, SMALL_FLUX, 6)


# The words.


@pytest.mark.parametrize(
    ("text", "code", "label"),
    [
        ("recompute ffn at step 5", "W305", "its cells are so already"),
        ("cache ffn at step 5", "W305", "its cells are so already"),
        ("reuse ffn at step 0", "W305", "step 0 is always recomputed, and no other step is touched"),
        ("reuse ffn every 5 steps offset 4 at steps 3-5", "W305", "its period comes round at none of its steps"),
        (
            "recompute ffn at steps 4-5\nreuse ffn at step 5",
            "W305",
            "its cells are so already, or overwritten by line 2",
        ),
    ],
)
def test_a_rule_that_changes_nothing_is_told_why(text: str, code: str, label: str) -> None:
    assert labels(text, code) == [f"the rule changes nothing: {label}"]
    assert linted(text) == [(code, text.splitlines()[0])]


def test_a_rule_that_is_overwritten_names_the_lines_that_do_it() -> None:
    text = "reuse ffn at steps 5-6\n# between\nrecompute all at step 5\nreuse all at step 6"
    (finding,) = lint(parse(text), "pixart-alpha", 20)
    assert (finding.code, finding.message) == ("W306", "the rule is wholly overwritten by lines 3 and 4")
    assert finding.help == "leave it out"
    many = "reuse ffn\n" + "".join(f"reuse all at step {step}\n" for step in range(1, 20))
    assert "by lines 2, 3, 4, 5 and others" in str(lint(parse(many), "pixart-alpha", 20)[0])


def test_of_two_rules_that_say_the_same_only_one_may_go() -> None:
    found = lint(parse("reuse ffn\nreuse ffn"), "pixart-alpha", 20)
    assert [d.code for d in found] == ["W306", "W305"]
    assert {d.help for d in found} == {"leave it out, and check again before you leave out another"}


def test_rules_without_a_text_are_named_by_number() -> None:
    rule = Rule(Action.REUSE, Components(("ffn",)))
    assert "by rule 2" in str(lint(Program((rule, rule)), "pixart-alpha", 20)[0])


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("reuse all at steps 3, 0-5", "0-5"),
        ("reuse all at first 3 steps", "first 3 steps"),
        ("reuse all from step 0", "from step 0"),
        ("reuse all to step 5", "to step 5"),
        ("reuse all every 2 steps at steps 0-9", "0-9"),
        ("cache all every 3 steps offset 1 from step 0", "from step 0"),
        ("let early = first 3 steps\nlet soon = early\nreuse all at soon", "soon"),
        ("reuse all", None),
        ("reuse all every 2 steps", None),
        ("reuse all at even steps", None),
        ("reuse all from step 0% to 50%", None),
        ("reuse all every 3 steps offset 1 at steps 0-9", None),
        ("cache all every 3 steps from step 0", None),
        ("cache all at steps 0-5", None),
    ],
)
def test_reuse_written_for_step_0(text: str, marked: str | None) -> None:
    expected = [] if marked is None else [("W307", marked)]
    assert linted(text) == expected
    assert linted(text, None, None) == expected


def test_names_that_no_rule_uses_in_the_end() -> None:
    text = "let a = blocks 3\nlet b = a\nlet c = blocks 5\nlet d = components ffn\nlet e = last 3 steps\n"
    assert linted(text + "reuse d in c at e", None) == [("W308", "a"), ("W308", "b")]
    assert linted(text + "reuse all except d in b and c at e", None) == []
    assert linted("let a = a\nlet b = c\nlet c = b") == [("W308", "a"), ("W308", "b"), ("W308", "c")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # 38 blocks; `attn` and `mlp` are computed at the 10 odd steps for an `out` that is reused.
        ("cache out every 2 steps", ["760 recomputes", "`attn` and `mlp`", "`attn` of single block 0 at step 1"]),
        (
            "cache all every 2 steps\nrecompute mlp in single blocks 7 at step 3",
            ["1 recompute is", "`mlp` only", "`mlp` of single block 7 at step 3"],
        ),
        # Kept for step 4, where `out` is recomputed and `mlp` is not.
        ("reuse out at step 3\nreuse attn, mlp at step 4", None),
        ("reuse out at steps 3-4\nreuse attn, mlp at step 4", ["76 recomputes", "`attn` of single block 0 at step 3"]),
        ("cache all every 2 steps", None),
        ("cache out in double blocks every 2 steps", None),
    ],
)
def test_recomputes_that_nobody_reads(text: str, expected: list[str] | None) -> None:
    found = labels(text, "W309", "flux.1-dev")
    assert len(found) == (expected is not None)
    assert all(part in found[0] for part in expected or ())


def test_components_feed_components_of_their_own_block() -> None:
    for spec in (PIXART, FLUX):
        for stack in spec.stacks:
            names = {component.name for component in stack.components}
            assert all(c.feeds is None or c.feeds in names - {c.name} for c in stack.components)


# Together with `check`.


def test_what_check_reports_is_not_said_again() -> None:
    for text in (
        "reuse cross",
        "reuse ffn in single blocks 0%-1%",
        "let none = components cross\nreuse none from step 3",
    ):
        assert check(parse(text), "flux.1-dev", 20)
        assert linted(text, "flux.1-dev") == []


def test_rules_of_a_program_with_errors_are_not_judged() -> None:
    assert linted("reuse fnn\nrecompute ffn") == []
    assert linted("recompute ffn", steps=None) == []
    assert linted("recompute ffn", None) == []
    assert linted("recompute ffn", steps=10_001) == []


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.stem)
def test_the_shipped_schedules_give_no_warning(path: Path) -> None:
    for model in ("reference", "pixart-alpha", "flux.1-dev"):
        assert lint(load(path), model, 20) == []


def test_50_rules_take_no_time() -> None:
    lines = [f"cache all in blocks {n}-{n + 6} every {n % 5 + 2} steps at steps {n % 9}-49, 1" for n in range(25)]
    lines += [f"recompute mlp in single blocks {n} at steps 3-40 by {n % 4 + 1}" for n in range(25)]
    program = parse("\n".join(lines))
    lint(program, FLUX, 50)
    start = time.process_time()
    lint(program, FLUX, 50)
    assert time.process_time() - start < 0.1
