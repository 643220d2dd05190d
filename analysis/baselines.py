"""The baselines that every comparison holds: published ways to cache, each with its parameters, as programs.

``schedules/baselines/`` has those of ``LIBRARY`` as files, which say where each comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from ecad_dsl.errors import EcadError
from ecad_dsl.language import Program, parse
from ecad_dsl.models import ModelSpec
from ecad_dsl.quality.measure import Entry
from ecad_dsl.schedule import compile


class Baseline(Protocol):
    """One way to cache, with its parameters."""

    family: ClassVar[str]
    """What it is called in tables. Its members differ in their parameters, and so in cost and quality."""

    def program(self) -> Program:
        """Portable, so that it compiles for every model.

        Raises:
            EcadError: a parameter is out of its range.
        """
        ...


@dataclass(frozen=True)
class NoCache:
    """Everything is computed at every step."""

    family: ClassVar[str] = "no cache"

    def program(self) -> Program:
        return parse("")


@dataclass(frozen=True)
class Fora:
    """Everything is computed at every ``period``-th step (arXiv 2407.01425)."""

    period: int
    family: ClassVar[str] = "FORA"

    def program(self) -> Program:
        return parse(f"cache all every {_count(self.period)} steps")


@dataclass(frozen=True)
class Tgate:
    """Cross-attention is reused from ``gate`` percent of the steps on (arXiv 2404.02747)."""

    gate: int
    family: ClassVar[str] = "TGATE"

    def program(self) -> Program:
        return parse(f"reuse cross from step {_percent(self.gate)}")


@dataclass(frozen=True)
class Pab:
    """Self- and cross-attention have periods of their own between two percentages of the steps (arXiv 2408.12588)."""

    self_period: int = 2
    cross_period: int = 6
    start: int = 10
    stop: int = 90
    family: ClassVar[str] = "PAB"

    def program(self) -> Program:
        window = _window(self.start, self.stop)
        return parse(
            f"cache self every {_count(self.self_period)} steps from step {window}\n"
            f"cache cross every {_count(self.cross_period)} steps from step {window}"
        )


@dataclass(frozen=True)
class DeltaDit:
    """Up to ``switch`` percent of the steps rear blocks are cached, front blocks afterwards (after arXiv 2406.01125).

    Front and rear meet at ``border`` percent of the blocks.
    """

    period: int = 2
    switch: int = 50
    border: int = 50
    family: ClassVar[str] = "Delta-DiT style"

    def program(self) -> Program:
        switch, border, period = _percent(self.switch), _percent(self.border), _count(self.period)
        return parse(
            f"cache all in blocks {border}-100% every {period} steps to step {switch}\n"
            f"cache all in blocks 0%-{border} every {period} steps from step {switch}"
        )


@dataclass(frozen=True)
class DeepCache:
    """The middle blocks, between two percentages, are computed at every ``period``-th step (after arXiv 2312.00858)."""

    period: int = 3
    start: int = 25
    stop: int = 75
    family: ClassVar[str] = "DeepCache style"

    def program(self) -> Program:
        _window(self.start, self.stop)
        return parse(f"cache all in blocks {self.start}%-{self.stop}% every {_count(self.period)} steps")


@dataclass(frozen=True)
class TocaStandIn:
    """Not ToCa (arXiv 2410.05317): whole blocks stand for the tokens that it computes, by its shares.

    All is computed at every ``period``-th step. Between, ToCa computes ``1 - ratio`` of the tokens, weighted by kind of
    component, depth and step as the constants below say. This spends the same share of the work on all tokens of the
    foremost blocks, a quarter of the steps at a time.
    """

    period: int = 3
    ratio: float = 0.9
    family: ClassVar[str] = "ToCa stand-in"

    def program(self) -> Program:
        if not 0 <= self.ratio <= 1:
            raise EcadError(f"ToCa's ratio is a share of the tokens, from 0 to 1, not {self.ratio}")
        return parse("\n".join([f"cache all every {_count(self.period)} steps", *self._between()]))

    def _between(self) -> Iterator[str]:
        windows = ("to step 25%", "from step 25% to 50%", "from step 50% to 75%", "from step 75%")
        for quarter, window in enumerate(windows):
            step_weight = _FIRST_STEP + (_LAST_STEP - _FIRST_STEP) * (quarter + 0.5) / len(windows)
            for component, weight in _COMPONENT_WEIGHTS.items():
                share = round(100 * min(1, (1 - self.ratio) * step_weight * weight))
                if share:
                    yield f"recompute {component} in blocks 0%-{share}% {window}"


_FIRST_STEP, _LAST_STEP = 1.9, 0.1
_COMPONENT_WEIGHTS = {"ffn": 1.6, "cross": 0.6}
"""ToCa's weights for PixArt, as its authors' code has them; self-attention has 0."""


@dataclass(frozen=True)
class FewerSteps:
    """Nothing is cached, but the sampler takes only so many steps: what every cache must beat."""

    steps: int
    family: ClassVar[str] = "fewer steps"

    def program(self) -> Program:
        return parse(f"steps {_count(self.steps)}")


LIBRARY: Mapping[str, Baseline] = {
    "none": NoCache(),
    **{f"fora-{period}": Fora(period) for period in (2, 3, 4, 5, 6)},
    **{f"tgate-{gate}": Tgate(gate) for gate in (25, 50, 75)},
    "pab": Pab(),
    "pab-3-6": Pab(3, 6),
    "delta-dit": DeltaDit(),
    "delta-dit-3": DeltaDit(3),
    **{f"deepcache-middle-{period}": DeepCache(period) for period in (2, 5)},
    "deepcache-middle": DeepCache(),
    **{f"toca-stand-in-{period}": TocaStandIn(period) for period in (2, 3, 4)},
}
"""By the name of their file in ``schedules/baselines/``."""

FEWER_STEPS = (0.25, 0.35, 0.5, 0.6, 0.7, 0.8)
"""Shares of the step count at which the sampler without a cache runs: 5, 7, 10, 12, 14, 16 of 20."""


def baselines(spec: ModelSpec, steps: int) -> list[Entry]:
    """No cache, those of the library that do anything on this model, and fewer steps."""
    counts = sorted({max(1, round(share * steps)) for share in FEWER_STEPS} - {steps})
    entries: dict[str, Entry] = {}
    for name, baseline in [*LIBRARY.items(), *((f"{count} steps", FewerSteps(count)) for count in counts)]:
        program = baseline.program()
        schedule = compile(program, spec, program.steps or steps)
        # TGATE on a model without cross-attention does nothing, so it is no baseline there.
        if not entries or schedule.key != entries["none"].schedule.key:
            entries[name] = Entry(name, _group(baseline), schedule, baseline.family)
    return list(entries.values())


def _group(baseline: Baseline) -> str:
    if isinstance(baseline, NoCache):
        return "none"
    return "fewer steps" if isinstance(baseline, FewerSteps) else "baseline"


def _count(steps: int) -> int:
    if steps < 1:
        raise EcadError(f"a period or a number of steps is at least 1, not {steps}")
    return steps


def _percent(share: int) -> str:
    if not 0 <= share <= 100:
        raise EcadError(f"a percentage lies between 0 and 100, not at {share}")
    return f"{share}%"


def _window(start: int, stop: int) -> str:
    if start > stop:
        raise EcadError(f"a window begins before it ends, not at {start}% of {stop}%")
    return f"{_percent(start)} to {_percent(stop)}"
