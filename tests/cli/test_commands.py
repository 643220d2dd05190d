"""The command line, as its users meet it: output, exit codes, and messages instead of tracebacks."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from safetensors import safe_open

from ecad_dsl.schedule import compile, parse

PAPER = Path(__file__).parent.parent / "data" / "paper"
GOOD = "model pixart-alpha\nsteps 20\ncache all every 3 steps\n"


def test_check_is_silent_about_a_good_file_and_exits_0(ecad, write) -> None:
    assert ecad("check", write(GOOD)) == (0, "1 file checked: no mistakes\n", "")


def test_check_reports_every_mistake_with_its_place_and_exits_1(ecad, write) -> None:
    path = write("model pixart-alpha\nsteps 20\ncache fnn every 2 steps\ncache ffn in blocks 10-30\nkache all\n")
    code, out, _ = ecad("check", path)
    assert code == 1
    assert "error[E113]" in out
    assert "kache" in out
    code, out, _ = ecad("check", write("model pixart-alpha\nsteps 20\ncache ffn in blocks 10-30 every 2 steps\n"))
    assert code == 1
    assert "error[E203]: PixArt-alpha has no block 30" in out
    assert ":3:21" in out
    assert "^^^^^" in out


def test_check_goes_on_after_a_file_that_cannot_be_read(ecad, write, tmp_path: Path) -> None:
    code, out, err = ecad("check", tmp_path / "missing.ecad", write("cache every\n"))
    assert code == 2
    assert "missing.ecad" in err
    assert "error[E1" in out


def test_check_as_json_is_json(ecad, write) -> None:
    code, out, _ = ecad("check", "--json", write("model pixart-alpha\nsteps 20\ncache fnn every 2 steps\n"))
    assert code == 1
    (found,) = json.loads(out)
    assert found["code"] == "E202"


def test_check_warns_after_the_errors_and_still_exits_0_without_any(ecad, write) -> None:
    code, out, err = ecad("check", write("model pixart-alpha\nsteps 20\nlet deep = blocks 9\nreuse ffn at steps 0-5\n"))
    assert (code, err) == (0, "")
    assert out.index("warning[W308]: no rule uses `deep`") < out.index("warning[W307]")
    code, out, _ = ecad("check", write("model pixart-alpha\nlet deep = blocks 9\ncache fnn every 2 steps\n"))
    assert code == 1
    assert out.index("error[E202]") < out.index("warning[W308]")


@pytest.mark.parametrize("garbage", [b"\xff\xfe\x00garbage", bytes(range(256)) * 40, b"\x89PNG\r\n\x1a\n\0\0"])
def test_binary_garbage_is_a_diagnostic(ecad, write, garbage: bytes) -> None:
    code, out, _ = ecad("check", write(garbage))
    assert code == 1
    assert "error[E10" in out


def test_fmt_rewrites_in_place_and_has_nothing_to_do_the_second_time(ecad, write) -> None:
    path = write("model pixart-alpha # mine\ncache   attn1 from step 2   every 2 step\n")
    assert ecad("fmt", "--check", path)[0] == 1
    assert ecad("fmt", path)[0] == 0
    assert path.read_text() == "model pixart-alpha  # mine\ncache self every 2 steps from step 2\n"
    assert ecad("fmt", "--check", path) == (0, "", "")


def test_fmt_leaves_all_files_alone_if_one_has_a_mistake(ecad, write) -> None:
    good, bad = write("cache   all\n", "good.ecad"), write("cache every\n", "bad.ecad")
    code, _, err = ecad("fmt", good, bad)
    assert code == 2
    assert "bad.ecad" in err
    assert good.read_text() == "cache   all\n"


def test_fmt_diff_shows_the_change_and_makes_none(ecad, write) -> None:
    path = write("cache   all\n")
    code, out, _ = ecad("fmt", "--diff", path)
    assert code == 1
    assert "-cache   all\n+cache all\n" in out
    assert path.read_text() == "cache   all\n"


def test_compile_writes_the_masks_with_the_names_of_the_components(ecad, write, tmp_path: Path) -> None:
    target = tmp_path / "masks.safetensors"
    code, out, _ = ecad("compile", write(GOOD), "-o", target)
    assert code == 0
    assert "588 of 1,680 cells recomputed" in out
    with safe_open(target, "pt") as file:
        assert file.metadata()["components.blocks"] == "self,cross,ffn"
        masks = file.get_tensor("blocks")
    assert (masks == compile(parse(GOOD)).masks["blocks"]).all()


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_every_command_on_schedules_reads_what_compile_writes(ecad, write, tmp_path: Path, suffix: str) -> None:
    program, masks = write("steps 3\ncache all every 2 steps\n"), tmp_path / f"masks{suffix}"
    assert ecad("compile", program, "-o", masks)[0] == 0
    for command in (("compile", "--json"), ("show",), ("cost", "--json")):
        assert ecad(*command, masks) == ecad(*command, program)
    pictures = {}
    for file in (program, masks):
        assert ecad("generate", "a red circle on grass", "-c", file, "-o", tmp_path / file.name[0])[0] == 0
        (picture,) = (tmp_path / file.name[0]).glob("*.png")
        pictures[file] = Image.open(picture).tobytes()
    assert pictures[program] == pictures[masks]


def test_released_schedules_are_read_for_the_model_that_their_name_or_the_caller_tells(ecad) -> None:
    code, out, err = ecad("show", PAPER / "pixart_alpha_256_fast.json")
    assert (code, err) == (0, "")
    assert "PixArt-alpha, 20 steps: 599 of 1,680 cells" in out
    code, out, err = ecad("compile", PAPER / "pixart_sigma_256_fast.json", "--model", "pixart-alpha")
    assert (code, err) == (0, "")
    assert "PixArt-alpha, 20 steps: 534 of 1,680 cells" in out


def test_a_warning_is_printed_and_stops_nothing(ecad, write) -> None:
    content = (PAPER / "pixart_alpha_256_fast.json").read_text()
    path = write(content.replace('"total_macs": 2', '"total_macs": 3'), "changed.json")
    code, out, err = ecad("compile", path, "--model", "pixart-alpha")
    assert code == 0
    assert "599 of 1,680" in out
    figures = "total_macs is 3,134,989,471,744, but the schedule costs 2,134,989,471,744"
    assert err == f"warning: {path}: {figures} on PixArt-alpha at 256 x 256 pixels\n"
    guessed, total = ecad("compile", path)[2].splitlines()
    assert guessed.startswith(f"warning: {path} fits pixart-alpha and pixart-sigma")
    assert f"{total}\n" == err


def test_show_draws_every_block_and_a_picture(ecad, write, tmp_path: Path) -> None:
    picture = tmp_path / "map.png"
    code, out, _ = ecad("show", write(GOOD), "-o", picture)
    assert code == 0
    assert sum("██····██" in line for line in out.splitlines()) == 28
    assert Image.open(picture).size[0] > 300


def test_cost_is_exact(ecad, write) -> None:
    code, out, _ = ecad("cost", "--json", write("model pixart-alpha\nsteps 20\n"))
    assert code == 0
    result = json.loads(out)
    assert round(result["macs"] / 1e12, 3) == 5.714
    assert sum(part["macs"] for part in result["parts"]) == result["macs"]


def test_cost_says_for_which_size_it_counts(ecad, write) -> None:
    released = PAPER / "flux_256_fast.json"
    code, out, err = ecad("cost", released)
    assert code == 0
    assert "for 1024 x 1024 pixels, the model's own height and width; --height and --width count another" in out
    made, options = "was made for 256 x 256 pixels", "--height 256 --width 256"
    assert err == f"{released} {made}, and 1024 x 1024 are counted; to count the file's: {options}\n"
    assert ecad("cost", "--json", released)[2] == err
    code, out, err = ecad("cost", released, "--height", 256, "--width", 256)
    assert (code, err) == (0, "")
    assert "own" not in out
    assert "256 x 512 pixels, the model's own height" in ecad("cost", write("cache all"), "--width", 512)[1]


def test_generate_draws_the_same_picture_with_and_without_a_schedule_that_caches_nothing(
    ecad, write, tmp_path: Path
) -> None:
    plain, same = tmp_path / "plain", tmp_path / "same"
    assert ecad("generate", "a red circle on grass", "-s", 3, "-o", plain)[0] == 0
    assert ecad("generate", "a red circle on grass", "-c", write("steps 3\n"), "-o", same)[0] == 0
    (one,), (other,) = plain.glob("*.png"), same.glob("*.png")
    assert one.name == other.name == "0-a-red-circle-on-grass.png"
    assert Image.open(one).tobytes() == Image.open(other).tobytes()


def test_compare_prints_and_writes_every_baseline(ecad, write, tmp_path: Path) -> None:
    table, plot, masks = tmp_path / "table.csv", tmp_path / "plot.png", tmp_path / "masks.safetensors"
    assert ecad("compile", write("steps 3\nreuse cross\n"), "-o", masks)[0] == 0
    code, out, _ = ecad(
        "compare", write("cache all every 2 steps\n", "mine.ecad"), masks, "--workers", 1,
        "-s", 4, "--prompts", 2, "--rounds", 0, "--csv", table, "--plot", plot, "--tables", tmp_path / "all",
    )  # fmt: skip
    assert code == 0
    assert "gains at equal cost" in out
    assert "Hypervolume" in out
    rewards = pd.read_csv(tmp_path / "all" / "rewards.csv").pivot(index="position", columns="name", values="reward")
    claims = pd.read_csv(tmp_path / "all" / "claims.csv").set_index("rival")
    assert claims.loc["fora-2", "gain"] == pytest.approx((rewards["mine"] - rewards["fora-2"]).mean())
    for name in ("mine", "masks", "none", "fora-3", "2 steps"):
        assert name in out
        assert f"\n{name}," in table.read_text()
    assert Image.open(plot).size[0] > 300


def test_compile_prints_a_steps_mask(ecad, tmp_path: Path) -> None:
    file = tmp_path / "fora.ecad"
    file.write_text("model pixart-alpha\nsteps 5\ncache all every 2 steps\n")
    assert ecad("compile", file, "--steps-mask") == (0, "1,0,1,0,1\n", "")
    file.write_text("model pixart-alpha\nsteps 5\ncache ffn every 2 steps\n")
    code, out, err = ecad("compile", file, "--steps-mask")
    assert (code, out) == (2, "")
    assert "step 1 recomputes 56 of 84 cells" in err


def test_evolve_writes_a_front_and_is_resumed_from_its_folder_alone(ecad, tmp_path: Path) -> None:
    run = tmp_path / "run"
    small = ("--population", 4, "--generations", 1, "--prompts", 1, "--steps", 3, "--held-out", 2, "--workers", 1)
    code, out, _ = ecad("evolve", "--run", run, *small)
    assert code == 0
    assert list((run / "front").glob("*.ecad"))
    again = ecad("evolve", "--resume", run, "--workers", 1)
    assert again[0] == 0
    assert again[1] == out
    code, _, err = ecad("evolve", "--resume", run, "--population", 6, "--seed", 2)
    assert code == 2
    assert "population was 4, now 6" in err
    assert "seed was 0, now 2" in err
    assert ecad("evolve", "--resume", run, "--generations", 2, "--workers", 1)[0] == 0
    code, out, _ = ecad("runs", "list", tmp_path)
    assert code == 0
    assert "2/2" in out
    code, out, _ = ecad("runs", "show", run, "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["settings"]["generations"] == 2
    assert shown["cost"]["pictures"] >= shown["cost"]["evaluations"]
    key = shown["front"][0]["key"]
    code, out, _ = ecad("runs", "show", run, key[:8])
    assert code == 0
    assert "\ngeneration 0, " in out
    assert f"{key[:8]}: " in out
    assert ecad("runs", "show", run)[0] == 0
    assert ecad("runs", "show", run, "zzz")[0] == 2
    assert ecad("runs", "list", tmp_path / "run" / "front")[0] == 2


SLOWLY = """
import time
from ecad_dsl.cli.main import main
from ecad_dsl.evolution.store import RunStore

put = RunStore.put
RunStore.put = lambda *arguments: (put(*arguments), time.sleep(0.2))
main()
"""


def test_ctrl_c_says_how_to_go_on_and_the_run_ends_as_if_nothing_had_happened(ecad, tmp_path: Path) -> None:
    small = ("--population", "4", "--generations", "5", "--prompts", "1", "--steps", "3", "--held-out", "2")
    # Slowly, so that it is not done before it is stopped, however busy the machine is with other tests.
    command = [sys.executable, "-c", SLOWLY, "evolve", "--run", str(tmp_path / "stopped"), *small, "--workers", "2"]
    # Tests that run in the background of a script ignore Ctrl-C, and would pass that on.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    store = tmp_path / "stopped" / "run.sqlite"
    wait_until(lambda: process.poll() is not None or (store.exists() and count(store) >= 6))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"ecad evolve --resume {tmp_path / 'stopped'}" in err
    assert "Traceback" not in err
    assert 6 <= count(store) < 24
    code, resumed, _ = ecad("evolve", "--resume", tmp_path / "stopped", "--workers", 1)
    assert code == 0
    _, whole, _ = ecad("evolve", "--run", tmp_path / "whole", *small, "--workers", 1)
    assert resumed.replace("stopped", "whole") == whole


def wait_until(done: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def count(store: Path) -> int:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        try:
            return int(database.execute("SELECT count(*) FROM candidates").fetchone()[0])
        except sqlite3.OperationalError:  # not made yet
            return 0


def test_demo_makes_every_file_that_it_names(ecad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecad_dsl.cli.demo.SHOWN", ("none", "fora-3", "7 steps"))  # the others take their time
    folder = tmp_path / "demo"
    code, out, _ = ecad(
        "demo", "--out", folder, "--population", 4, "--generations", 1, "--prompts", 1, "--judge-prompts", 2,
        "--rounds", 1, "--workers", 1,
    )  # fmt: skip
    assert code == 0
    for name in ("report.html", "pareto.png", "pictures.png", "schedule.png", "comparison.csv", "front"):
        assert (folder / name).exists()
        assert str(folder / name) in out.replace("\n", "")
    assert "fora-3" in out


WRONG = [
    (("check", "missing.ecad"), "missing.ecad"),
    (("show", "missing.ecad"), "missing.ecad"),
    (("compile", "{bad_block}"), "PixArt-alpha has no block 30"),
    (("compile", "{bad_component}"), "did you mean"),
    (("compile", "{good}", "--steps", "7"), "20 steps"),
    (("compile", "{good}", "--model", "flux.1-dev"), "FLUX.1-dev"),
    (("compile", "{good}", "--model", "nonsense"), "unknown model 'nonsense'"),
    (("compile", "{good}", "-o", "/proc/nowhere/masks.safetensors"), "cannot write"),
    (("cost", "{garbage}"), "error[E10"),
    (("cost", "{good}", "--height", "3"), "multiples of 16 pixels, not 3 x 256"),
    (("show", "{good}", "-o", "map.bmp"), "written as .png, .svg or .pdf"),
    (("show", "{good}", "-o", "/proc/nowhere/map.png"), "cannot write"),
    (("fmt", "{garbage}"), "error[E10"),
    (("generate", "a red unicorn"), "does not know 'unicorn'"),
    (("generate", "a red circle", "-c", "{bad_block}"), "the reference model has no block 30"),
    (("generate", "a red circle", "-c", "missing.ecad"), "missing.ecad"),
    (("generate", "a red circle", "-s", "1001"), "1001 steps are too many"),
    (("compile", "{good}", "-o", "-"), "name one: -o masks.safetensors"),
    (("compile", "{good}", "-o", "{tmp}"), "by the suffix"),
    (("compile", "{good}", "-o", "{folder}"), "cannot write"),
    (("compile", "{good}", "-o", "masks.npz"), "as .safetensors or .json, by the suffix"),
    (("compile", "{good}", "-o", "/proc/nowhere/masks.json"), "cannot write"),
    (("compile", "{json}", "--model", "flux.1-dev"), "num_blocks is 28, but FLUX.1-dev has 19"),
    (("compile", "{json}", "--steps", "7"), "has 20 steps, not 7"),
    (("show", "missing.json"), "there is no file missing.json"),
    (("show", "missing.safetensors"), "there is no file missing.safetensors"),
    (("cost", "{broken}"), "is no JSON"),
    (("check", "{json}"), "holds masks, not a program"),
    (("fmt", "{json}"), "holds masks, not a program"),
    (("generate", "a red circle", "-c", "{broken}", "-p", "/nowhere"), "is no JSON"),
    (("generate", "a red circle", "-c", "{json}"), "num_blocks is 28, but the reference model has 8"),
    (("compare", "{json}"), "num_blocks is 28, but the reference model has 8"),
    (("check", "{good}", "--model", "nonsense"), "unknown model 'nonsense'"),
    (("generate", "a red circle", "-p", "/nowhere"), "cannot load the pipeline"),
    (("generate", "a red circle", "-o", "/proc/nowhere"), "cannot write"),
    (("evolve",), "--run FOLDER"),
    (("evolve", "--run", "/proc/nowhere"), "cannot write"),
    (("evolve", "--resume", "{tmp}"), "holds no run"),
    (("compare", "{garbage}"), "error[E10"),
    (("compare", "{good}", "--csv", "/proc/nowhere/table.csv"), "cannot write"),
    (("demo", "--out", "/proc/nowhere"), "cannot write"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_wrong_use_is_told_what_is_wrong_and_leaves_nothing_behind(
    ecad, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    files = {
        "good": write(GOOD, "good.ecad"),
        "bad_block": write("model pixart-alpha\nsteps 20\ncache ffn in blocks 10-30\n", "block.ecad"),
        "bad_component": write("model pixart-alpha\nsteps 20\ncache ffm\n", "component.ecad"),
        "garbage": write(bytes(range(256)), "garbage.ecad"),
        "json": write((PAPER / "pixart_alpha_256_fast.json").read_bytes(), "fast.json"),
        "broken": write('{"cache_schedule": ', "broken.json"),
        "tmp": tmp_path,
        "folder": tmp_path / "folder.safetensors",
    }
    files["folder"].mkdir()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = ecad(*(argument.format(**files) for argument in arguments))
    assert code in (1, 2)
    assert message in (out + err).replace("\n", " ") or message in out + err
    assert sorted(tmp_path.rglob("*")) == before


def test_start_up_and_check_import_neither_torch_nor_anything_like_it(write) -> None:
    heavy = "torch diffusers transformers numpy pandas matplotlib pymoo"
    script = (
        "import sys; from ecad_dsl.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in '{heavy}'.split() if name in sys.modules])"
    )
    for arguments in (["--help"], ["check", str(write(GOOD))], ["fmt", "--check", str(write(GOOD))]):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]", arguments


def test_standard_input_is_read_for_a_dash(write) -> None:
    command = [sys.executable, "-m", "ecad_dsl.cli.main", "fmt", "-"]
    done = subprocess.run(command, input=b"cache   all\n", capture_output=True, check=False)
    assert done.returncode == 0
    assert done.stdout.replace(os.linesep.encode(), b"\n") == b"cache all\n"
