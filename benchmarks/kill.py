"""Kills searches at random instants with ``kill -9``, resumes them, and compares what they find with undisturbed ones.

``python benchmarks/kill.py --kills 50 --commands 10`` kills a search from Python 50 times, spread over as many runs as
that takes, and processes of ``ecad evolve`` on the reference model 10 times; ``--nodes`` also takes a node away from a
Ray cluster. After each kill the database must be sound; in the end fronts, generations and files must be those of a run
that nobody disturbed, and no more measurements may have been made twice than there were kills. Prints a line a run,
then the figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from ecad_dsl.evolution.search import evolve
from ecad_dsl.evolution.store import RunStore
from ecad_dsl.models import load_spec
from ecad_dsl.quality.prompts import PromptSet
from ecad_dsl.schedule import Schedule, cost

SETTINGS: dict[str, Any] = {"population": 10, "generations": 6, "rotate": 2, "objectives": "reward,macs,rules"}
SEEDS = 4
"""So many different searches."""
COMMAND = ("--population", "6", "--generations", "4", "--prompts", "2", "--held-out", "2", "--steps", "4")


class Cheap:
    """Harm by the age of what is reused, other cells for each prompt. Each measurement leaves a mark in a file."""

    steps = 20
    held_out = PromptSet("held-out", ("c", "d"), (5, 6))

    def __init__(self, marks: Path, prompts: PromptSet | None = None) -> None:
        self.spec = load_spec("reference")
        self.marks = marks
        self.prompts = prompts or PromptSet("mine", ("a", "b", "c", "d"), (1, 2, 3, 4))
        self.settings = {"problem": "cheap"}

    def on(self, prompts: PromptSet) -> Cheap:
        return Cheap(self.marks, prompts)

    def fidelity(self, schedule: Schedule) -> list[float]:
        return self.reward(schedule)

    def reward(self, schedule: Schedule) -> list[float]:
        harm = [0.0] * len(self.prompts)
        age = [0] * self.spec.cells
        for row in schedule.rows:
            age = [0 if row >> cell & 1 else age[cell] + 1 for cell in range(self.spec.cells)]
            for which, seed in enumerate(self.prompts.seeds):
                harm[which] += sum(a**1.5 for cell, a in enumerate(age) if (7 * cell + seed) % 3)
        with self.marks.open("ab") as file:
            file.write(b".")
        return [1 - each / 10_000 for each in harm]

    def macs(self, schedule: Schedule) -> int:
        return cost(schedule).macs


def found(run: Path) -> Any:
    """All that a run has found, times left out."""
    with RunStore(run, create=False) as store:
        # Processes side by side finish in any order.
        evaluations = sorted(({**vars(e), "seconds": None} for e in store.evaluations()), key=lambda e: e["key"])
        generations = [{**vars(g), "seconds": None} for g in store.generations()]
        unseen = store.measurements("reward", "held-out")
    files = {file.name: file.read_bytes() for file in (run / "front").glob("*.ecad")}
    return evaluations, generations, unseen, files


def check_sound(run: Path) -> None:
    """The database is whole, and everything that the store says of it can be read."""
    if (run / "run.sqlite").exists():
        with closing(sqlite3.connect(run / "run.sqlite")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def killed_somewhere(start: Callable[[], int], seconds: float) -> bool:
    """Start a process and kill it so many seconds later; False if it had ended by then."""
    process = start()
    time.sleep(seconds)
    if os.waitpid(process, os.WNOHANG) != (0, 0):
        return False
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


def forked(folder: Path, seed: int) -> int:
    """A process that searches from Python, without the seconds that it takes to import everything."""
    process = os.fork()
    if process == 0:
        try:
            search(folder, seed)
        finally:
            os._exit(0)
    return process


def search(folder: Path, seed: int) -> None:
    for _ in evolve(Cheap(folder / "marks"), folder / "run", seed=seed, **SETTINGS):
        pass


def kill_searches(folder: Path, kills: int, dice: random.Random) -> dict[str, int]:
    """Kill searches so often in all; each is resumed until it has come to its end."""
    wholes = [_undisturbed(folder / f"whole-{seed}", seed) for seed in range(min(kills, SEEDS))]
    done = runs = twice = 0
    while done < kills:
        seed = runs % len(wholes)
        seconds, measured, whole = wholes[seed]
        broken = folder / "broken"
        broken.mkdir()
        here = 0
        while done + here < kills and killed_somewhere(partial(forked, broken, seed), dice.uniform(0, seconds)):
            here += 1
            check_sound(broken / "run")
        search(broken, seed)
        assert found(broken / "run") == whole
        extra = (broken / "marks").stat().st_size - measured
        assert 0 <= extra <= here, f"{extra} measurements were lost by {here} kills"
        print(f"search {runs}: {here} kills, {extra} measurements made twice, the same was found", file=sys.stderr)
        done, runs, twice = done + here, runs + 1, twice + extra
        shutil.rmtree(broken)
    return {"kills": done, "runs": runs, "made_twice": twice}


def _undisturbed(folder: Path, seed: int) -> tuple[float, int, Any]:
    """How long a search takes, how much it measures, and what it finds."""
    folder.mkdir()
    start = time.monotonic()
    search(folder, seed)
    return time.monotonic() - start, (folder / "marks").stat().st_size, found(folder / "run")


def kill_commands(folder: Path, kills: int, dice: random.Random) -> dict[str, int]:
    """The same with ``ecad evolve`` and its worker processes."""

    def command(run: Path) -> int:
        line = [sys.executable, "-m", "ecad_dsl.cli.main", "evolve", "--run", str(run), *COMMAND]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(line, **silent, start_new_session=True).pid

    if not kills:
        return {"kills": 0, "runs": 0}
    start = time.monotonic()
    assert os.waitpid(command(folder / "whole"), 0)[1] == 0
    seconds = time.monotonic() - start
    done = runs = 0
    while done < kills:
        run = folder / f"command-{runs}"
        here = 0
        while done + here < kills and killed_somewhere(partial(command, run), dice.uniform(0, seconds)):
            here += 1
            check_sound(run)
        assert os.waitpid(command(run), 0)[1] == 0
        assert found(run) == found(folder / "whole")
        print(f"ecad evolve {runs}: {here} kills, the same was found", file=sys.stderr)
        done, runs = done + here, runs + 1
    return {"kills": done, "runs": runs}


def lose_nodes(folder: Path) -> dict[str, int]:
    """A search on a Ray cluster of two nodes, of which one is lost on the way and replaced later."""
    from ray.cluster_utils import Cluster

    _, _, whole = _undisturbed(folder / "alone", 0)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    broken = folder / "cluster"
    broken.mkdir()
    for progress in evolve(Cheap(broken / "marks"), broken / "run", seed=0, ray=cluster.address, **SETTINGS):
        if progress.evaluated >= 15 and node is not None:
            cluster.remove_node(node, allow_graceful=False)
            node = None
        if progress.evaluated >= 45 and len(cluster.worker_nodes) == 0:
            cluster.add_node(num_cpus=1)
    cluster.shutdown()
    assert found(broken / "run") == whole
    print("a node was lost, another came, the same was found", file=sys.stderr)
    return {"lost": 1, "added": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of searches from Python")
    parser.add_argument("--commands", type=int, default=10, help="kills of ecad evolve")
    parser.add_argument("--nodes", action="store_true", help="take a node away from a Ray cluster, and add another")
    parser.add_argument("--seed", type=int, default=None, help="of the instants; another one each time by default")
    chosen = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if chosen.seed is None else chosen.seed
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        figures: dict[str, Any] = {
            "seed": seed,
            "searches": kill_searches(Path(folder), chosen.kills, dice),
            "commands": kill_commands(Path(folder), chosen.commands, dice),
        }
        if chosen.nodes:
            figures["nodes"] = lose_nodes(Path(folder))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
