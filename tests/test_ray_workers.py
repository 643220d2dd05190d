"""A search on a real Ray cluster of this machine: actors are killed, and nothing is lost or different."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecad_dsl import EcadError
from ecad_dsl.evolution.search import Progress, evolve
from ecad_dsl.evolution.store import RunStore
from ecad_dsl.ray_workers import RayWorkers
from ecad_dsl.schedule import Schedule, compile, parse
from tests.evolution.synthetic import Synthetic

SETTINGS = {"population": 8, "generations": 3, "seed": 3}


class Deadly(Synthetic):
    """One schedule kills whoever measures it. ``marks`` is a folder that outlives them: the process of each call."""

    def __init__(self, marks: Path, kills: bool) -> None:
        super().__init__()
        self.marks, self.kills = marks, kills
        self.poison = compile(parse("cache all every 3 steps"), self.spec, self.steps).key

    def reward(self, schedule: Schedule) -> float:
        with (self.marks / schedule.key).open("a") as file:
            file.write(f"{os.getpid()}\n")
        if schedule.key == self.poison:
            if self.kills:
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("cannot be measured")
        return super().reward(schedule)


def called(mark: Path) -> list[int]:
    """The processes that have measured a schedule, or tried to."""
    return [int(line) for line in mark.read_text().splitlines()]


def on_a_cluster(problem: Deadly, run: Path) -> Iterator[Progress]:
    """Ray takes its time to start, and gives up when the machine has too much else to do: that is not tested here."""
    for attempt in range(4):
        try:
            yield from evolve(problem, run, ray="local", **SETTINGS)
        except EcadError as error:
            if "cannot reach a Ray cluster" not in str(error) or attempt == 3:
                raise
        else:
            return


def test_a_search_finds_the_same_on_a_ray_cluster_whose_actors_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # what else runs on this machine must not decide a test
    marks = {name: tmp_path / f"marks-{name}" for name in ("alone", "cluster")}
    for folder in marks.values():
        folder.mkdir()
    alone = list(evolve(Deadly(marks["alone"], kills=False), tmp_path / "alone", **SETTINGS))
    poison = Deadly(tmp_path, kills=False).poison
    killed: list[int] = []
    cluster = []
    for progress in on_a_cluster(Deadly(marks["cluster"], kills=True), tmp_path / "cluster"):
        cluster.append(progress)
        if progress.evaluated in (12, 20):  # each time another process, whatever it is at
            dead = [*killed, *called(marks["cluster"] / poison)]
            victim = next(pid for mark in marks["cluster"].iterdir() for pid in called(mark) if pid not in dead)
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
    assert not ray.is_initialized()
    assert len(set(killed)) == 2
    assert all(os.getpid() not in called(mark) for mark in marks["cluster"].iterdir())
    assert [[(c.quality, c.macs) for c in p.front] for p in cluster] == [
        [(c.quality, c.macs) for c in p.front] for p in alone
    ]
    assert len(called(marks["cluster"] / poison)) == 2
    with RunStore(tmp_path / "cluster", create=False) as store:
        failed = {e.key: e.error for e in store.evaluations() if e.error is not None}
    assert failed == {poison: "2 workers died of it, actors of a Ray cluster"}


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EcadError, match=r"pip install 'ecad\[ray\]'"):
        RayWorkers(Synthetic(), "local").__enter__()
