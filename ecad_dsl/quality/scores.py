"""What metrics say of pictures, kept picture by picture, so that a measurement of 30,000 can be interrupted."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from ecad_dsl.errors import EcadError
from ecad_dsl.quality.bootstrap import Array
from ecad_dsl.quality.folders import Picture
from ecad_dsl.quality.metric import Batch, Metric

_SCHEMA = """
create table if not exists numbers (
    metric text not null,
    identity text not null,
    picture text not null,
    stamp text not null,
    value blob not null,
    primary key (metric, picture)
) without rowid
"""

_ASKED = 500
"""Pictures in one question to SQLite, which has a limit."""


class ScoreStore:
    """An SQLite file of numbers by metric and picture. A batch is one transaction; killing the process loses no more.

    Raises:
        EcadError: the file cannot be made, or is something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self._path)
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise EcadError(
                f"cannot keep scores in {path}: {error}; name a file that you may write, with --store"
            ) from error

    def __enter__(self) -> ScoreStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def known(self, metric: Metric, stamps: Mapping[str, str]) -> dict[str, Array]:
        """The numbers of those pictures that were measured as they are now, by this metric with these weights."""
        names, found = list(stamps), dict[str, Array]()
        for start in range(0, len(names), _ASKED):
            asked = names[start : start + _ASKED]
            marks = ", ".join("?" * len(asked))
            query = (
                f"select picture, stamp, value from numbers where metric = ? and identity = ? and picture in ({marks})"
            )
            with closing(self._connection.execute(query, (metric.name, metric.identity, *asked))) as rows:
                found |= {
                    name: np.frombuffer(value, np.float32) for name, stamp, value in rows if stamps[name] == stamp
                }
        return found

    def add(self, metric: Metric, numbers: Mapping[str, Array], stamps: Mapping[str, str]) -> None:
        """Keep the numbers of a batch."""
        lines = [
            (metric.name, metric.identity, picture, stamps[picture], np.asarray(value, dtype=np.float32).tobytes())
            for picture, value in numbers.items()
        ]
        with self._writing() as connection:
            connection.executemany("insert or replace into numbers values (?, ?, ?, ?, ?)", lines)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._connection:
                yield self._connection
        except sqlite3.Error as error:
            raise EcadError(f"cannot keep scores in {self._path}: {error}; is the disk full?") from error


def score(
    pictures: Sequence[Picture],
    metrics: Sequence[Metric],
    store: ScoreStore,
    originals: Mapping[str, Picture] | None = None,
    *,
    batch: int = 16,
    size: int | None = None,
    on_done: Callable[[int], None] = lambda _: None,
) -> dict[str, Array]:
    """Measure pictures by metrics; what the store knows already is not measured again.

    Args:
        pictures: to be measured.
        metrics: by which.
        store: where the numbers are kept.
        originals: by the names of the pictures, for metrics of likeness to them.
        batch: so many pictures are measured together.
        size: cut each picture to a square of so many pixels first, see :meth:`Picture.open`.
        on_done: told how many more pictures are done by all metrics.

    Returns:
        For each metric by name, [pictures, numbers of each] in the order of the pictures.

    Raises:
        EcadError: a picture cannot be read, or has no prompt or no original where a metric needs it.
    """
    _check_needs(pictures, metrics, originals)
    stamps = {
        metric.name: {picture.name: _stamp(picture, metric, originals, size) for picture in pictures}
        for metric in metrics
    }
    found = {metric.name: store.known(metric, stamps[metric.name]) for metric in metrics}
    for start in range(0, len(pictures), batch):
        chunk = pictures[start : start + batch]
        for metric in metrics:
            missing = [picture for picture in chunk if picture.name not in found[metric.name]]
            if missing:
                numbers = metric.numbers(_batch(missing, metric, originals, size))
                # As the store gives them back, so that a resumed measurement ends with the same digits.
                rounded = numbers.astype(np.float32)
                named = dict(zip((picture.name for picture in missing), rounded, strict=True))
                store.add(metric, named, stamps[metric.name])
                found[metric.name].update(named)
        on_done(len(chunk))
    return {
        metric.name: np.stack([found[metric.name][picture.name] for picture in pictures]).astype(np.float64)
        for metric in metrics
    }


def _check_needs(
    pictures: Sequence[Picture], metrics: Sequence[Metric], originals: Mapping[str, Picture] | None
) -> None:
    for metric in metrics:
        if "prompts" in metric.needs:
            silent = [picture.name for picture in pictures if picture.prompt is None]
            if silent:
                raise EcadError(
                    f"{metric.name} needs prompts, and {len(silent)} of {len(pictures)} pictures have none, {silent[0]}"
                    " first; name a list of them: --prompts FILE"
                )
        if "originals" in metric.needs:
            if originals is None:
                raise EcadError(f"{metric.name} compares with uncached pictures; name their folder: --originals FOLDER")
            alone = [picture.name for picture in pictures if picture.name not in originals]
            if alone:
                raise EcadError(
                    f"{len(alone)} of {len(pictures)} pictures have no original of their name, {alone[0]} first; make"
                    " both folders with the same prompts and seeds"
                )


def _stamp(picture: Picture, metric: Metric, originals: Mapping[str, Picture] | None, size: int | None) -> str:
    """Whatever a number depends on beside the metric."""
    parts = [picture.stamp, str(size)]
    if "prompts" in metric.needs:
        parts.append(hashlib.sha256((picture.prompt or "").encode()).hexdigest())
    if "originals" in metric.needs and originals is not None:
        parts.append(originals[picture.name].stamp)
    return " ".join(parts)


def _batch(
    pictures: Sequence[Picture], metric: Metric, originals: Mapping[str, Picture] | None, size: int | None
) -> Batch:
    likeness = "originals" in metric.needs and originals is not None
    return Batch(
        [picture.open(size) for picture in pictures],
        [picture.prompt or "" for picture in pictures],
        [originals[picture.name].open(size) for picture in pictures] if likeness and originals else (),
    )
