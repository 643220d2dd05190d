"""Simplifying: the same schedule from a program that is never longer, and each rewrite by itself.

Fixtures in fixtures/simplify/*.txt: cases of a title, an input, `---` and what is expected, each case headed by
`=== REWRITE` or `=== REWRITE: what it shows`. A rewrite runs alone; `simplify` stands for all of them without a search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ecad_dsl.errors import EcadError
from ecad_dsl.language import Action, Let, Name, Program, Rule, format, parse
from ecad_dsl.models import ModelSpec, load_spec
from ecad_dsl.schedule import CompileError, Schedule, compile, lint, load
from ecad_dsl.schedule.recompile import Recompiler
from ecad_dsl.schedule.rewrites import JUDGED, PORTABLE, without
from ecad_dsl.schedule.simplify import known_schedule, rewrite, simplify
from tests.strategies import programs_for

PIXART = load_spec("pixart-alpha")
FLUX = load_spec("flux.1-dev")
SMALL_PIXART = PIXART.resized({"blocks": 5})
SMALL_FLUX = FLUX.resized({"double": 2, "single": 3})
SMALL = pytest.mark.parametrize("spec", [SMALL_PIXART, SMALL_FLUX], ids=["pixart", "flux"])
REWRITES = {propose.__name__: propose for propose in PORTABLE + JUDGED}
FIXTURES = Path(__file__).parent / "fixtures" / "simplify"
BASELINES = sorted((Path(__file__).parents[2] / "schedules" / "baselines").glob("*.ecad"))


def cases() -> Iterator[tuple[str, str, str]]:
    for path in sorted(FIXTURES.glob("*.txt")):
        for case in path.read_text(encoding="utf-8").split("=== ")[1:]:
            title, texts = case.split("\n", 1)
            text, expected = texts.split("---\n")
            yield title, text, expected


CASES = list(cases())


@pytest.mark.parametrize(("title", "text", "expected"), CASES, ids=[title for title, _, _ in CASES])
def test_fixture(title: str, text: str, expected: str) -> None:
    program, name = parse(text), title.split(":", maxsplit=1)[0]
    if name == "simplify":
        assert format(simplify(program, effort=0)) == expected
    else:
        assert format(rewrite(program, [REWRITES[name]], known_schedule(program, None, None))) == expected
    schedule = known_schedule(program, None, None)
    assert schedule is None or compile(parse(expected)).rows == schedule.rows


def test_every_rewrite_has_a_fixture() -> None:
    assert set(REWRITES) <= {title.split(":")[0] for title, _, _ in CASES}


# Laws. Rewrites have most to do in programs that repeat themselves.


@st.composite
def repetitive_programs_for(draw: st.DrawFn, spec: ModelSpec, steps: int) -> Program:
    """Rules among which some take over most clauses of the one before."""
    program = draw(programs_for(spec, steps, max_rules=4))
    statements = list(program.statements)
    rules = [index for index, statement in enumerate(statements) if isinstance(statement, Rule)]
    for index in reversed(rules):
        rule = statements[index]
        assert isinstance(rule, Rule)
        for _ in range(draw(st.integers(0, 2))):
            other = statements[draw(st.sampled_from(rules))]
            assert isinstance(other, Rule)
            clauses = draw(st.sets(st.sampled_from(("action", "components", "blocks", "every", "steps")), max_size=2))
            like = replace(rule, **{clause: getattr(other, clause) for clause in clauses})
            statements.insert(index + draw(st.integers(0, 1)), like)
    return Program(tuple(statements))


@SMALL
@given(data=st.data())
@settings(max_examples=30)
def test_the_masks_stay_the_same_and_the_program_gets_no_longer(spec: ModelSpec, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 12))
    program = data.draw(repetitive_programs_for(spec, steps))
    simple = simplify(program, spec, steps, effort=0)
    assert compile(simple, spec, steps) == compile(program, spec, steps)
    assert simple.length <= program.length
    assert parse(format(simple)) == simple
    assert simplify(simple, spec, steps, effort=0) == simple
    assert not {d.code for d in lint(simple, spec, steps)} & {"W305", "W306", "W308"}
    event(f"rules less: {program.length[0] - simple.length[0]}")


@SMALL
@given(data=st.data())
@settings(max_examples=10)
def test_with_a_search_too(spec: ModelSpec, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 9))
    program = data.draw(repetitive_programs_for(spec, steps))
    simple = simplify(program, spec, steps, effort=0.05)
    assert compile(simple, spec, steps) == compile(program, spec, steps)
    assert simple.length <= simplify(program, spec, steps, effort=0).length
    assert simplify(simple, spec, steps, effort=0.05) == simple


def schedule_of(program: Program, spec: ModelSpec, steps: int) -> Schedule | None:
    try:
        return compile(program, spec, steps)
    except CompileError:
        return None


PLACES = [(spec, steps) for spec in (SMALL_PIXART, SMALL_FLUX) for steps in (1, 2, 5, 12)]


@given(data=st.data())
@settings(max_examples=80)
def test_a_portable_rewrite_keeps_the_masks_on_every_model(data: st.DataObject) -> None:
    program = data.draw(st.sampled_from(PLACES).flatmap(lambda place: repetitive_programs_for(*place)))
    expected = {place: schedule_of(program, *place) for place in PLACES}
    for rewrites in (*((propose,) for propose in PORTABLE), PORTABLE):
        simple = rewrite(program, rewrites)
        assert simple.length <= program.length
        if simple != program:
            event(f"changed by {rewrites[0].__name__ if len(rewrites) == 1 else 'all'}")
            for (spec, steps), schedule in expected.items():
                assert schedule is None or compile(simple, spec, steps) == schedule


@SMALL
@given(data=st.data())
@settings(max_examples=25)
def test_a_judged_rewrite_keeps_the_masks(spec: ModelSpec, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 12))
    program = data.draw(repetitive_programs_for(spec, steps))
    schedule = compile(program, spec, steps)
    for propose in JUDGED:
        simple = rewrite(program, (propose,), schedule)
        assert simple.length <= program.length
        assert compile(simple, spec, steps) == schedule


@SMALL
@given(data=st.data())
@settings(max_examples=15)
def test_rules_that_stay_keep_their_comments(spec: ModelSpec, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 12))
    program = data.draw(repetitive_programs_for(spec, steps))
    noted = tuple(
        replace(statement, above=("", f"# above {index}"), beside=f"# beside {index}")
        for index, statement in enumerate(program.statements)
    )
    simple = simplify(replace(program, statements=noted), spec, steps, effort=0)
    opening = set(noted[0].above)
    for statement in simple.statements:
        if isinstance(statement, Let | Rule):
            origin = next((old for old in noted if old == statement and old.beside == statement.beside), None)
            assert origin is None or set(origin.above) <= set(statement.above) | opening
            assert statement.beside is not None


# What is to be expected.


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.stem)
def test_the_shipped_schedules_are_as_simple_as_rewriting_makes_them(path: Path) -> None:
    program = load(path)
    assert simplify(program).length == program.length
    for model in ("reference", "pixart-alpha", "flux.1-dev"):
        if schedule_of(program, load_spec(model), 20) is not None:
            assert simplify(program, model, 20, effort=0).length <= program.length


def test_the_search_finds_the_rule_behind_many() -> None:
    lines = [f"recompute all at step {step}" for step in range(0, 20, 3)]
    program = parse("# FORA, the long way round\n\nmodel pixart-alpha\nsteps 20\nreuse all\n" + "\n".join(lines))
    assert format(simplify(program)) == (
        "# FORA, the long way round\n\nmodel pixart-alpha\nsteps 20\ncache all every 3 steps\n"
    )


def test_comments_of_rules_go_only_where_the_search_replaces_them() -> None:
    rules = (
        "# opens the file\nreuse ffn in blocks 4-9 from step 10  # late\nreuse self in blocks 0-3, 5-9 from step 10\n"
    )
    kept = simplify(parse(rules), "pixart-alpha", 20)
    assert "# late" in format(kept)
    long = "# opens the file\nreuse all at steps 1, 2  # a\nreuse all at steps 4, 5  # b\nreuse all at steps 7, 8 # c\n"
    text = format(simplify(parse(long + "reuse all at steps 10, 11"), "pixart-alpha", 12))
    assert text == "# opens the file\nmodel pixart-alpha\nsteps 12\ncache all every 3 steps\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cache ffn in blocks 0-27 every 2 steps", "model pixart-alpha\nsteps 20\ncache ffn every 2 steps\n"),
        ("cache ffn in all blocks every 2 steps", "cache ffn every 2 steps\n"),  # says the same everywhere
        ("cache ffn every 2 steps", "cache ffn every 2 steps\n"),
        (
            "# slow\nmodel pixart-alpha\nmeta a 1\nreuse ffn to step 19",
            "# slow\nmodel pixart-alpha\nsteps 20\nmeta a 1\nreuse ffn\n",
        ),
        ("# slow\n\nsteps 20\nreuse ffn in last 28 blocks", "# slow\n\nmodel pixart-alpha\nsteps 20\nreuse ffn\n"),
    ],
)
def test_what_is_shorter_on_one_model_alone_names_it(text: str, expected: str) -> None:
    assert format(simplify(parse(text), "pixart-alpha", 20, effort=0)) == expected


def test_a_spec_without_a_name_of_its_own_is_not_named() -> None:
    small = load_spec("pixart-alpha").resized({"blocks": 4})
    assert format(simplify(parse("reuse ffn in blocks 0-3"), small, 20, effort=0)) == "steps 20\nreuse ffn\n"


def test_progress_is_told_during_the_search() -> None:
    told: list[float] = []
    program = parse("cache ffn every 2 steps\nreuse self at steps 3, 5, 8\nrecompute all in block 4 at steps 5, 9, 10")
    simplify(program, "pixart-alpha", 20, effort=0.1, progress=told.append)
    assert told == sorted(told)
    assert all(0 <= share <= 1 for share in told)


@pytest.mark.parametrize("effort", [-1, float("nan"), float("inf")])
def test_effort_out_of_range(effort: float) -> None:
    with pytest.raises(EcadError, match="effort"):
        simplify(parse(""), effort=effort)


@pytest.mark.parametrize("text", ["reuse ffn in late", "model pixart-alpha\nreuse ffn in block 28", "model nonesuch"])
def test_a_program_with_mistakes_is_refused(text: str) -> None:
    with pytest.raises(CompileError):
        simplify(parse(text))


def test_the_input_is_left_as_it_was() -> None:
    program = parse("let deep = last 3 blocks\nreuse ffn in deep\nreuse ffn in deep")
    before = (format(program), program.source)
    simplify(program, "pixart-alpha", 20)
    assert (format(program), program.source) == before
    assert all(isinstance(statement, Let | Rule) for statement in program.statements)
    assert Name("deep") in (program.rules[0].blocks or ())
    assert program.rules[0].action is Action.REUSE


@given(data=st.data())
@settings(max_examples=30)
def test_variants_of_a_program_are_compiled_like_any_other(data: st.DataObject) -> None:
    recompile = Recompiler(SMALL_PIXART, 5)
    program = data.draw(programs_for(SMALL_PIXART, 5))
    for index in range(len(program.statements)):
        for variant in (program, without(program, index)):
            try:
                expected = compile(variant, SMALL_PIXART, 5)
            except CompileError:
                assert recompile(variant) is None
            else:
                assert recompile(variant) == expected
