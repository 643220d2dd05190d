"""The run store: one SQLite file that remembers settings and every evaluation of a run.

Each evaluation is one transaction, so that killing the process loses at most the one in flight. A run is resumed by
going through the same seeded search again: evaluations that the store knows are answered at once, so the resumed run
is the uninterrupted one, with no state of the algorithm to save.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ecad_dsl.errors import EcadError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS evaluations (
    key TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    program TEXT NOT NULL,
    edit TEXT NOT NULL,
    parents TEXT NOT NULL,
    macs INTEGER NOT NULL,
    reward REAL,
    error TEXT,
    seconds REAL NOT NULL,
    finished TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
"""


@dataclass(frozen=True)
class Evaluation:
    """One measured candidate. ``reward`` is None where it failed; ``error`` then says why."""

    key: str
    generation: int
    program: str
    edit: str
    parents: tuple[str, ...]
    macs: int
    reward: float | None
    error: str | None
    seconds: float


class RunStore:
    """The store of one run folder. Use as a context manager.

    Raises:
        EcadError: the folder cannot be made or written, or ``run.sqlite`` is not a run store.
    """

    def __init__(self, folder: Path, create: bool = True) -> None:
        self.path = Path(folder) / "run.sqlite"
        if not create and not self.path.exists():
            raise EcadError(f"{folder} holds no run (no run.sqlite); start one with: ecad evolve --run {folder}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.path)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise EcadError(f"cannot use {self.path}: {error}; choose a folder you may write to") from error

    def __enter__(self) -> RunStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def settings(self) -> dict[str, Any]:
        """The settings that the run was started with; empty for a new one."""
        rows = self._database.execute("SELECT name, value FROM settings")
        return {name: json.loads(value) for name, value in rows}

    def keep_settings(self, settings: dict[str, Any]) -> None:
        """Remember the settings of a new run, or hold those of a resumed one against what it was started with.

        Raises:
            EcadError: they differ; the message names each difference.
        """
        known = self.settings()
        differences = [
            f"{name}: {known[name]!r}, now {value!r}"
            for name, value in settings.items()
            if known.get(name, value) != value
        ]
        if differences:
            raise EcadError(
                f"{self.path.parent} was started with other settings ({'; '.join(differences)}); "
                "resume it with the same, or choose another folder"
            )
        rows = [(name, json.dumps(value)) for name, value in settings.items()]
        with self._database:
            self._database.executemany("INSERT OR IGNORE INTO settings VALUES (?, ?)", rows)

    def find(self, key: str) -> Evaluation | None:
        """The evaluation of the schedule with this key, if there has been one."""
        return next(self._select("WHERE key = ?", key), None)

    def evaluations(self) -> list[Evaluation]:
        """Every evaluation, in the order in which they were made."""
        return list(self._select("ORDER BY rowid"))

    def add(self, evaluation: Evaluation) -> None:
        """Remember an evaluation, at once and for good."""
        row = {**vars(evaluation), "parents": json.dumps(evaluation.parents)}
        names = ", ".join(row)
        places = ", ".join(f":{name}" for name in row)
        try:
            with self._database:
                self._database.execute(f"INSERT OR IGNORE INTO evaluations ({names}) VALUES ({places})", row)
        except sqlite3.Error as error:
            raise EcadError(f"cannot write to {self.path}: {error}; what was stored before is kept") from error

    def _select(self, where: str, *values: str) -> Iterator[Evaluation]:
        columns = "key, generation, program, edit, parents, macs, reward, error, seconds"
        for row in self._database.execute(f"SELECT {columns} FROM evaluations {where}", values):
            key, generation, program, edit, parents, macs, reward, error, seconds = row
            origin = tuple(json.loads(parents))
            yield Evaluation(key, generation, program, edit, origin, macs, reward, error, seconds)
