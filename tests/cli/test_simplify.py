"""`ecad simplify` and `ecad decompile`: what goes where, and that nothing is lost when they fail."""

from pathlib import Path

import pytest

from ecad_dsl.schedule import compile, parse

LONG = """\
# A slow start.
model reference
steps 12
cache self in first 8 blocks every 2 steps  # self
cache cross in first 8 blocks every 2 steps  # cross
cache ffn every 2 steps  # ffn
recompute all at steps 0, 1, 2, 3
"""
NOISY = "model reference\nsteps 6\ncache all every 2 steps\nrecompute ffn in block 3 at step 5  # noise\n"


def test_simplify_prints_the_program_and_says_what_it_gained(ecad, write) -> None:
    path = write(LONG)
    code, out, err = ecad("simplify", path)
    assert code == 0
    assert out.startswith("# A slow start.\nmodel reference\nsteps 12\n")
    assert compile(parse(out)) == compile(parse(LONG))
    assert len(parse(out).rules) <= 2
    assert "4 rules of 13 literals before" in err
    assert path.read_text() == LONG


def test_without_a_search_only_rewrites_are_made(ecad, write) -> None:
    code, out, err = ecad("simplify", write(LONG), "--effort", 0)
    assert code == 0
    assert "recompute all at first 4 steps" in out
    assert "4 rules of 13 literals before, 2 rules of 4 literals after" in err


def test_simplify_leaves_a_portable_program_portable(ecad, write) -> None:
    path = write("cache self in blocks 0-27 every 1 step\ncache ffn in blocks 0-27 every 2 steps\n")
    assert ecad("simplify", path)[1] == "cache ffn in blocks 0-27 every 2 steps\n"
    code, out, _ = ecad("simplify", path, "-m", "pixart-alpha", "-s", 20)
    assert (code, out) == (0, "model pixart-alpha\nsteps 20\ncache ffn every 2 steps\n")


def test_simplify_writes_a_file_over_its_input_too(ecad, write) -> None:
    path = write("reuse ffn from step 0\n")
    code, out, err = ecad("simplify", path, "-o", path)
    assert (code, out, path.read_text()) == (0, "", "reuse ffn\n")
    assert "written" in err


@pytest.mark.parametrize(("measure", "tolerance"), [("fidelity", 5), ("reward", 5), ("cost", 0.02)])
def test_a_tolerance_removes_rules_and_says_what_each_was_worth(ecad, write, measure: str, tolerance: float) -> None:
    code, out, err = ecad("simplify", write(NOISY), "--tolerance", tolerance, "--measure", measure, "--prompts", 1)
    assert code == 0
    assert len(parse(out).rules) == 1
    assert "- recompute ffn in block 3 at step 5\n    worth " in err
    assert "1 comment of rules" in err


def test_a_tolerance_of_nothing_removes_nothing_that_is_worth_something(ecad, write) -> None:
    code, out, err = ecad("simplify", write(NOISY), "--tolerance", 0, "--measure", "cost")
    assert (code, out) == (0, NOISY)
    assert "worth" not in err


def test_decompile_says_what_the_program_is_of(ecad, write, tmp_path: Path) -> None:
    text = "model pixart-alpha\nsteps 20\nreuse all\nrecompute all every 3 steps\n"
    target = tmp_path / "found.ecad"
    code, out, err = ecad("decompile", write(text, "slow.ecad"), "-o", target)
    assert (code, out) == (0, "")
    assert "1 rule of 2 literals" in err
    found = target.read_text()
    assert found.startswith('model pixart-alpha\nsteps 20\nmeta source "slow.ecad"\n')
    assert compile(parse(found)) == compile(parse(text))
    assert len(parse(found).rules) == 1


WRONG = [
    (("simplify", "missing.ecad"), "missing.ecad"),
    (("simplify", "{bad}"), "PixArt-alpha has no block 30"),
    (("simplify", "{good}", "-o", "/proc/nowhere/a.ecad"), "cannot write"),
    (("simplify", "{good}", "--model", "nonsense"), "nonsense"),
    (("simplify", "{good}", "--tolerance", "1"), "is measured on the reference model"),
    (("simplify", "{good}", "--tolerance", "-1"), "tolerance"),
    (("simplify", "{good}", "--effort", "-1"), "effort"),
    (("decompile", "missing.ecad"), "missing.ecad"),
    (("decompile", "{bad}"), "PixArt-alpha has no block 30"),
    (("decompile", "{good}", "-o", "/proc/nowhere/a.ecad"), "cannot write"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_wrong_use_is_told_what_is_wrong_and_leaves_nothing_behind(
    ecad, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    good, bad = "model pixart-alpha\nsteps 20\ncache all every 3 steps\n", "model pixart-alpha\nreuse ffn in block 30\n"
    files = {"good": write(good, "good.ecad"), "bad": write(bad, "bad.ecad")}
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
    code, out, err = ecad(*(argument.format(**files) for argument in arguments))
    assert (code, out) == (2, "")
    assert message in err.replace("\n", " ")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("command", ["simplify", "decompile"])
def test_ctrl_c_leaves_the_file_alone(ecad, write, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ecad_dsl.schedule.decompile.decompile", interrupted)
    path = write(LONG)
    code, out, err = ecad(command, path, "-o", path)
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    assert path.read_text() == LONG
    assert list(path.parent.iterdir()) == [path]
