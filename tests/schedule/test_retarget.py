"""Programs rewritten for another model or number of steps."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_dsl import schedules
from ecad_dsl.errors import EcadError
from ecad_dsl.language import Diagnostic, Program, format
from ecad_dsl.language.tree import Model, Steps
from ecad_dsl.models import Component, ModelSpec, Stack, load_spec
from ecad_dsl.schedule import CompileError, check, compile, parse
from ecad_dsl.schedule.position import Axis
from ecad_dsl.schedule.retarget import retarget
from tests.schedule.interpreter import Interpreter
from tests.strategies import layouts, programs_for

PIXART, FLUX, REFERENCE = (load_spec(name) for name in ("pixart-alpha", "flux.1-dev", "reference"))
JOINT = ModelSpec(
    "joint-model",
    "a joint model",
    "",
    (
        Stack(
            "joint",
            "",
            24,
            (Component("attn", "attn"), Component("ffn_image", "ff"), Component("ffn_text", "ff_context")),
        ),
    ),
    {"self": ("attn",), "cross": (), "ffn": ("ffn_image", "ffn_text")},
)
SPECS = st.sampled_from(
    (PIXART, FLUX, REFERENCE, JOINT, FLUX.resized({"double": 3, "single": 5}), PIXART.resized({"blocks": 40}))
)


@st.composite
def commented_programs(draw: st.DrawFn, spec: ModelSpec, steps: int) -> Program:
    """A program for the model with comments; it says its model and steps or not."""
    rest = draw(programs_for(spec, steps)).statements
    header = draw(st.sampled_from(((), (Steps(steps),), (Model(spec.name), Steps(steps)))))
    if mistakes(Program((*header, *rest)), spec, steps):
        header = ()  # what is empty in a program that names no model is only a warning
    return Program(tuple(replace(s, **draw(layouts)) for s in (*header, *rest)), below=("# the end",))


def mistakes(program: Program, spec: ModelSpec, steps: int) -> list[Diagnostic]:
    return [diagnostic for diagnostic in check(program, spec, steps) if diagnostic.is_error]


def comments(program: Program) -> Counter[str]:
    lines = [line for s in program.statements for line in (*s.above, s.beside or "")]
    return Counter(line for line in [*lines, *program.below] if line)


def rewritten(text: str, source: ModelSpec, target: ModelSpec, steps: int | None = None, to: int | None = None) -> str:
    return format(retarget(parse(text), source, target, steps, to)[0])


def notes(text: str, source: ModelSpec, target: ModelSpec, steps: int | None = None, to: int | None = None) -> str:
    return "\n".join(f"{note.line}: {note.text}" for note in retarget(parse(text), source, target, steps, to)[1])


# Laws.


@given(data=st.data())
@settings(max_examples=15)
def test_what_is_at_home_stays_as_it_is(data: st.DataObject) -> None:
    spec, steps = data.draw(SPECS), data.draw(st.integers(1, 30))
    program = data.draw(commented_programs(spec, steps))
    result, found = retarget(program, spec, spec, steps, data.draw(st.sampled_from((None, steps))))
    assert result == program
    assert format(result) == format(program)
    assert found == []


@given(data=st.data())
@settings(max_examples=25)
def test_the_result_is_right_on_the_target_and_keeps_every_comment(data: st.DataObject) -> None:
    source, target = data.draw(SPECS, label="source"), data.draw(SPECS, label="target")
    steps, to_steps = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 60))
    program = data.draw(commented_programs(source, steps), label="program")
    result, found = retarget(program, source, target, steps, to_steps)
    assert mistakes(result, target, to_steps) == []
    assert result.model == (target.name if program.model else None)
    assert comments(result) == comments(program)
    assert all(note.statement in program.statements for note in found)


@given(data=st.data())
@settings(max_examples=60)
def test_on_more_blocks_each_does_what_the_one_at_its_place_did(data: st.DataObject) -> None:
    blocks, more = data.draw(st.integers(1, 9)), data.draw(st.integers(0, 12))
    source, target = REFERENCE.resized({"blocks": blocks}), REFERENCE.resized({"blocks": blocks + more})
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, blocks - 1)] * 2)))
    text = data.draw(
        st.sampled_from(
            (f"reuse ffn in blocks {first}-{last}", f"reuse ffn in first {last + 1} blocks",
             f"reuse ffn in last {blocks - first} blocks", f"reuse ffn in blocks {first} and blocks blocks {last}")
        )
    )  # fmt: skip
    before = Interpreter(parse(text), source, 2).recomputed()
    after = Interpreter(retarget(parse(text), source, target)[0], target, 2).recomputed()
    for block in range(target.blocks):
        place = (2 * block + 1) * blocks // (2 * target.blocks)
        assert ((1, "blocks", block, "ffn") in after) == ((1, "blocks", place, "ffn") in before)


@given(st.integers(1, 80), st.integers(1, 80), st.data())
def test_ranges_that_meet_still_meet_and_the_ends_stay_the_ends(count: int, other: int, data: st.DataObject) -> None:
    axis = Axis(((0, 0), (count, other)))
    cut = data.draw(st.integers(1, count))
    lower = axis.place(0, cut)
    assert lower.start == 0
    assert axis.place(0, count) == range(other)
    if cut < count:
        upper = axis.place(cut, count)
        assert upper.stop == other
        # One index is the least that anything becomes, so that narrow neighbours may share it.
        assert upper.start in ({lower.stop} if other >= count else {lower.stop, lower.stop - 1})
    for index in range(count):
        assert axis.place(index, index + 1).stop <= other


@given(st.integers(2, 60), st.integers(2, 60), st.data())
def test_what_leaves_step_0_out_leaves_it_out_ever_after(steps: int, to_steps: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, steps - 1))
    texts = (f"reuse all from step {first}", f"reuse all at step {first}", f"reuse all at last {steps - first} steps")
    for text in texts:
        (rule,) = retarget(parse(text), PIXART, PIXART, steps, to_steps)[0].rules
        assert 0 not in Interpreter(Program((rule,)), PIXART, to_steps).chosen_steps(rule.steps)


@pytest.mark.parametrize("to_steps", [4, 10, 50, 100])
@pytest.mark.parametrize("period", [2, 3, 5])
def test_a_period_keeps_the_share_of_recomputes(period: int, to_steps: int) -> None:
    result, _ = retarget(parse(f"cache all every {period} steps"), PIXART, PIXART, 20, to_steps)
    schedule = compile(result, PIXART, to_steps)
    assert schedule.recomputed == -(-to_steps // period) * PIXART.cells


# What becomes of each construct.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cache self every 2 steps", "cache attn every 2 steps"),
        ("cache self, cross, ffn in blocks 0-13", "cache attn, ffn in blocks 0-27"),
        ("cache ffn in blocks 10-20", "cache ffn in blocks 20-42"),
        ("cache all except cross", "cache all"),
        ("cache all except ff", "cache all except ffn"),
        ("cache attn1 in even blocks", "cache attn in even blocks"),
        ("cache ffn in blocks 25%-75% from step 20%", "cache ffn in blocks 25%-75% from step 20%"),
        ("cache ffn in blocks blocks 0-27 by 3", "cache ffn in blocks 0-56 by 3"),
        ("cache ffn in first 7 blocks and last 7 blocks", "cache ffn in first 14 blocks and last 14 blocks"),
        ("let mixers = components self, cross\ncache mixers", "let mixers = components attn\ncache mixers"),
        ("let out = blocks 0-13\nreuse ffn in out", "let out-2 = blocks 0-27\nreuse ffn in out-2"),
    ],
)
def test_from_pixart_to_flux(text: str, expected: str) -> None:
    assert rewritten(text, PIXART, FLUX) == f"{expected}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cache attn, ffn_image, ffn_text, mlp, out", "cache attn, ffn"),
        ("cache self", "cache self"),
        ("cache attn", "cache attn"),
        ("cache ffn_image in double blocks", "cache ffn in blocks 0-8"),
        ("cache ffn_image", "cache ffn in blocks 0-8"),
        ("cache mlp, out in single blocks 0-9", "cache ffn in blocks 9-13"),
        ("cache ffn_image in blocks 0-40", "cache ffn in blocks 0-8"),
        ("cache attn in last 19 single blocks", "cache attn in blocks 19-27"),
        ("cache attn in even double blocks", "cache attn in blocks 0-8 by 2"),
        ("cache attn in single blocks 50%-100%", "cache attn in blocks 19-27"),
        ("cache attn, mlp", "cache attn in blocks 0-8\ncache attn, ffn in blocks 9-27"),
        ("cache all except single_proj_out in single blocks", "cache all in blocks 9-27"),
    ],
)
def test_from_flux_to_pixart(text: str, expected: str) -> None:
    assert rewritten(text, FLUX, PIXART) == f"{expected}\n"


@pytest.mark.parametrize(
    ("text", "to_steps", "expected"),
    [
        ("reuse all from step 4 to 12", 50, "reuse all from step 10 to 31"),
        ("reuse all from step 1", 10, "reuse all from step 1"),
        ("reuse all to step 9", 10, "reuse all to step 4"),
        ("reuse all at first 3 steps", 50, "reuse all at first 7 steps"),
        ("reuse all at last 10 steps", 50, "reuse all at last 25 steps"),
        ("reuse all at steps 5, 10-19 by 3", 40, "reuse all at steps 10-11, 20-39 by 3"),
        ("reuse all at odd steps", 50, "reuse all at odd steps"),
        ("let late = from step 10\nreuse all at late", 50, "let late = from step 25\nreuse all at late"),
        ("cache all every 4 steps offset 1", 50, "cache all every 4 steps offset 1"),
    ],
)
def test_steps(text: str, to_steps: int, expected: str) -> None:
    assert rewritten(text, PIXART, PIXART, 20, to_steps) == f"{expected}\n"


def test_a_stack_becomes_its_like_in_a_model_of_the_same_stacks() -> None:
    small = FLUX.resized({"double": 38, "single": 38})
    text = "cache attn in double blocks 0-9 and blocks 10-18 and single blocks 3\n"
    assert rewritten(text, FLUX, small) == "cache attn in double blocks 0-19 and blocks 20-37 and single block 3\n"


def test_the_header_names_the_target() -> None:
    text = "# mine\nmodel pixart-alpha # here\nsteps 20\ncache all\n"
    assert rewritten(text, PIXART, FLUX, None, 50) == "# mine\nmodel flux.1-dev  # here\nsteps 50\ncache all\n"


def test_a_dropped_rule_is_told_and_leaves_its_comments() -> None:
    text = "cache all\n# the gate\nreuse cross from step 10  # half\n# the end\n"
    assert rewritten(text, PIXART, FLUX) == "cache all\n# the gate\n# half\n# the end\n"
    assert notes(text, PIXART, FLUX) == "3: `reuse cross from step 10` is dropped: FLUX.1-dev has nothing for it"


@pytest.mark.parametrize(
    ("text", "source", "target", "steps", "expected"),
    [
        ("cache self, cross", PIXART, FLUX, (None, None), "1: FLUX.1-dev has no counterpart of `cross`"),
        ("cache mlp", FLUX, PIXART, (None, None), "1: PixArt-alpha does not tell `mlp` from `out`"),
        ("cache attn, mlp", FLUX, PIXART, (None, None), "one rule becomes 2"),
        ("cache all in blocks 0, 1, 2", PIXART, REFERENCE, (None, None), "1: ranges that were apart overlap"),
        ("cache all every 9 steps offset 8", PIXART, PIXART, (20, 5), "1: the offset 8 becomes 4"),
        ("let out = blocks 0-3", PIXART, FLUX, (None, None), "1: `out` is now `out-2`"),
        ("let x = components cross", PIXART, FLUX, (None, None), "1: `let x = components cross` is dropped"),
    ],
)
def test_what_cannot_be_kept_is_told(text, source, target, steps, expected) -> None:
    assert expected in notes(text, source, target, *steps)


def test_programs_that_cannot_be_rewritten_say_why() -> None:
    with pytest.raises(EcadError, match="does not say for how many steps"):
        retarget(parse("cache all"), PIXART, FLUX, None, 50)
    with pytest.raises(CompileError, match="no block 30"):
        retarget(parse("model pixart-alpha\ncache all in blocks 20-30"), PIXART, FLUX)
    with pytest.raises(CompileError, match="are too many"):
        retarget(parse("cache all"), PIXART, FLUX, 20, 20_000)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 13, 30, 50])
def test_the_papers_schedules_have_no_mistakes_at_other_steps(steps: int) -> None:
    for name in ("pixart-alpha-256-fast", "pixart-sigma-256-fast", "flux-256-fast"):
        program = schedules.load(name)
        assert program.model is not None
        result, _ = retarget(program, program.model, program.model, to_steps=steps)
        assert not [found for found in check(result) if found.is_error]
