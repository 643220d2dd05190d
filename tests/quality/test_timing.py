"""What is timed, in which order, and what is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from ecad_dsl.quality import timing
from ecad_dsl.quality.timing import Work, paired_seconds, warm_up


def test_every_time_is_taken_beside_the_bases_in_alternating_order(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    runs: list[str] = []

    @contextmanager
    def subject(name: str, seconds: float) -> Iterator[Work]:
        """Takes so long for its work; entering and leaving it take an hour, which is not to be counted."""

        def work() -> None:
            nonlocal now
            runs.append(name)
            now += seconds

        nonlocal now
        now += 3600
        yield work
        now += 3600

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    base, one, two = (partial(subject, name, seconds) for name, seconds in (("base", 4.0), ("one", 2.0), ("two", 1.0)))
    done: list[str] = []
    warm_up((base, one, two))
    pairs = paired_seconds(base, [one, two], rounds=2, on_round=done.append)
    assert runs[:3] == ["base", "one", "two"]
    assert runs[3:7] == ["base", "one", "base", "two"]
    assert runs[7:] == ["one", "base", "two", "base"]
    assert pairs == [[(4.0, 2.0)] * 2, [(4.0, 1.0)] * 2]
    assert done == ["time, round 1 of 2", "time, round 2 of 2"]
