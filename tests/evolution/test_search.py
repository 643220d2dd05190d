"""The search: finds fronts, survives interruption, failure and killing."""

import json
import random as stdlib_random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import pytest

from ecad_dsl import EcadError
from ecad_dsl.evolution.search import evolve
from ecad_dsl.evolution.store import RunStore
from ecad_dsl.schedule import Schedule, compile, load, parse
from tests.evolution.synthetic import Synthetic

SETTINGS = {"population": 8, "generations": 4, "seed": 3}


def figures(front) -> list[tuple[float, int]]:
    return [(candidate.quality, candidate.reward, candidate.macs) for candidate in front]


def test_the_front_is_what_no_evaluation_beats(tmp_path: Path) -> None:
    *_, last = evolve(Synthetic(), tmp_path, **SETTINGS)
    with sqlite3.connect(tmp_path / "run.sqlite") as database:
        rows = database.execute(
            "SELECT json_extract(objectives, '$.reward'), json_extract(objectives, '$.macs') FROM candidates"
        ).fetchall()
    best = sorted(
        {(r, m) for r, m in rows if not any(r2 >= r and m2 <= m and (r2, m2) != (r, m) for r2, m2 in rows)},
        key=lambda pair: pair[1],
    )
    assert [(c.reward, c.macs) for c in last.front] == best
    assert last.evaluated == 8 * 5


def test_evolution_finds_better_schedules_than_it_started_with(tmp_path: Path) -> None:
    progress = list(evolve(Synthetic(), tmp_path, population=16, generations=10, seed=0))
    first = progress[15].front
    last = progress[-1].front
    assert all(any(c.quality >= old.quality and c.macs <= old.macs for c in last) for old in first)
    beaten = [c for c in last if any(c.quality > old.quality and c.macs < old.macs for old in first)]
    assert beaten


def test_the_files_of_the_front_compile_to_what_was_measured(tmp_path: Path) -> None:
    (tmp_path / "front").mkdir()
    (tmp_path / "front" / "macs-notes.ecad").write_text("# mine\n")
    *_, last = evolve(Synthetic(), tmp_path, **SETTINGS)
    assert (tmp_path / "front" / "macs-notes.ecad").read_text() == "# mine\n"
    (tmp_path / "front" / "macs-notes.ecad").unlink()
    files = sorted((tmp_path / "front").glob("*.ecad"))
    assert len(files) == len({c.macs for c in last.front})
    keys = {candidate.schedule.key for candidate in last.front}
    for file in files:
        program = load(file)
        assert compile(program).key in keys
        assert program.meta["macs"] in {candidate.macs for candidate in last.front}


@pytest.mark.parametrize("start", ["heuristic", "random"])
def test_what_was_bred_as_bits_is_written_as_short_programs(tmp_path: Path, start: str) -> None:
    settings = {"population": 6, "generations": 2, "seed": 3, "genome": "bits", "start": start}
    *_, last = evolve(Synthetic(), tmp_path, **settings)
    assert last.evaluated == 6 * 3
    files = sorted((tmp_path / "front").glob("*.ecad"))
    assert {compile(load(file)).key for file in files} == {candidate.schedule.key for candidate in last.front}
    with RunStore(tmp_path, create=False) as store:
        for evaluation in store.evaluations():
            assert compile(parse(evaluation.program), Synthetic().spec, 20).key == evaluation.key
    *_, again = evolve(Synthetic(), tmp_path, **settings)
    assert figures(again.front) == figures(last.front)


def test_a_search_may_begin_with_random_programs(tmp_path: Path) -> None:
    first, *_ = evolve(Synthetic(), tmp_path, start="random", **SETTINGS)
    assert first.last.edit == "random rules"


@pytest.mark.parametrize("objective", ["reward", "fidelity"])
def test_a_run_stopped_anywhere_goes_on_to_the_same_front_and_measures_nothing_twice(
    tmp_path: Path, objective: str
) -> None:
    *_, whole = evolve(Synthetic(), tmp_path / "whole", objectives=objective, **SETTINGS)
    rewards_of_front = [41] if objective == "fidelity" else []
    for stop in (1, 7, 8, 9, 23, *rewards_of_front):
        run = tmp_path / f"stopped-{stop}"
        search = evolve(Synthetic(), run, objectives=objective, **SETTINGS)
        for _ in range(stop):
            next(search)
        search.close()
        problem = Synthetic()
        *_, resumed = evolve(problem, run, objectives=objective, **SETTINGS)
        assert figures(resumed.front) == figures(whole.front)
        assert problem.measured == whole.evaluated + whole.to_reward - stop


def test_workers_find_what_one_process_finds_and_what_they_measured_is_kept(tmp_path: Path) -> None:
    alone = list(evolve(Synthetic(), tmp_path / "alone", objectives="fidelity", **SETTINGS))
    search = evolve(Synthetic(), tmp_path / "shared", objectives="fidelity", workers=2, **SETTINGS)
    begun = [next(search) for _ in range(11)]
    search.close()
    problem = Synthetic()
    shared = list(evolve(problem, tmp_path / "shared", objectives="fidelity", **SETTINGS))
    assert [figures(progress.front) for progress in begun] == [figures(progress.front) for progress in alone[:11]]
    assert [figures(progress.front) for progress in shared] == [figures(progress.front) for progress in alone]
    assert problem.measured <= len(alone) - len(begun)
    with pytest.raises(EcadError, match="at least one worker"):
        next(evolve(Synthetic(), tmp_path / "none", workers=0))


def test_a_search_for_fidelity_ends_with_the_front_of_the_rewards_of_what_came_closest(tmp_path: Path) -> None:
    problem = Synthetic()
    *_, last = evolve(problem, tmp_path, objectives="fidelity", **SETTINGS)
    assert problem.measured == last.evaluated + last.to_reward
    with sqlite3.connect(tmp_path / "run.sqlite") as database:
        rows = database.execute(
            "SELECT json_extract(objectives, '$.reward'), json_extract(objectives, '$.macs') FROM candidates"
        ).fetchall()
    rows = [(reward, macs) for reward, macs in rows if reward is not None]
    assert len(rows) == last.to_reward > 0
    best = {(r, m) for r, m in rows if not any(r2 >= r and m2 <= m and (r2, m2) != (r, m) for r2, m2 in rows)}
    assert {(c.reward, c.macs) for c in last.front} == best
    assert all(c.generation > 0 for c in last.front)
    for file in (tmp_path / "front").glob("*.ecad"):
        assert "calibration_reward" in load(file).meta


def test_with_nothing_bred_the_schedules_written_by_hand_are_the_front(tmp_path: Path) -> None:
    *_, last = evolve(Synthetic(), tmp_path, objectives="fidelity", population=8, generations=0, seed=3)
    assert last.front
    assert all(candidate.reward is not None for candidate in last.front)


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    list(evolve(Synthetic(), tmp_path, **SETTINGS))
    with pytest.raises(EcadError, match="seed was 3, now 4"):
        next(evolve(Synthetic(), tmp_path, **(SETTINGS | {"seed": 4})))


@pytest.mark.parametrize("objective", ["reward", "fidelity"])
def test_a_run_may_go_on_for_more_generations(tmp_path: Path, objective: str) -> None:
    longer = SETTINGS | {"generations": 6, "objectives": objective}
    *_, whole = evolve(Synthetic(), tmp_path / "whole", **longer)
    list(evolve(Synthetic(), tmp_path / "grown", **(SETTINGS | {"objectives": objective})))
    *_, grown = evolve(Synthetic(), tmp_path / "grown", **longer)
    assert figures(grown.front) == figures(whole.front)
    with pytest.raises(EcadError, match="generations was 6, now 4"):
        next(evolve(Synthetic(), tmp_path / "grown", **(SETTINGS | {"objectives": objective})))


def test_a_second_process_at_the_same_run_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.evolution.synthetic", str(tmp_path), json.dumps(SETTINGS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(EcadError, match="another process is at the run"):
            next(evolve(Synthetic(), tmp_path, **SETTINGS))
        process.kill()
    *_, last = evolve(Synthetic(), tmp_path, **SETTINGS)
    assert last.evaluated == 8 * 5


FULL_DISK = """
import json, resource, sys
from ecad_dsl import EcadError
from tests.evolution.synthetic import Synthetic
from ecad_dsl.evolution.search import evolve
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    for progress in evolve(Synthetic(), sys.argv[1], **json.loads(sys.argv[2])):
        print(progress.evaluated, flush=True)
except EcadError as error:
    print(error)
"""


@pytest.mark.parametrize("size", [100_000, 250_000])
def test_a_full_disk_is_said_so_and_loses_nothing_that_was_measured(tmp_path: Path, size: int) -> None:
    *_, whole = evolve(Synthetic(), tmp_path / "whole", **SETTINGS)
    run = tmp_path / "full"
    command = [sys.executable, "-c", FULL_DISK, str(run), json.dumps(SETTINGS), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    *announced, error = done.stdout.splitlines()
    assert "cannot write to" in error
    problem = Synthetic()
    *_, resumed = evolve(problem, run, **SETTINGS)
    assert figures(resumed.front) == figures(whole.front)
    assert problem.measured <= whole.evaluated - len(announced)


def test_a_candidate_that_fails_is_recorded_with_its_reason_and_stops_nothing(tmp_path: Path) -> None:
    *_, last = evolve(Synthetic(fails=True), tmp_path, **SETTINGS)
    assert last.evaluated == 8 * 5
    assert last.failed > 0
    with sqlite3.connect(tmp_path / "run.sqlite") as database:
        reasons = {reason for (reason,) in database.execute("SELECT error FROM candidates WHERE error NOT NULL")}
    assert reasons == {"RuntimeError: out of memory", "measured was nan"}
    assert all(candidate.reward == candidate.reward for candidate in last.front)


@pytest.mark.parametrize("genome", ["trees", "bits"])
def test_where_the_whole_first_population_fails_the_hypervolume_counts_from_the_first_that_does_not(
    genome: Literal["trees", "bits"], tmp_path: Path
) -> None:
    class Late(Synthetic):
        def reward(self, schedule: Schedule) -> float:
            if self.measured < 8:
                self.measured += 1
                raise RuntimeError("out of memory")
            return super().reward(schedule)

    list(evolve(Late(), tmp_path, genome=genome, **SETTINGS))
    with RunStore(tmp_path, create=False) as store:
        volumes = [generation.hypervolume for generation in store.generations()]
    assert volumes[0] == 0
    assert volumes[-1] > 0


def test_a_file_that_is_no_run_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage" / "run.sqlite"
    garbage.parent.mkdir()
    garbage.write_bytes(b"not a database, but long enough to look like one" * 50)
    foreign = tmp_path / "foreign" / "run.sqlite"
    foreign.parent.mkdir()
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE settings (something TEXT)")
    for path, message in ((garbage, r"cannot open .*run\.sqlite"), (foreign, "not that of a run")):
        before = path.read_bytes()
        with pytest.raises(EcadError, match=message):
            next(evolve(Synthetic(), path.parent, **SETTINGS))
        assert path.read_bytes() == before


def test_children_cost_as_much_as_is_asked_for(tmp_path: Path) -> None:
    problem = Synthetic()
    full = problem.macs(compile(parse(""), problem.spec, problem.steps))
    for progress in evolve(problem, tmp_path, **SETTINGS, min_macs=0.2, max_macs=0.5):
        if progress.generation > 0:
            assert 0.2 <= progress.last.macs / full <= 0.5


@pytest.mark.parametrize("shares", [(0.5, 0.2), (-0.1, 1), (0, 1.5)])
def test_shares_that_make_no_sense_are_refused(tmp_path: Path, shares: tuple[float, float]) -> None:
    with pytest.raises(EcadError, match="are shares with"):
        next(evolve(Synthetic(), tmp_path, min_macs=shares[0], max_macs=shares[1]))
    assert not (tmp_path / "run.sqlite").exists()


@pytest.mark.parametrize("names", [{"genome": "bit"}, {"start": "randomly"}])
def test_a_genome_or_a_start_that_does_not_exist_is_refused(tmp_path: Path, names: dict[str, str]) -> None:
    with pytest.raises(EcadError, match="genome is trees or bits and start heuristic or random"):
        next(evolve(Synthetic(), tmp_path / "run", **names))
    assert not (tmp_path / "run").exists()


def test_a_mistake_of_the_users_stops_the_run_at_once(tmp_path: Path) -> None:
    class Mistaken(Synthetic):
        def reward(self, schedule: Schedule) -> float:
            raise EcadError("the caption has a word that is not known")

    with pytest.raises(EcadError, match="not known"):
        next(evolve(Mistaken(), tmp_path, **SETTINGS))


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


class OfAnyLength(Synthetic):
    """Fewer steps harm, too."""

    def reward(self, schedule: Schedule) -> float:
        return super().reward(schedule) - 0.03 * (20 - schedule.steps) ** 1.2


def test_the_number_of_steps_may_be_left_to_the_search_and_fewer_steps_never_dominate_what_it_finds(
    tmp_path: Path,
) -> None:
    settings = {"population": 14, "generations": 6, "seed": 3, "fewest_steps": 12}
    problem = OfAnyLength()
    *_, last = evolve(problem, tmp_path / "whole", **settings)
    uncached = [compile(parse(""), problem.spec, steps) for steps in range(12, 21)]
    for schedule in uncached:
        quality, macs = OfAnyLength().reward(schedule), problem.macs(schedule)
        assert any(c.quality >= quality and c.macs <= macs for c in last.front)
    lengths = {candidate.schedule.steps for candidate in last.front}
    assert len(lengths) > 1
    assert any(c.schedule.steps < 20 and c.generation > 0 for c in last.front)
    for file in (tmp_path / "whole" / "front").glob("*.ecad"):
        assert compile(load(file)).key in {candidate.schedule.key for candidate in last.front}
    with RunStore(tmp_path / "whole", create=False) as store:
        for evaluation in store.evaluations():
            assert compile(parse(evaluation.program), problem.spec).key == evaluation.key
    begun = evolve(OfAnyLength(), tmp_path / "stopped", **settings)
    for _ in range(40):
        next(begun)
    begun.close()
    *_, resumed = evolve(OfAnyLength(), tmp_path / "stopped", **settings)
    assert figures(resumed.front) == figures(last.front)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fewest_steps": 1}, "at least 2 and less than the most, 20, not 1"),
        ({"fewest_steps": 20}, "less than the most, 20, not 20"),
        ({"fewest_steps": 8}, "13 or more"),
        ({"fewest_steps": 18, "genome": "bits"}, "for programs alone"),
    ],
)
def test_numbers_of_steps_that_make_no_sense_are_refused(tmp_path: Path, settings, message: str) -> None:
    with pytest.raises(EcadError, match=message):
        next(evolve(Synthetic(), tmp_path, population=8, **settings))


def test_a_search_that_runs_out_of_schedules_ends_early(tmp_path: Path) -> None:
    class Short(Synthetic):
        steps = 2

    *_, last = evolve(Short(), tmp_path, population=6, generations=400, max_rules=1)
    assert last.generation < 400
    assert last.front
