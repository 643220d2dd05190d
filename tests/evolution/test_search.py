"""The search: finds fronts, survives interruption, failure and killing."""

import json
import random as stdlib_random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ecad_dsl import EcadError
from ecad_dsl.evolution.search import evolve
from ecad_dsl.schedule import load
from tests.evolution.synthetic import Synthetic

SETTINGS = {"population": 8, "generations": 4, "seed": 3}


def figures(front) -> list[tuple[float, int]]:
    return [(candidate.reward, candidate.macs) for candidate in front]


def test_the_front_is_what_no_evaluation_beats(tmp_path: Path) -> None:
    *_, last = evolve(Synthetic(), tmp_path, **SETTINGS)
    with sqlite3.connect(tmp_path / "run.sqlite") as database:
        rows = database.execute("SELECT reward, macs FROM evaluations").fetchall()
    best = sorted(
        {(r, m) for r, m in rows if not any(r2 >= r and m2 <= m and (r2, m2) != (r, m) for r2, m2 in rows)},
        key=lambda pair: pair[1],
    )
    assert figures(last.front) == best
    assert last.evaluated == 8 * 5


def test_evolution_finds_better_schedules_than_it_started_with(tmp_path: Path) -> None:
    progress = list(evolve(Synthetic(), tmp_path, population=16, generations=10, seed=0))
    first = progress[15].front
    for reward, macs in figures(first):
        assert any(c.reward >= reward and c.macs <= macs for c in progress[-1].front)
    beaten = [c for c in progress[-1].front if any(c.reward > r and c.macs < m for r, m in figures(first))]
    assert beaten


def test_the_files_of_the_front_compile_to_what_was_measured(tmp_path: Path) -> None:
    from ecad_dsl.schedule import compile

    *_, last = evolve(Synthetic(), tmp_path, **SETTINGS)
    files = sorted((tmp_path / "front").glob("*.ecad"))
    assert len(files) == len({c.macs for c in last.front})
    keys = {candidate.schedule.key for candidate in last.front}
    for file in files:
        program = load(file)
        assert compile(program).key in keys
        assert program.meta["macs"] in {candidate.macs for candidate in last.front}


def test_a_run_stopped_anywhere_goes_on_to_the_same_front_and_measures_nothing_twice(tmp_path: Path) -> None:
    *_, whole = evolve(Synthetic(), tmp_path / "whole", **SETTINGS)
    for stop in (1, 7, 8, 9, 23):
        run = tmp_path / f"stopped-{stop}"
        search = evolve(Synthetic(), run, **SETTINGS)
        for _ in range(stop):
            next(search)
        search.close()
        problem = Synthetic()
        *_, resumed = evolve(problem, run, **SETTINGS)
        assert figures(resumed.front) == figures(whole.front)
        assert problem.measured <= whole.evaluated - stop


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    list(evolve(Synthetic(), tmp_path, **SETTINGS))
    with pytest.raises(EcadError, match="seed: 3, now 4"):
        next(evolve(Synthetic(), tmp_path, **(SETTINGS | {"seed": 4})))


def test_a_candidate_that_fails_is_recorded_with_its_reason_and_stops_nothing(tmp_path: Path) -> None:
    *_, last = evolve(Synthetic(fails=True), tmp_path, **SETTINGS)
    assert last.evaluated == 8 * 5
    assert last.failed > 0
    with sqlite3.connect(tmp_path / "run.sqlite") as database:
        reasons = {reason for (reason,) in database.execute("SELECT error FROM evaluations WHERE reward IS NULL")}
    assert reasons == {"RuntimeError: out of memory", "the reward is nan"}
    assert all(candidate.reward == candidate.reward for candidate in last.front)


@pytest.mark.parametrize("content", [b"not a database, but long enough to look like one" * 50])
def test_a_damaged_store_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.sqlite").write_bytes(content)
    with pytest.raises(EcadError, match=r"cannot use .*run\.sqlite"):
        next(evolve(Synthetic(), tmp_path, **SETTINGS))
    assert (tmp_path / "run.sqlite").read_bytes() == content


def test_a_process_killed_at_random_instants_loses_at_most_the_evaluation_in_flight(tmp_path: Path) -> None:
    *_, whole = evolve(Synthetic(), tmp_path / "whole", **SETTINGS)
    run = tmp_path / "killed"
    command = [sys.executable, "-m", "tests.evolution.synthetic", str(run), json.dumps(SETTINGS)]
    dice = stdlib_random.Random(0)
    announced = 0
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert process.stdout is not None
        announced = max(announced, int(process.stdout.readline()))
        time.sleep(dice.uniform(0.02, 0.25))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        lines = [line for line in rest.splitlines(True) if line.endswith("\n")]
        announced = max(announced, int(lines[-1]) if lines else 0)
    problem = Synthetic()
    *_, resumed = evolve(problem, run, **SETTINGS)
    assert figures(resumed.front) == figures(whole.front)
    assert problem.measured <= whole.evaluated - announced
