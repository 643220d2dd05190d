"""The run store: one SQLite file that remembers settings and every evaluation of a run.

Each evaluation is one transaction, so that killing the process loses at most the one in flight. A run is resumed by
going through the same seeded search again: evaluations that the store knows are answered at once, so the resumed run
is the uninterrupted one, with no state of the algorithm to save.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from ecad_dsl.errors import EcadError

_APPLICATION = 0x65636164
"""Marks a SQLite file as a run store ("ecad")."""

_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION};
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS evaluations (
    key TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    program TEXT NOT NULL,
    edit TEXT NOT NULL,
    parents TEXT NOT NULL,
    macs INTEGER NOT NULL,
    fidelity REAL,
    reward REAL,
    error TEXT,
    seconds REAL NOT NULL,
    finished TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
"""


@dataclass(frozen=True)
class Evaluation:
    """One measured candidate: its fidelity or reward, whichever the run searches for, and the other where needed.

    Both are None where it failed; ``error`` then says why.
    """

    key: str
    generation: int
    program: str
    edit: str
    parents: tuple[str, ...]
    macs: int
    fidelity: float | None
    reward: float | None
    error: str | None
    seconds: float


class RunStore:
    """The store of one run folder. Use as a context manager.

    It is held by one process at a time. To look at a run that another process may be at, ``create=False`` opens it
    without holding it.

    Raises:
        EcadError: the folder cannot be made or written, another process is at this run, or ``run.sqlite`` is not a run
            store.
    """

    def __init__(self, folder: Path, create: bool = True) -> None:
        self.path = Path(folder) / "run.sqlite"
        self._lock = FileLock(self.path.with_name("run.lock"))
        if not create:
            if not self.path.exists():
                raise EcadError(f"{folder} holds no run (no run.sqlite); start one with: ecad evolve --run {folder}")
            with self._translated("open"):
                self._database = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
                self._check_kind()
            return
        # The operating system lets go of the lock however the process ends.
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise EcadError(
                f"another process is at the run in {folder}; wait for it, or choose another folder"
            ) from None
        except OSError as error:
            raise EcadError(f"cannot write to {folder}: {error.strerror}; choose a folder you may write to") from error
        try:
            self._open()
        except EcadError:
            self._lock.release()
            raise

    def _open(self) -> None:
        with self._translated("open"):
            self._database = sqlite3.connect(self.path)
            self._check_kind()
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.executescript(_SCHEMA)

    def _check_kind(self) -> None:
        """Never write into somebody else's database."""
        tables = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        (kind,) = self._database.execute("PRAGMA application_id").fetchone()
        if tables and kind != _APPLICATION:
            self._database.close()
            raise EcadError(f"{self.path} is a database, but not that of a run; choose another folder")

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise EcadError(
                f"cannot {verb} {self.path}: {error}; "
                "if the file is damaged, restore it from a copy or start another run"
            ) from error

    def __enter__(self) -> RunStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        self._lock.release()

    def settings(self) -> dict[str, Any]:
        """The settings that the run was started with; empty for a new one."""
        with self._translated("read"):
            rows = self._database.execute("SELECT name, value FROM settings")
            return {name: json.loads(value) for name, value in rows}

    def keep_settings(self, settings: dict[str, Any]) -> None:
        """Remember the settings of a new run, or hold those of a resumed one against what it was started with.

        Only the number of generations may have grown: a longer search begins like the shorter one.

        Raises:
            EcadError: others differ; the message names each difference.
        """
        known = self.settings()
        if settings["generations"] > known.get("generations", settings["generations"]):
            del known["generations"]
        differences = [
            f"{name} was {known[name]}, now {value}"
            for name, value in settings.items()
            if known.get(name, value) != value
        ]
        if differences:
            raise EcadError(
                f"{self.path.parent} was started with other settings ({'; '.join(differences)}); "
                "go on with the same, choose another folder, or remove this one"
            )
        rows = [(name, json.dumps(value)) for name, value in settings.items()]
        with self._translated("write to"), self._database:
            self._database.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)

    def find(self, key: str) -> Evaluation | None:
        """The evaluation of the schedule with this key, if there has been one."""
        return next(self._select("key = ?", key), None)

    def evaluations(self) -> list[Evaluation]:
        """All of them, generation after generation."""
        return list(self._select("TRUE ORDER BY generation, rowid"))

    def put(self, evaluation: Evaluation) -> None:
        """Remember an evaluation, at once and for good, in place of what was known of this schedule."""
        row = {**vars(evaluation), "parents": json.dumps(evaluation.parents)}
        names = ", ".join(row)
        places = ", ".join(f":{name}" for name in row)
        with self._translated("write to"), self._database:
            self._database.execute(f"INSERT OR REPLACE INTO evaluations ({names}) VALUES ({places})", row)

    def _select(self, condition: str, *values: str) -> Iterator[Evaluation]:
        columns = "key, generation, program, edit, parents, macs, fidelity, reward, error, seconds"
        with self._translated("read"):
            rows = self._database.execute(f"SELECT {columns} FROM evaluations WHERE {condition}", values).fetchall()
            for key, generation, program, edit, parents, *measured in rows:
                yield Evaluation(key, generation, program, edit, tuple(json.loads(parents)), *measured)
