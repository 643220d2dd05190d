"""The run store: one SQLite file that remembers settings, prompts and every measurement of a run.

Each evaluation is one transaction, so that killing the process loses at most the one in flight. A run is resumed by
going through the same seeded search again: evaluations that the store knows are answered at once, so the resumed run
is the uninterrupted one, with no state of the algorithm to save.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from ecad_dsl.errors import EcadError
from ecad_dsl.quality.prompts import PromptSet

_APPLICATION = 0x65636164
"""Marks a SQLite file as a run store ("ecad")."""

_FORMAT = 3
"""Of the tables below."""

_SCHEMA = f"""
BEGIN;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_FORMAT};
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE candidates (
    key TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    program TEXT NOT NULL,
    edit TEXT NOT NULL,
    parents TEXT NOT NULL,
    objectives TEXT NOT NULL,
    error TEXT,
    seconds REAL NOT NULL,
    finished TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE prompts (
    prompt_set TEXT NOT NULL,
    position INTEGER NOT NULL,
    prompt TEXT NOT NULL,
    seed INTEGER NOT NULL,
    PRIMARY KEY (prompt_set, position)
);
CREATE TABLE measurements (
    key TEXT NOT NULL,
    quantity TEXT NOT NULL,
    prompt_set TEXT NOT NULL,
    position INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (key, quantity, prompt_set, position)
) WITHOUT ROWID;
CREATE TABLE generations (
    generation INTEGER PRIMARY KEY,
    evaluated INTEGER NOT NULL,
    remembered INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    hypervolume REAL NOT NULL,
    seconds REAL NOT NULL,
    front TEXT NOT NULL
);
CREATE TABLE changes (
    name TEXT NOT NULL,
    was TEXT NOT NULL,
    now TEXT NOT NULL,
    at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
COMMIT;
"""

CALIBRATION = "calibration"
HELD_OUT = "held-out"


@dataclass(frozen=True)
class Measurements:
    """What was measured of one candidate, prompt by prompt."""

    quantity: str
    """``reward``, ``fidelity`` or another."""
    values: Mapping[int, float]
    """By the position of the prompt in its set."""
    prompt_set: str = CALIBRATION


@dataclass(frozen=True)
class Evaluation:
    """One candidate, and what is known of it."""

    key: str
    generation: int
    program: str
    edit: str
    parents: tuple[str, ...]
    objectives: Mapping[str, float]
    """What may be searched for, as far as it is known (see ``OBJECTIVES``), and ``held_out_reward`` or the like."""
    error: str | None = None
    """Why it could not be measured."""
    seconds: float = 0.0
    """That measuring took."""

    @property
    def macs(self) -> int:
        return int(self.objectives["macs"])

    @property
    def reward(self) -> float | None:
        return self.objectives.get("reward")

    @property
    def fidelity(self) -> float | None:
        return self.objectives.get("fidelity")


@dataclass(frozen=True)
class Generation:
    """What came of a generation."""

    generation: int
    evaluated: int
    """Candidates that it asked for."""
    remembered: int
    """Those among them that an earlier generation had measured."""
    failed: int
    hypervolume: float
    """Of the front after it, where 1 is what lies between the worst and the best values of the first population."""
    seconds: float
    """Of measuring, in all processes together."""
    front: tuple[str, ...]
    """Keys of all candidates so far that no other one beats, the cheapest first."""


@dataclass(frozen=True)
class Change:
    """A setting that a resumed run has otherwise than before."""

    name: str
    was: Any
    now: Any
    at: str | None = None
    """When: universal time."""

    def __str__(self) -> str:
        return f"{self.name} was {self.was}, now {self.now}"

    @property
    def allowed(self) -> bool:
        """Whether the search still goes the same way."""
        return (self.name == "generations" and self.now > self.was) or self.name in _MAY_DIFFER


_MAY_DIFFER = {f"version of {name}" for name in ("python", "torch", "diffusers", "transformers")}


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
                self._open_to_read()
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
            if self._check_kind():
                (found,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
                if found != "ok":
                    raise sqlite3.DatabaseError(found)
            self._database.execute("PRAGMA journal_mode=WAL")
            if not self._tables():
                self._database.executescript(_SCHEMA)

    def _open_to_read(self) -> None:
        try:
            self._database = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
            self._check_kind()
        except sqlite3.OperationalError as error:
            # Even a reader needs a file beside the database, unless nobody can be writing: in a folder for reading.
            log = self.path.with_name("run.sqlite-wal")
            if not _is_forbidden(error) or (log.exists() and log.stat().st_size):
                raise
            self._database = sqlite3.connect(f"{self.path.absolute().as_uri()}?immutable=1", uri=True)
            self._check_kind()

    def _check_kind(self) -> bool:
        """Never write into somebody else's database. False if there is nothing in it yet."""
        tables = self._tables()
        (kind,) = self._database.execute("PRAGMA application_id").fetchone()
        if tables and kind != _APPLICATION:
            self._database.close()
            raise EcadError(f"{self.path} is a database, but not that of a run; choose another folder")
        (written,) = self._database.execute("PRAGMA user_version").fetchone()
        if tables and written != _FORMAT:
            self._database.close()
            raise EcadError(
                f"{self.path} has the tables of another version of ecad (format {written}, not {_FORMAT});"
                " look at it with that version, or start another run"
            )
        return bool(tables)

    def _tables(self) -> set[str]:
        return {name for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise EcadError(f"cannot {verb} {self.path}: {error}; {_remedy(error)}") from error

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

    def changed(self, settings: Mapping[str, Any]) -> list[Change]:
        """What is about to differ from what the run was started with; nothing of a new one.

        The number of generations may grow: a longer search begins like the shorter one. The versions of what measures
        may differ, since last digits are all that they change.

        Raises:
            EcadError: others differ; the message names each difference.
        """
        known = self.settings()
        changes = [
            Change(name, known[name], value) for name, value in settings.items() if known.get(name, value) != value
        ]
        refused = [change for change in changes if not change.allowed]
        if refused:
            raise EcadError(
                f"{self.path.parent} was started with other settings ({'; '.join(map(str, refused))}); "
                "go on with the same, choose another folder, or remove this one"
            )
        return changes

    def keep_settings(self, settings: Mapping[str, Any]) -> None:
        """Remember the settings of a run, and how they differ from those before.

        Raises:
            EcadError: others differ than :meth:`changed` lets differ.
        """
        changes = [(c.name, json.dumps(c.was), json.dumps(c.now)) for c in self.changed(settings)]
        rows = [(name, json.dumps(value)) for name, value in settings.items()]
        with self._translated("write to"), self._database:
            self._database.executemany("INSERT INTO changes (name, was, now) VALUES (?, ?, ?)", changes)
            self._database.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)

    def changes(self) -> list[Change]:
        """How settings have changed since the run was started, the earliest first."""
        with self._translated("read"):
            rows = self._database.execute("SELECT name, was, now, at FROM changes ORDER BY rowid").fetchall()
            return [Change(name, json.loads(was), json.loads(now), at) for name, was, now, at in rows]

    def keep_prompts(self, prompts: PromptSet, prompt_set: str = CALIBRATION) -> None:
        """Remember the prompts and seeds that measurements refer to by their position."""
        pairs = zip(prompts.prompts, prompts.seeds, strict=True)
        rows = [(prompt_set, position, prompt, seed) for position, (prompt, seed) in enumerate(pairs)]
        with self._translated("write to"), self._database:
            self._database.executemany("INSERT OR REPLACE INTO prompts VALUES (?, ?, ?, ?)", rows)

    def prompts(self, prompt_set: str = CALIBRATION) -> PromptSet:
        """Prompts and seeds of a set, in their order; empty if the run keeps none."""
        with self._translated("read"):
            rows = self._database.execute(
                "SELECT prompt, seed FROM prompts WHERE prompt_set = ? ORDER BY position", (prompt_set,)
            ).fetchall()
        return PromptSet(prompt_set, tuple(prompt for prompt, _ in rows), tuple(seed for _, seed in rows))

    def find(self, key: str) -> Evaluation | None:
        """The evaluation of the schedule with this key, if there has been one."""
        return next(self._select("key = ?", key), None)

    def evaluations(self) -> list[Evaluation]:
        """All of them, generation after generation."""
        return list(self._select("TRUE ORDER BY generation, rowid"))

    def put(self, evaluation: Evaluation, measured: Iterable[Measurements] = ()) -> None:
        """Remember an evaluation, at once and for good, in place of what was known of this schedule.

        What was measured prompt by prompt is added to what is known already.
        """
        row = {
            **vars(evaluation),
            "parents": json.dumps(evaluation.parents),
            "objectives": json.dumps(dict(evaluation.objectives)),
        }
        names = ", ".join(row)
        places = ", ".join(f":{name}" for name in row)
        renewed = ", ".join(f"{name} = excluded.{name}" for name in row)  # a row keeps its place in the order
        rows = [
            (evaluation.key, m.quantity, m.prompt_set, position, value)
            for m in measured
            for position, value in m.values.items()
        ]
        with self._translated("write to"), self._database:
            self._database.execute(
                f"INSERT INTO candidates ({names}) VALUES ({places}) ON CONFLICT (key) DO UPDATE SET {renewed}", row
            )
            self._database.executemany("INSERT OR REPLACE INTO measurements VALUES (?, ?, ?, ?, ?)", rows)

    def quantities(self) -> list[tuple[str, str]]:
        """What was measured prompt by prompt, and on which prompt sets: pairs of both."""
        with self._translated("read"):
            found = self._database.execute("SELECT DISTINCT quantity, prompt_set FROM measurements ORDER BY 1, 2")
            return [(quantity, prompt_set) for quantity, prompt_set in found]

    def measurements(self, quantity: str, prompt_set: str = CALIBRATION) -> dict[str, dict[int, float]]:
        """For each candidate's key, what was measured of it, by the position of the prompt."""
        with self._translated("read"):
            rows = self._database.execute(
                "SELECT key, position, value FROM measurements WHERE quantity = ? AND prompt_set = ?"
                " ORDER BY key, position",
                (quantity, prompt_set),
            ).fetchall()
        found: dict[str, dict[int, float]] = defaultdict(dict)
        for key, position, value in rows:
            found[key][position] = value
        return dict(found)

    def values(self, key: str, quantity: str, prompt_set: str = CALIBRATION) -> dict[int, float]:
        """What was measured of one candidate, by the position of the prompt."""
        with self._translated("read"):
            return dict(
                self._database.execute(
                    "SELECT position, value FROM measurements WHERE key = ? AND quantity = ? AND prompt_set = ?"
                    " ORDER BY position",
                    (key, quantity, prompt_set),
                ).fetchall()
            )

    def pictures(self) -> dict[str, int]:
        """For each candidate's key, of how many prompts something was measured: so many pictures were drawn."""
        with self._translated("read"):
            return dict(self._database.execute("SELECT key, count(*) FROM measurements GROUP BY key").fetchall())

    def put_generation(self, generation: Generation) -> None:
        """Remember what came of a generation, in place of what was known of it."""
        row = {**vars(generation), "front": json.dumps(generation.front)}
        places = ", ".join(f":{name}" for name in row)
        with self._translated("write to"), self._database:
            self._database.execute(f"INSERT OR REPLACE INTO generations ({', '.join(row)}) VALUES ({places})", row)

    def generations(self) -> list[Generation]:
        """Those that are complete, in their order."""
        with self._translated("read"):
            rows = self._database.execute(
                "SELECT generation, evaluated, remembered, failed, hypervolume, seconds, front FROM generations"
                " ORDER BY generation"
            ).fetchall()
            return [replace(Generation(*row), front=tuple(json.loads(row[-1]))) for row in rows]

    def _select(self, condition: str, *values: str) -> Iterator[Evaluation]:
        columns = "key, generation, program, edit, parents, objectives, error, seconds"
        with self._translated("read"):
            rows = self._database.execute(f"SELECT {columns} FROM candidates WHERE {condition}", values).fetchall()
            for key, generation, program, edit, parents, objectives, *rest in rows:
                yield Evaluation(
                    key, generation, program, edit, tuple(json.loads(parents)), json.loads(objectives), *rest
                )


def _remedy(error: Exception) -> str:
    code = _code(error)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return "if the disk is full, free some of it and go on with the run: what was stored is kept"
    if _is_forbidden(error):
        return "choose a folder you may write to; what was stored is kept"
    return "if the file is damaged, restore it from a copy or start another run"


def _is_forbidden(error: Exception) -> bool:
    return _code(error) in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)


def _code(error: Exception) -> int:
    """SQLite's own, without what it adds in finer codes."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)) & 0xFF
