"""``ecad explain``, ``diff``, ``retarget`` and the maps of ``show``, as their users meet them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from ecad_dsl.cli.console import console
from ecad_dsl.schedule import parse

PIXART = "model pixart-alpha\nsteps 20\n"
A = f"{PIXART}cache all every 2 steps\nreuse cross from step 10\n"
B = f"{PIXART}cache all every 2 steps\nreuse cross from step 12  # later\n"


def test_explain_says_what_each_rule_does_within_80_columns(ecad, write) -> None:
    code, out, err = ecad("explain", write(A))
    assert (code, err) == (0, "")
    assert "line 4   reuse cross from step 10\n         Reuse cross of every block at steps 10 to 19.\n" in out
    assert "Without it 140 cells would be recomputed." in out
    assert max(map(len, out.splitlines())) <= 80


def test_explain_as_json_is_exact(ecad, write) -> None:
    code, out, _ = ecad("explain", "--json", write(A))
    assert code == 0
    first, second = json.loads(out)
    assert first["rule"] == "cache all every 2 steps"
    assert (second["line"], second["decides"], second["would_recompute"], second["would_reuse"]) == (4, 280, 140, 0)
    assert second["saves"] == 140 * 2 * (256 + 120) * 2 * 1152**2


def test_explain_of_an_empty_program_says_that_nothing_is_saved(ecad, write) -> None:
    code, out, _ = ecad("explain", write(PIXART))
    assert code == 0
    assert "1,680 of 1,680 cells recomputed; 0.0% of the MACs saved." in out.replace("\n", " ")


def test_diff_shows_rules_cells_macs_and_a_map_and_exits_1(ecad, write, tmp_path: Path) -> None:
    picture = tmp_path / "diff.png"
    code, out, err = ecad("diff", write(A), write(B, "b.ecad"), "-o", picture)
    assert code == 1
    assert "  cache all every 2 steps\n- reuse cross from step 10\n+ reuse cross from step 12\n" in out
    assert "blocks cross          0         28" in out
    assert sum(line.endswith("·" * 20 + "bb" + "·" * 18) for line in out.splitlines()) == 28
    assert Image.open(picture).size[0] > 300
    assert err.startswith("written: ")


def test_diff_of_the_same_schedule_in_other_words_says_so_and_exits_0(ecad, write) -> None:
    other = write(f"{PIXART}cache all every 2 steps\ncache cross every 2 steps\nreuse cross from step 9\n", "b.ecad")
    code, out, _ = ecad("diff", write(A), other)
    assert code == 0
    assert "+ reuse cross from step 9" in out
    assert "the schedules are the same" in out
    assert ecad("diff", other, other)[1].startswith("the rules are the same\nthe schedules are the same")


def test_diff_as_json_has_everything(ecad, write) -> None:
    code, out, _ = ecad("diff", "--json", write(A), write(B, "b.ecad"))
    assert code == 1
    result = json.loads(out)
    assert result["same"] is False
    assert [change["kind"] for change in result["rules"]] == ["same", "changed"]
    assert result["cells"][1] == {"stack": "blocks", "component": "cross", "only_a": 0, "only_b": 28}
    assert result["macs"]["b"] - result["macs"]["a"] == result["macs"]["difference"] > 0


def test_a_portable_program_is_compared_on_the_model_of_the_other(ecad, write) -> None:
    code, out, _ = ecad("diff", write("cache all every 2 steps\n"), write(B, "b.ecad"))
    assert code == 1
    assert "PixArt-alpha, 20 steps: cells recomputed" in out


def test_retarget_prints_the_program_and_tells_apart_what_is_lost(ecad, write) -> None:
    path = write(A)
    code, out, err = ecad("retarget", path, "--to", "flux.1-dev", "--to-steps", "50")
    assert (code, out) == (0, "model flux.1-dev\nsteps 50\ncache all every 2 steps\n")
    assert err == f"{path}:4: `reuse cross from step 10` is dropped: FLUX.1-dev has nothing for it\n"


def test_retarget_writes_a_file_that_checks(ecad, write, tmp_path: Path) -> None:
    target = tmp_path / "flux.ecad"
    assert ecad("retarget", write(A), "--to", "flux.1-dev", "-o", target)[:2] == (0, "")
    code, out, _ = ecad("retarget", write(A), "--to-steps", "50")
    assert code == 0
    assert "model pixart-alpha" in out
    assert "steps 50" in out
    assert parse(target.read_text()).model == "flux.1-dev"
    assert ecad("check", target)[0] == 0


@pytest.mark.parametrize("steps", [20, 50, 200])
@pytest.mark.parametrize(("model", "blocks"), [("pixart-alpha", 28), ("flux.1-dev", 57), ("reference", 8)])
def test_maps_fit_80_columns_and_show_every_cell(ecad, write, monkeypatch, model: str, blocks: int, steps: int) -> None:
    monkeypatch.setattr(console(), "_width", 80)
    code, out, _ = ecad("show", write("reuse all from step 50%\n"), "-m", model, "-s", steps)
    assert code == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    body = [line for line in lines if line[:5].strip().isdigit()]
    shown = "".join(line[6:] for line in body)
    assert shown.count("█") == shown.count("·") == blocks * steps // 2 * (2 if steps == 20 else 1)


def test_diff_of_masks_compares_cells_but_no_rules(ecad, write, tmp_path: Path) -> None:
    program, masks = write(A), tmp_path / "a.safetensors"
    assert ecad("compile", program, "-o", masks)[0] == 0
    code, out, _ = ecad("diff", masks, program)
    assert (code, out) == (0, "the schedules are the same: on PixArt-alpha, 20 steps, every cell is\n")
    code, out, _ = ecad("diff", write("reuse all\n", "b.ecad"), masks, "--json")
    found = json.loads(out)
    assert (code, found["rules"], found["steps"]) == (1, None, 20)
    assert found["macs"]["difference"] > 0


def test_diff_of_masks_of_different_shapes_says_what_can_be_rewritten(ecad, write, tmp_path: Path) -> None:
    masks, fifty = tmp_path / "a.json", tmp_path / "fifty.json"
    ecad("compile", write(A), "-o", masks)
    ecad("compile", write("reuse all\n"), "-m", "pixart-alpha", "-s", 50, "-o", fifty)
    code, _, err = ecad("diff", masks, write("model pixart-alpha\nsteps 50\n", "b.ecad"))
    assert code == 2
    assert "b.ecad --to pixart-alpha --to-steps 20" in err
    code, _, err = ecad("diff", masks, fifty)
    assert code == 2
    assert f"ecad decompile {masks}" in err


WRONG = [
    (("explain", "missing.ecad"), "there is no file missing.ecad"),
    (("explain", "{bad}"), "PixArt-alpha has no block 30"),
    (("explain", "{a}", "--steps", "7"), "the program is for 20 steps"),
    (("explain", "{a}", "--model", "nonsense"), "unknown model 'nonsense'"),
    (("diff", "{a}", "missing.ecad"), "there is no file missing.ecad"),
    (("diff", "{a}", "{flux}"), "a.ecad --to flux.1-dev --to-steps 20"),
    (("diff", "{a}", "{fifty}"), "a.ecad --to pixart-alpha --to-steps 50"),
    (("diff", "{a}", "{a}", "-o", "map.bmp"), "written as .png, .svg or .pdf"),
    (("diff", "-", "-"), "one of the two, not both"),
    (("retarget", "{a}"), "say what to rewrite it for"),
    (("retarget", "{a}", "--to", "nonsense"), "unknown model 'nonsense'"),
    (("retarget", "{bad}", "--to", "flux.1-dev"), "PixArt-alpha has no block 30"),
    (("retarget", "{portable}", "--to", "flux.1-dev"), "say it: --model MODEL"),
    (("retarget", "{portable}", "-m", "reference", "--to", "flux.1-dev", "--to-steps", "9"), "say it: --steps N"),
    (("retarget", "{a}", "--to", "flux.1-dev", "-o", "/proc/nowhere/b.ecad"), "cannot write"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_wrong_use_is_told_what_to_do(ecad, write, tmp_path: Path, monkeypatch, arguments, message: str) -> None:
    files = {
        "a": write(A),
        "bad": write(f"{PIXART}cache ffn in blocks 10-30\n", "bad.ecad"),
        "flux": write("model flux.1-dev\nsteps 20\n", "flux.ecad"),
        "fifty": write("model pixart-alpha\nsteps 50\n", "fifty.ecad"),
        "portable": write("cache all\n", "portable.ecad"),
    }
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = ecad(*(argument.format(**files) for argument in arguments))
    assert (code, out) == (2, "")
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before
