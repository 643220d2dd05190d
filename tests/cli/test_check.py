"""`ecad check` in its formats, its `--fix`, and what `check` and `fmt` make of bytes that editors leave behind."""

import io
import json
import sys

import pytest

from ecad_dsl.language.parser import MAX_BYTES

BAD = "model pixart-alpha\nsteps 20\ncache fnn every 2 steps  # why\ncache all\nreuse cross at steps 0-5\n"
BOM = b"\xef\xbb\xbf"


def test_fix_writes_the_file_and_reports_what_is_left(ecad, write) -> None:
    path = write(BAD.replace("cache all\n", "reuse self in blocks 30\n"))
    code, out, err = ecad("check", "--fix", path)
    assert code == 1
    assert "error[E203]" in out
    assert "E202" not in out
    assert err == f"fixed: {path} (1 fix)\n"
    assert "cache ffn every 2 steps  # why\n" in path.read_text()
    assert list(path.parent.iterdir()) == [path]


def test_fix_leaves_a_file_alone_that_needs_none_or_is_no_text(ecad, write) -> None:
    for data in (b"cache all every 2 steps", b"cache \xff\n", b"#" * (2 << 20)):
        path = write(data)
        before = path.stat()
        ecad("check", "--fix", path)
        assert path.read_bytes() == data
        assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_fix_of_standard_input_writes_the_program_alone_to_standard_output(ecad, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BOM + b"cahce fnn\r\ncache self,")))
    code, out, err = ecad("check", "--fix", "-", "-m", "pixart-alpha")
    assert code == 1
    assert out == "\ufeffcache ffn\r\ncache self,"
    assert "fixed: <stdin> (2 fixes)" in err
    assert "error[E108]" in err


def test_check_says_how_much_of_it_can_be_fixed(ecad, write) -> None:
    assert (
        "2 of 3 can be put right by `ecad check --fix`\n" in ecad("check", write(BAD + "cahce all\ncache self,\n"))[1]
    )
    assert "--fix" not in ecad("check", write("cache self,\n"))[1]


def test_json_carries_the_fix(ecad, write) -> None:
    for option in (["--json"], ["--format", "json"]):
        code, out, _ = ecad("check", *option, write(BAD))
        first, *_ = json.loads(out)
        assert code == 1
        assert first["fix"] == {"line": 3, "column": 7, "end_line": 3, "end_column": 10, "text": "ffn"}


def test_github_annotations(ecad, write) -> None:
    path = write('meta a "100%:\nlet b = components self\n', "a,b%.ecad")
    code, out, _ = ecad("check", "--format", "github", path)
    assert code == 1
    name = str(path).replace("%", "%25").replace(",", "%2C")
    title = "E110%3A a text in quotes is not well formed"
    assert out == (
        f"::error file={name},line=1,col=8,endLine=1,endColumn=14,title={title}::the text in quotes does not end"
        '%0Ahelp: close it with `"` on the same line; a quote inside is written `\\"`\n'
    )
    path = write("let b = components self\n", "b.ecad")
    place, title = f"file={path},line=1,col=5,endLine=1,endColumn=6", "W308%3A a name is bound and not used"
    expected = f"::warning {place},title={title}::no rule uses `b`%0Ahelp: leave the line out\n"
    assert ecad("check", "--format", "github", path) == (0, expected, "")
    assert ecad("check", "--format", "github", write("")) == (0, "", "")
    assert ecad("check", "--format", "github", "--json", path)[0] == 2


@pytest.mark.parametrize(
    ("data", "canonical"),
    [
        (b"", b""),
        (b"\n \t\n", b""),
        (BOM, b""),
        (b"# nothing\n# else", b"# nothing\n# else\n"),
        (b"cache all", b"cache all\n"),
        (b"cache all\r\n# end\r\n", b"cache all\n# end\n"),
        (BOM + b"cache all\n", b"cache all\n"),
        (b"cache\tall\n\tevery 2 steps\n", b"cache all every 2 steps\n"),
        ("# \u4e2d\u6587 \u2028 \x85 caf\u00e9\ncache all\n".encode(), None),
    ],
)
def test_fmt_is_stable_and_its_diff_is_a_patch(ecad, write, data: bytes, canonical: bytes | None) -> None:
    path = write(data)
    assert ecad("check", path)[0] == 0
    assert ecad("check", "--fix", path)[0] == 0
    assert path.read_bytes() == data
    expected = data if canonical is None else canonical
    changed = expected != data
    code, out, _ = ecad("fmt", "--diff", path)
    assert code == changed
    if changed:
        body = out.split("\n")[3:]
        assert "".join(patched(body)).encode() == expected
    assert ecad("fmt", "--check", path)[0] == changed
    assert ecad("fmt", path)[0] == 0
    assert path.read_bytes() == expected
    assert ecad("fmt", "--check", path) == (0, "", "")
    assert ecad("fmt", "--diff", path) == (0, "", "")


def patched(lines: list[str]) -> list[str]:
    """What the lines of one hunk leave."""
    kept: list[str] = []
    last = ""
    for line in lines:
        if line.startswith(("+", " ")):
            kept.append(line[1:] + "\n")
        elif line.startswith("\\") and last.startswith("+"):
            kept[-1] = kept[-1].removesuffix("\n")
        last = line
    return kept


def test_fmt_leaves_a_file_that_would_grow_beyond_the_limit(ecad, write) -> None:
    line = b"cache all in blocks 0,1\n"  # the formatter writes a space after the comma
    data = b"#" * (MAX_BYTES - len(line) - 1) + b"\n" + line
    path = write(data)
    code, out, err = ecad("fmt", path)
    assert (code, out, path.read_bytes()) == (2, "", data)
    assert "larger than 1 MiB" in err


@pytest.mark.parametrize("start", [b"", BOM])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_fix_keeps_every_other_byte(ecad, write, start: bytes, end: bytes) -> None:
    lines = ["# caf\u00e9 \u4e2d", "model\tpixart-alpha", "steps 20", "cache  fnn\tevery 2 steps # a", "", "# b"]
    data = start + end.join(line.encode() for line in lines)
    path = write(data)
    assert ecad("check", "--fix", path)[0] == 0
    assert path.read_bytes() == data.replace(b"fnn", b"ffn")


def test_carets_stand_under_wide_characters(ecad, write) -> None:
    _, out, _ = ecad("check", write('meta a "\u4e2d\u6587" every\n'))
    marked, carets = out.splitlines()[3:5]
    # Two columns a character.
    assert carets.index("^") == marked.index("every") + 2


def test_explain_prints_a_page_and_says_which_codes_there_are(ecad) -> None:
    code, out, _ = ecad("explain", "e203")
    assert code == 0
    assert out.startswith("E203: no such block\n")
    assert "$ ecad check fast.ecad\n    error[E203]" in out
    assert ecad("explain", "E999")[0] == 2
    assert "E101 to E114" in ecad("explain", "E999")[2]
    assert ecad("explain", "nonsense")[0] == 2
