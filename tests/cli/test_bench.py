"""``ecad bench``: the table, the JSON, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch

PAPER = Path(__file__).parent.parent / "data" / "paper"
PROGRAMS = Path(__file__).parent.parent.parent / "schedules" / "paper"
TINY = ("--blocks", 2, "--heads", 1, "--height", 32, "--width", 32, "--rounds", 1)
PORTABLE = "cache all every 2 steps\n"


def test_a_portable_program_runs_on_the_reference_model(ecad, write, tmp_path: Path) -> None:
    figures = tmp_path / "new" / "bench.json"
    code, out, _ = ecad("bench", write(PORTABLE), "--steps", 2, "--rounds", 1, "--out", figures)
    assert code == 0
    assert "reference, 2 M parameters, 256 x 256, batch 1, float32" in out
    assert all(name in out for name in ("none", "all recompute", "a  ", "overhead of running under a schedule"))
    report = json.loads(figures.read_text())
    assert (report["model"], report["device"], report["blocks"], report["rounds"]) == ("reference", "cpu", 8, 1)
    assert [line["name"] for line in report["schedules"]] == ["none", "all recompute", "a"]


def test_a_program_for_the_whole_model_is_rewritten_for_a_smaller_one(ecad) -> None:
    code, out, _ = ecad("bench", PROGRAMS / "pixart-alpha-256-fast.ecad", *TINY, "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["model"], report["blocks"], report["height"]) == ("pixart-alpha", 2, 32)
    shares = [line["recomputed"] for line in report["schedules"]]
    assert shares[:2] == [1, 1]
    assert shares[2] == pytest.approx(598 / 1680, abs=0.1)


def test_masks_run_on_the_model_that_they_name(ecad, write, tmp_path: Path) -> None:
    program, masks = write(f"model reference\n{PORTABLE}"), tmp_path / "masks.safetensors"
    assert ecad("compile", program, "--steps", 2, "-o", masks)[0] == 0
    code, out, _ = ecad("bench", masks, program, "--steps", 2, "--rounds", 1, "--json")
    assert code == 0
    lines = {line["name"]: line for line in json.loads(out)["schedules"]}
    assert lines["masks"]["macs"] == lines["a"]["macs"] < lines["none"]["macs"]


def test_files_of_one_name_keep_rows_of_their_own(ecad, write, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    files = [write(PORTABLE, name) for name in ("none.ecad", "a.ecad", "other/a.ecad")]
    code, out, _ = ecad("bench", *files, "--steps", 2, *TINY, "-m", "pixart-alpha", "--json")
    assert code == 0
    names = [line["name"] for line in json.loads(out)["schedules"]]
    assert len(set(names)) == len(names) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((PROGRAMS / "flux-256-fast.ecad", "-m", "pixart-alpha"), "ecad retarget"),
        ((PROGRAMS / "flux-256-fast.ecad", "-m", "pixart-alpha", "--blocks", 2), "ecad retarget"),
        ((PAPER / "flux_256_fast.json", "-m", "pixart-alpha"), "ecad decompile"),
        ((PAPER / "flux_256_fast.json", "--blocks", 3), "ecad decompile"),
        (("missing.ecad",), "there is no file missing.ecad"),
        ((PROGRAMS / "flux-256-fast.ecad", "--height", 100), "multiples of 16 pixels"),
        ((PROGRAMS / "flux-256-fast.ecad", "--steps", 10), "steps"),
        ((PROGRAMS / "flux-256-fast.ecad", "-m", "nonsense"), "unknown model"),
        ((PROGRAMS / "flux-256-fast.ecad", "--blocks", 3, "--device", "nonsense"), "cannot use the device 'nonsense'"),
        ((PROGRAMS / "flux-256-fast.ecad", "--out", "/"), "it is a folder"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_model_is_made(ecad, options, message: str) -> None:
    code, out, err = ecad("bench", *options)
    assert (code, out) == (2, "")
    assert message in err


def test_an_accelerator_without_enough_memory_is_no_traceback(ecad, write, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("ecad_dsl.quality.bench.bench", exhausted)
    code, _, err = ecad("bench", write(PORTABLE), "--steps", 2)
    assert code == 2
    assert "not enough memory" in err
    assert "--batch" in err
