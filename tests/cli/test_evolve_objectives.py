"""``ecad evolve`` for more than two objectives, and within limits, from the command to the tables."""

import csv
import json
from pathlib import Path

import pytest

from ecad_dsl.schedule import load

SMALL = ("--population", 4, "--generations", 1, "--prompts", 1, "--held-out", 2, "--steps", 3, "--workers", 1)


def test_three_objectives_from_the_search_to_the_tables(ecad, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, out, _ = ecad("evolve", "--run", run, *SMALL, "--objective", "rules,latency,reward")
    assert code == 0
    assert "time %" in out
    assert "reward on 2 held-out prompts" in out
    meta = [load(file).meta for file in (run / "front").glob("*.ecad")]
    assert all({"calibration_reward", "latency", "cache_bytes", "held_out_reward"} <= each.keys() for each in meta)
    code, again, _ = ecad("evolve", "--resume", run, "--workers", 1)
    assert (code, again) == (0, out)  # times are not measured anew
    code, _, err = ecad("evolve", "--resume", run, "--metric", "image-reward", "--preset", "quick-pixart")
    assert code == 2
    assert "a run goes on with its own settings; leave out --metric, --preset" in err.replace("\n", " ")
    code, _, err = ecad("evolve", "--resume", run, "--objective", "reward,macs")
    assert code == 2
    assert "objectives was reward,latency,rules, now reward,macs" in err.replace("\n", " ")
    assert ecad("runs", "show", run)[0] == 0
    code, out, _ = ecad("runs", "show", run, "--json")
    front = json.loads(out)["front"]
    assert code == 0
    assert all(line["latency"] > 0 for line in front)
    judged = [line["held_out"]["quantity"] for line in front if line["held_out"]]  # those with a file
    assert {*judged} == {"reward"}
    assert ecad("runs", "export", run, "--out", tmp_path / "tables")[0] == 0
    with (tmp_path / "tables" / "candidates.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {line["key"] for line in lines if line["on_front"] == "True"} == {line["key"] for line in front}
    assert all(float(line["latency"]) > 0 and float(line["cache_bytes"]) >= 0 for line in lines)
    assert ecad("report", run, "--prompts", 2, "--rounds", 0, "--pictures", 1, "--workers", 1)[0] == 0


def test_where_nothing_keeps_to_the_limits_the_search_says_so_and_keeps_everything(ecad, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, _, err = ecad("evolve", "--run", run, *SMALL, "--objective", "reward", "--min-reward", 50)
    assert code == 1
    assert "at least 50 is asked for" in err.replace("\n", " ")
    assert not list((run / "front").glob("*.ecad"))
    code, out, _ = ecad("runs", "show", run, "--json")
    assert code == 0
    assert (json.loads(out)["front"], json.loads(out)["cost"]["evaluations"]) == ([], 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--objective", "reward,speed"), "no objective 'speed'; there are: reward, fidelity, latency, macs"),
        (("--objective", "macs,rules"), "name reward or fidelity"),
        (("--objective", "reward,rules", "--genome", "bits"), "bits have no rules"),
        (("--objective", "reward,latency", "--workers", "500"), "disturb each other's timing"),
        (("--min-macs", "0.5", "--max-macs", "0.2"), "are shares with"),
        (("--objective", "reward", "--min-reward", "nan"), "min_reward is a finite number, not nan"),
        (("--steps", "10-8"), "less than the most, 8, not 10"),
        (("--steps", "8-20", "--population", "12"), "make population 13 or more"),
        (("--steps", "8-20", "--genome", "bits"), "varies for programs alone"),
        (("--prompts", "2", "--rotate", "3"), "2 prompts are cut into no more than 2 parts"),
        (("--prompt-file", "mine.txt", "--dtype", "float16"), "for pipelines only: --prompt-file, --dtype;"),
    ],
)
def test_what_cannot_be_searched_for_is_refused_before_a_folder_is_made(
    ecad, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    code, _, err = ecad("evolve", "--run", tmp_path / "run", *options)
    assert code == 2
    assert message in err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_a_run_of_an_older_version_is_not_gone_on_with(ecad, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[search]\nobjective = "reward"\n[problem]\nprompts = 2\n')
    code, _, err = ecad("evolve", "--resume", tmp_path)
    assert code == 2
    assert "started by an older ecad" in err.replace("\n", " ")


def test_a_table_is_never_cut_short(ecad, tmp_path: Path) -> None:
    run = tmp_path / "run"
    objectives = "reward,fidelity,macs,macs_full,cache_bytes,rules"
    code, out, _ = ecad("evolve", "--run", run, *SMALL, "--objective", objectives)
    assert code == 0
    told = [line.split()[0] for line in out.splitlines()[3:-1]]
    assert all(f"{load(file).meta['macs'] / 1e9:.3f}" in told for file in (run / "front").glob("*.ecad"))
    code, out, _ = ecad("runs", "list", run)
    assert code == 0
    assert "reward,fidelity,macs,macs_full,cache_bytes,rules" in out
    assert "measuring" in out
    assert str(run) in "".join(line[:10].strip() for line in out.splitlines())  # folded


def test_rules_are_counted_without_the_number_of_steps(ecad, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert ecad("evolve", "--run", run, *SMALL, "--steps", "2-3", "--objective", "reward,macs,rules")[0] == 0
    code, out, _ = ecad("runs", "show", run)
    assert code == 0
    assert "Search front" in out
    assert "the files in front/ are simplified" in out
    header, *lines = out.split("\nkey")[1].split("\n\n")[0].splitlines()
    at = header.index("rules") + len("key")
    shown = {line[:8]: int(line[at : at + len("rules")]) for line in lines}
    code, out, _ = ecad("runs", "show", run, "--json")
    assert code == 0
    assert shown == {line["key"][:8]: line["rules"] for line in json.loads(out)["front"]}
