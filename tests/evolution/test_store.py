"""The store: what is put in comes out again, for good; and what is no run's database is left alone."""

import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecad_dsl import EcadError
from ecad_dsl.evolution.search import evolve
from ecad_dsl.evolution.store import Evaluation, Generation, Measurements, RunStore
from ecad_dsl.quality.prompts import PromptSet
from ecad_dsl.schedule import Schedule
from tests.evolution.synthetic import Synthetic

ONE = Evaluation("k1", 0, "cache all every 2 steps\n", "FORA 2", (), {"macs": 7, "rules": 1})
TWO = Evaluation("k2", 1, "reuse all\n", "Drop", ("k1",), {"macs": 3})


class Prompted(Synthetic):
    """Four prompts, each with a reward of its own."""

    prompts = PromptSet("mine", ("a", "b", "c", "d"), (1, 2, 3, 4))

    def reward(self, schedule: Schedule) -> list[float]:
        mean = super().reward(schedule)
        return [mean + offset for offset in (-0.3, -0.1, 0.1, 0.3)]


def test_what_was_measured_prompt_by_prompt_is_added_to_what_is_known(tmp_path: Path) -> None:
    with RunStore(tmp_path) as store:
        store.put(ONE, [Measurements("reward", {0: 0.5, 2: 0.25})])
        store.put(TWO)
        again = Evaluation(**{**vars(ONE), "objectives": {"macs": 7, "reward": 0.5}, "seconds": 2.0})
        store.put(again, [Measurements("reward", {1: 1.0}), Measurements("reward", {0: 9.0}, "held-out")])
        store.put_generation(Generation(0, 2, 0, 0, 0.5, 1.5, ("k1", "k2")))
    with RunStore(tmp_path, create=False) as store:
        assert store.evaluations() == [again, TWO]
        assert store.measurements("reward") == {"k1": {0: 0.5, 1: 1.0, 2: 0.25}}
        assert store.measurements("reward", "held-out") == {"k1": {0: 9.0}}
        assert store.measurements("fidelity") == {}
        assert store.generations() == [Generation(0, 2, 0, 0, 0.5, 1.5, ("k1", "k2"))]


def test_a_run_keeps_its_prompts_what_each_gave_and_how_far_each_generation_came(tmp_path: Path) -> None:
    *_, last = evolve(Prompted(), tmp_path, population=8, generations=3, seed=1)
    with RunStore(tmp_path, create=False) as store:
        kept = store.prompts()
        assert (kept.prompts, kept.seeds) == (Prompted.prompts.prompts, Prompted.prompts.seeds)
        rewards = store.measurements("reward")
        for evaluation in store.evaluations():
            values = rewards[evaluation.key]
            assert list(values) == [0, 1, 2, 3]
            assert sum(values.values()) / 4 == pytest.approx(evaluation.reward)
        generations = store.generations()
    assert [g.generation for g in generations] == [0, 1, 2, 3]
    assert sum(g.evaluated for g in generations) == last.evaluated
    assert sum(g.remembered for g in generations) == last.remembered
    volumes = [g.hypervolume for g in generations]
    assert volumes == sorted(volumes)
    assert 0 < volumes[0] < volumes[-1]
    assert generations[-1].front == tuple(candidate.schedule.key for candidate in last.front)


def test_the_database_of_another_version_is_refused_by_name_and_left_as_it_was(tmp_path: Path) -> None:
    with RunStore(tmp_path) as store:
        store.put(ONE)
    with sqlite3.connect(tmp_path / "run.sqlite") as database:
        database.execute("PRAGMA user_version = 1")
    before = (tmp_path / "run.sqlite").read_bytes()
    for create in (True, False):
        with pytest.raises(EcadError, match="tables of another version of ecad"):
            RunStore(tmp_path, create=create)
    assert (tmp_path / "run.sqlite").read_bytes() == before


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder and its files cannot be written; not by root either, who becomes somebody else for a while."""
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    root = os.geteuid() == 0
    try:
        if root:
            try:
                os.seteuid(65534)
            except OSError:
                pytest.skip("root cannot become anybody else here")
        yield
    finally:
        if root and os.geteuid() != 0:
            os.seteuid(0)
        folder.chmod(stat.S_IRWXU)
        for path in folder.iterdir():
            path.chmod(0o644)


def test_a_folder_that_may_not_be_written_is_said_so_and_may_be_looked_at(tmp_path: Path) -> None:
    settings = {"population": 8, "generations": 1, "seed": 1}
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to others
        run = Path(name)
        *_, whole = evolve(Synthetic(), run, **settings)
        for file in (run / "front").iterdir():
            file.unlink()
        (run / "front").rmdir()
        with read_only(run):
            with pytest.raises(EcadError, match="choose a folder you may write to"):
                next(evolve(Synthetic(), run, **settings))
            with RunStore(run, create=False) as store:
                assert len(store.evaluations()) == 16
        problem = Synthetic()
        *_, resumed = evolve(problem, run, **settings)
        assert problem.measured == 0
        assert [c.macs for c in resumed.front] == [c.macs for c in whole.front]


def test_a_damaged_database_is_said_so_and_left_as_it_was(tmp_path: Path) -> None:
    settings = {"population": 8, "generations": 1, "seed": 1}
    list(evolve(Synthetic(), tmp_path, **settings))
    path = tmp_path / "run.sqlite"
    whole = path.read_bytes()
    size = int.from_bytes(whole[16:18], "big")
    for page in range(1, len(whole) // size):
        damaged = bytearray(whole)
        damaged[page * size : (page + 1) * size] = bytes(range(256)) * (size // 256)
        path.write_bytes(damaged)
        with pytest.raises(EcadError, match="if the file is damaged, restore it from a copy"):
            next(evolve(Synthetic(), tmp_path, **settings))
        assert path.read_bytes() == damaged
    path.write_bytes(whole)
    *_, last = evolve(problem := Synthetic(), tmp_path, **settings)
    assert (last.evaluated, problem.measured) == (16, 0)
