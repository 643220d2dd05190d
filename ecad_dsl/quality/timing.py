"""Wall-clock time, taken one way everywhere: warmed up, in pairs, interleaved, with the device waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch

Work = Callable[[], object]
Subject = Callable[[], AbstractContextManager[Work]]
"""Enters what the work runs under (a schedule, say), which is not timed, and gives the work, which is."""

PAIRS = 5
"""Enough for the median of their ratios not to hang on what else the machine does."""


def warm_up(subjects: Iterable[Subject]) -> None:
    """Run everything once."""
    for subject in subjects:
        _seconds(subject)


def paired_seconds(
    base: Subject, subjects: Sequence[Subject], rounds: int, on_round: Callable[[str], None] = lambda _: None
) -> list[list[tuple[float, float]]]:
    """For each subject and round, seconds of (the base's work, the subject's).

    The two are neighbours in time and change places from round to round, so that a machine whose speed drifts does not
    favour either. What runs for the first time is to be warmed up before.
    """
    pairs: list[list[tuple[float, float]]] = [[] for _ in subjects]
    for turn in range(rounds):
        for index, subject in enumerate(subjects):
            if turn % 2 == 0:
                first = _seconds(base)
                pairs[index].append((first, _seconds(subject)))
            else:
                first = _seconds(subject)
                pairs[index].append((_seconds(base), first))
        on_round(f"time, round {turn + 1} of {rounds}")
    return pairs


def share_of_time(base: Subject, subject: Subject, pairs: int = PAIRS) -> float:
    """The time of the subject's work as a share of the base's: the median of so many pairs, after a run of each."""
    warm_up((base, subject))
    (seconds,) = paired_seconds(base, [subject], pairs)
    return float(np.median([own / other for other, own in seconds]))


def _seconds(subject: Subject) -> float:
    with subject() as work:
        wait()
        start = time.perf_counter()
        work()
        wait()
        return time.perf_counter() - start


def wait() -> None:
    """Until an accelerator, if there is one, has done all that it was told."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
