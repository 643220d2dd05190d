"""Reading files, and writing programs with the model's own names."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecad_dsl import schedules
from ecad_dsl.errors import EcadError
from ecad_dsl.models import load_spec, spec_names
from ecad_dsl.schedule import check, compile, format, load, parse, rewrite_aliases


def test_load_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "fast.ecad"
    path.write_bytes(b"\xef\xbb\xbfcache all every 2 steps\r\n")
    assert load(path) == load(str(path)) == parse("cache all every 2 steps")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "there is no file"),
        (b"cahce all", r"fast\.ecad:1:1"),
        (b"\x89PNG", "not UTF-8"),
        (b"#" * (2 << 20), "larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_program(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "fast.ecad"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EcadError, match=expected):
        load(path)


def test_a_folder_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(EcadError, match="is a folder"):
        load(tmp_path)


def test_a_path_that_cannot_be() -> None:
    with pytest.raises(EcadError, match="cannot read"):
        load("a\0b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cache full_ff every 2 steps", "cache ffn_image every 2 steps"),
        ("cache full_attn, ff", "cache attn, ffn_image in all double blocks"),
        ("cache full_attn, mlp", "cache full_attn, mlp"),
        ("cache single_attn every 2 steps", "cache attn in all single blocks every 2 steps"),
        ("cache single_attn, single_proj_out", "cache attn, out in all single blocks"),
        ("cache single_attn in single blocks 3-9", "cache attn in single blocks 3-9"),
        (
            "cache single_attn in single blocks 3 and even single blocks",
            "cache attn in single block 3 and even single blocks",
        ),
        ("cache single_attn in blocks 9-30", "cache single_attn in blocks 9-30"),
        ("cache single_attn in double blocks 3 and single block 3", None),
        ("cache all except single_attn", "cache all except single_attn"),
        ("cache all except single_proj_out", "cache all except out"),
        ("cache proj_out, out, single_proj_out", "cache out"),
        ("cache full_attn, single_attn", "cache full_attn, single_attn"),
        ("let x = components single_attn, proj_mlp\ncache x", "let x = components single_attn, mlp\ncache x"),
    ],
)
def test_aliases_are_rewritten_where_that_keeps_the_meaning(text: str, expected: str | None) -> None:
    spec = load_spec("flux.1-dev")
    program = parse(f"model flux.1-dev\n{text}")
    if expected is not None:
        assert format(program) == f"model flux.1-dev\n{expected}\n"
    assert compile(rewrite_aliases(program, spec), spec, 8) == compile(program, spec, 8)


def test_aliases_stay_while_the_model_is_not_known() -> None:
    assert format(parse("cache attn1")) == "cache attn1\n"
    assert format(parse("model mine\ncache attn1")) == "model mine\ncache attn1\n"
    assert format(parse("model pixart-alpha\ncache attn1")) == "model pixart-alpha\ncache self\n"


@pytest.mark.parametrize("name", schedules.names())
def test_the_library_is_canonical_and_portable(name: str) -> None:
    program = schedules.load(name)
    assert format(program) == schedules.text(name)
    assert program.meta["title"]
    if name in schedules.names("baselines"):
        assert program.model is None
        for model in spec_names():
            assert not any(diagnostic.is_error for diagnostic in check(program, model, 20))


def test_the_library_holds_the_baselines() -> None:
    expected = {"none", *(f"fora-{n}" for n in range(2, 7)), "tgate-50", "pab", "delta-dit", "deepcache-middle"}
    assert expected <= set(schedules.names("baselines"))
    assert compile(schedules.load("fora-3"), "pixart-alpha", 20).recomputed == 7 * 84


def test_an_unknown_schedule_is_named() -> None:
    with pytest.raises(EcadError, match="did you mean `fora-2`"):
        schedules.load("fora2")
