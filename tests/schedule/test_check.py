"""What `check` and `compile` say of programs that do not fit: fixtures/check.txt, targets and limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecad_dsl.language import TITLES, Action, Components, FirstBlocks, Percent, Program, Range, Rule, render
from ecad_dsl.models import ModelSpec, load_spec
from ecad_dsl.schedule import CompileError, check, compile, diagnose, parse

PIXART = load_spec("pixart-alpha")
CASES = (Path(__file__).parent / "fixtures" / "check.txt").read_text(encoding="utf-8").split("===\n")


def codes(text: str, model: str | ModelSpec | None = None, steps: int | None = None) -> list[str]:
    found = [diagnostic.code for diagnostic in check(parse(text), model, steps)]
    assert set(found) <= set(TITLES)
    return found


def compile_error(text: str, model: str | ModelSpec | None = None, steps: int | None = None) -> CompileError:
    with pytest.raises(CompileError) as error:
        compile(parse(text), model, steps)
    return error.value


@pytest.mark.parametrize("case", CASES)
def test_fixture(case: str) -> None:
    text, expected = case.split("---\n")
    model = "flux.1-dev" if text.startswith("# portable") else None
    assert render(check(parse(text, "fast.ecad"), model)) + "\n" == expected


def test_compile_raises_what_check_finds() -> None:
    text = "model pixart-alpha\nsteps 20\ncache fnn\nreuse self in blocks 30\nreuse ffn in blocks 0%-1%"
    assert list(compile_error(text).diagnostics) == check(parse(text))
    assert codes(text) == ["E202", "E203", "W301"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Written with numbers for a model: an error. By percentage, by role or in a portable program: a warning.
        ("model pixart-alpha\nreuse ffn in blocks 30-40", ["E203"]),
        ("model pixart-alpha\nreuse ffn in blocks 20-40", ["E203"]),
        ("model pixart-alpha\nreuse ffn in first 30 blocks", ["E203"]),
        ("model pixart-alpha\nreuse ffn at step 20", ["E204"]),
        ("model pixart-alpha\nreuse ffn from step 20", ["E204"]),
        ("model pixart-alpha\nreuse ffn at last 21 steps", ["E204"]),
        ("model pixart-alpha\nreuse ffn in blocks 0%-1%", ["W301"]),
        ("model pixart-alpha\nreuse ffn from step 99%", ["W301"]),
        ("model pixart-alpha\nreuse ffn in blocks 50% from step 0%", ["W301"]),
        ("reuse ffn in blocks 30-40", ["W303"]),
        ("reuse ffn in blocks 20-40", ["W303"]),
        ("reuse ffn in last 30 blocks", ["W303"]),
        ("reuse ffn at step 20", ["W303"]),
        ("reuse ffn from step 20", ["W303"]),
        # The steps are no open question in a program that says how many there are.
        ("steps 20\nreuse ffn at step 20", ["E204"]),
        # Never right, portable or not.
        ("reuse ffn in single blocks 3", ["E205"]),
        ("reuse fnn", ["E202"]),
        ("reuse ffn at steps 7-3", ["E209"]),
        ("reuse ffn from step 9 to 3", ["E209"]),
        ("reuse ffn from step 9 to 30%", ["E210"]),
        ("reuse ffn at steps 3-9 by 0", ["E213"]),
        ("reuse ffn in first 0 blocks", ["E213"]),
        ("reuse ffn every 0 steps", ["E211"]),
        ("reuse ffn every 2 steps offset 2", ["E211"]),
        ("reuse ffn in blocks 20%-120%", ["E212"]),
    ],
)
def test_errors_and_warnings_on_pixart(text: str, expected: list[str]) -> None:
    assert codes(text, "pixart-alpha", 20) == expected


def test_what_a_portable_program_asks_for_beyond_the_model_is_cut_off() -> None:
    cut = compile(parse("reuse ffn in blocks 20-40 from step 5 to 90"), "pixart-alpha", 20)
    assert cut == compile(parse("reuse ffn in blocks 20-27 from step 5"), "pixart-alpha", 20)


def test_a_role_that_is_empty_on_the_model_changes_nothing() -> None:
    program = parse("reuse cross from step 10")
    assert [d.code for d in check(program, "flux.1-dev", 20)] == ["W302"]
    assert compile(program, "flux.1-dev", 20) == compile(Program(), "flux.1-dev", 20)


def test_without_a_target_only_the_form_is_checked() -> None:
    assert codes("cache ffn in blocks 20-400 at steps 3-900\ncache attn, mlp in late") == ["E206"]
    assert codes("cache ffm\ncache ffn in blocks 9-3") == ["W304", "E209"]
    assert codes("cache ffn in blocks 20-400 at step 30", steps=20) == ["W303"]
    assert codes("cache ffn in blocks 20-400 at step 30", "pixart-alpha") == ["W303"]


def test_a_mistake_in_a_binding_is_reported_once() -> None:
    text = "model pixart-alpha\nlet deep = blocks 30\nreuse ffn in deep\nreuse self in deep"
    assert codes(text) == ["E203"]


# The target.


def test_the_target_must_be_known() -> None:
    error = compile_error("cache all")
    assert [d.code for d in error.diagnostics] == ["E215", "E216"]
    assert "pixart-alpha" in str(error)
    assert [d.code for d in compile_error("model pixart-alpha\ncache all").diagnostics] == ["E216"]


def test_program_and_caller_must_agree() -> None:
    other_model = compile_error("model pixart-alpha\ncache all", "flux.1-dev", 20)
    assert [d.code for d in other_model.diagnostics] == ["E217"]
    assert "PixArt-alpha" in str(other_model)
    assert "FLUX.1-dev" in str(other_model)
    other_steps = compile_error("model pixart-alpha\nsteps 20\ncache all", steps=28)
    assert [d.code for d in other_steps.diagnostics] == ["E218"]
    assert "20 steps" in str(other_steps)
    assert "28" in str(other_steps)


def test_a_spec_of_the_same_family_takes_the_place_of_the_one_written() -> None:
    small = PIXART.resized({"blocks": 8})
    program = parse("model pixart-alpha\nsteps 20\ncache all every 2 steps")
    assert compile(program, small).spec is small
    assert compile(program, "pixart-sigma").spec.name == "pixart-sigma"
    assert codes("model pixart-alpha\nreuse ffn in blocks 8", small) == ["E203"]


def test_unknown_models_are_named() -> None:
    assert "did you mean `pixart-alpha`?" in str(compile_error("cache all", "pixart-alfa", 20))
    assert codes("model nonesuch\ncache all", PIXART) == ["E201"]


def test_a_spec_that_is_not_shipped_may_be_named_by_the_program() -> None:
    mine = ModelSpec("mine", "my model", "Transformer", PIXART.stacks, PIXART.groups)
    assert compile(parse("model mine\ncache all"), mine, 4).spec is mine


@pytest.mark.parametrize("text", ["steps 20\nsteps 20", "model pixart-alpha\nmodel pixart-alpha"])
def test_model_and_steps_are_said_once(text: str) -> None:
    assert codes(text) == ["E219"]


# Limits.


@pytest.mark.parametrize("steps", [0, -3])
def test_a_schedule_has_steps(steps: int) -> None:
    assert codes("cache all", "pixart-alpha", steps) == ["E213"]


def test_limits_are_checked_before_anything_is_allocated() -> None:
    assert codes("cache all", "pixart-alpha", 10_001) == ["E105"]
    assert codes("steps 999999999999999999\ncache all", "pixart-alpha") == ["E105"]
    huge = PIXART.resized({"blocks": 10**6})
    assert codes("cache all", huge, 100) == ["E106"]
    rule = Rule(Action.REUSE, Components(("all",)))
    assert [d.code for d in check(Program((rule,) * 10_001), PIXART, 20)] == ["E104"]


def test_huge_numbers_are_counted_not_listed() -> None:
    text = "reuse ffn in blocks 0-999999999999999999 at steps 3-999999999999999998 by 999999999999999999"
    assert codes(text, "pixart-alpha", 20) == ["W303", "W303"]


def test_trees_made_by_hand_are_reported_without_a_place() -> None:
    rule = Rule(Action.REUSE, Components(("fnn",)), (FirstBlocks(99),))
    found = check(Program((*parse("model pixart-alpha").statements, rule)))
    assert [str(d).splitlines()[0] for d in found] == [
        "error[E202]: PixArt-alpha has no component `fnn`",
        "error[E203]: there are 28 blocks, not 99",
    ]
    assert Range(Percent(1), 3) != Range(1, 3)


def test_a_name_bound_to_itself_is_told_so() -> None:
    for text in ("let a = a\ncache all in a\n", "let a = blocks 2 and a\ncache all in a\n"):
        (found,) = check(parse(text))
        assert (found.code, found.message) == ("E206", "`a` is bound to itself")


def test_of_a_name_that_is_taken_nothing_else_is_said() -> None:
    assert [found.code for found in diagnose("let ffn = blocks 1\ncache all every 2 steps\n")] == ["E208"]
