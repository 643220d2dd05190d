"""Running a diffusers pipeline or transformer under a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from os import PathLike
from typing import Any

from ecad_dsl.errors import EcadError
from ecad_dsl.language.tree import Program
from ecad_dsl.models import ModelSpec
from ecad_dsl.runtime.clock import Clock, SchedulerClock, TimestepClock
from ecad_dsl.runtime.executor import Executor, check_compiled
from ecad_dsl.runtime.inspect import find_transformer, inspect
from ecad_dsl.schedule.compile import compile
from ecad_dsl.schedule.interchange import holds_masks, open_masks
from ecad_dsl.schedule.schedule import Schedule
from ecad_dsl.schedule.source import load


class Run:
    """A transformer under a schedule, as ``with ecad.apply(...) as run`` gives it."""

    def __init__(self, executor: Executor, clock: Clock) -> None:
        self._executor = executor
        self._clock = clock

    @property
    def schedule(self) -> Schedule | None:
        """The schedule that is followed; None while a portable program waits for the number of steps."""
        return self._executor.schedule

    @property
    def step(self) -> int:
        """The step that the next transformer call belongs to; the number of steps when a generation is over."""
        return self._executor.step

    def next_step(self) -> None:
        """End a step of your own loop. From then on timesteps are no longer looked at.

        After the last step a new generation begins at step 0.

        Raises:
            EcadError: the transformer was not called in this step, or a pipeline's scheduler ends the steps.
        """
        self._clock.next_step()

    def restart(self) -> None:
        """Let go of everything kept and begin at step 0: for a loop of your own that was cut short.

        Raises:
            EcadError: a pipeline's scheduler begins the generations.
        """
        self._clock.restart()


@contextmanager
def apply(
    pipe_or_transformer: Any, schedule: str | PathLike[str] | Program | Schedule, steps: int | None = None
) -> Iterator[Run]:
    """Run a diffusers pipeline or transformer under a schedule for as long as the context lasts.

    Components that a step recomputes run as diffusers wrote them; those that it reuses are not called, and hand
    out the very tensors that they returned last. Leaving the context, by an exception too, restores the
    transformer and lets go of everything kept.

    A pipeline's scheduler tells the steps. For a bare transformer each distinct ``timestep`` that it is called
    with is a step (the same one again is another call of that step, as in sequential guidance), and a timestep
    that turns back begins a new generation; or call ``run.next_step()`` after each step, which also saves the
    wait for a timestep that lies on an accelerator. Timesteps in bfloat16 may be too coarse to tell apart.

    Args:
        pipe_or_transformer: a diffusers pipeline with a transformer, or the transformer.
        schedule: path of an .ecad, .json or .safetensors file, the name of a schedule of the library (``"fora-3"``), a
            program or a schedule. Programs are compiled for this very model; one without a number of steps is compiled
            for as many as the pipeline is called with.
        steps: number of denoising steps, for a program that does not say.

    Yields:
        The run: its schedule, its step, and ``next_step`` for loops of your own.

    Raises:
        EcadError: the schedule does not fit the model; the steps are unknown; the transformer is already under a
            schedule, or compiled as a whole; the scheduler takes several transformer calls a step. While the context
            lasts: the pipeline takes another number of steps than the schedule has, or a component is called in a
            way that cannot be cached. The text of a program may be wrong in itself (a ScheduleSyntaxError).
    """
    transformer = find_transformer(pipe_or_transformer)
    check_compiled(transformer)
    spec = schedule.spec if isinstance(schedule, Schedule) else inspect(pipe_or_transformer)
    executor = Executor(transformer, spec)
    compiled = _compiled(schedule, spec, steps)
    if isinstance(compiled, Schedule):
        executor.load(compiled)
    clock: Clock
    if transformer is not pipe_or_transformer:
        clock = SchedulerClock(executor, pipe_or_transformer, compiled)
    elif isinstance(compiled, Schedule):
        clock = TimestepClock(executor, compiled.steps)
    else:
        raise EcadError("the program does not say how many steps; pass steps=, as in ecad.apply(..., steps=20)")
    try:
        executor.attach()
        with clock.watch():
            yield Run(executor, clock)
    finally:
        executor.detach()


@dataclass(frozen=True)
class ScheduleCacheConfig:
    """A schedule as a setting, as diffusers has configurations of its own caches: ``enable(pipe, config)``."""

    schedule: str | PathLike[str] | Program | Schedule
    steps: int | None = None
    """Number of denoising steps, for a program that does not say."""


def enable(
    pipe_or_transformer: Any,
    schedule: str | PathLike[str] | Program | Schedule | ScheduleCacheConfig,
    steps: int | None = None,
) -> Run:
    """As :func:`apply`, until :func:`disable` is called: where no ``with`` can be written around the pipeline's calls.

    Raises:
        EcadError: as for :func:`apply`.
    """
    if isinstance(schedule, ScheduleCacheConfig):
        steps = schedule.steps if steps is None else steps
        schedule = schedule.schedule
    context = apply(pipe_or_transformer, schedule, steps)
    run = context.__enter__()
    find_transformer(pipe_or_transformer).__dict__[_ENABLED] = _Enabled(context)
    return run


def disable(pipe_or_transformer: Any) -> None:
    """Leave the schedule that :func:`enable` put the transformer under.

    Raises:
        EcadError: it is under none, or under one that a ``with`` ends.
    """
    enabled = find_transformer(pipe_or_transformer).__dict__.pop(_ENABLED, None)
    if enabled is None:
        raise EcadError("no schedule is enabled on this transformer; a `with ecad.apply(...)` ends with its block")
    enabled.context.__exit__(None, None, None)


_ENABLED = "_ecad_enabled"


class _Enabled:
    """Lies in the transformer itself, so that both are freed together. A copy of the transformer is under nothing."""

    def __init__(self, context: AbstractContextManager[Run]) -> None:
        self.context = context

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


def _compiled(
    schedule: str | PathLike[str] | Program | Schedule, spec: ModelSpec, steps: int | None
) -> Schedule | Callable[[int], Schedule]:
    """The schedule, or what makes it once the number of steps is known."""
    if isinstance(schedule, str | PathLike):
        schedule = open_masks(schedule)(spec) if holds_masks(schedule) else load(schedule)
    if isinstance(schedule, Schedule):
        if steps not in (None, schedule.steps):
            raise EcadError(f"the schedule has {schedule.steps} steps, not {steps}; leave steps= out")
        return schedule
    if not isinstance(schedule, Program):
        raise EcadError(
            "a schedule is the path of a file, a name such as 'fora-3', a Program or a Schedule,"
            f" not a {type(schedule).__name__}"
        )
    program = schedule
    if steps is None:
        steps = program.steps
    if steps is None:
        return cache(lambda steps: compile(program, spec, steps))
    return compile(program, spec, steps)
