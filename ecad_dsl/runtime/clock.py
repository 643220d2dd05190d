"""What tells the executor that a step is over: the pipeline's scheduler, or the caller's own loop."""

from __future__ import annotations

import copy
import functools
import inspect
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, TypeAlias

import torch
from torch import nn

from ecad_dsl.errors import EcadError
from ecad_dsl.runtime.executor import Executor, Reduced, Shape, pickled_as
from ecad_dsl.schedule.schedule import Schedule


class Clock(ABC):
    """Watches one transformer from ``watch`` until that context is left, and moves its executor."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    @contextmanager
    def watch(self) -> Iterator[None]:
        hook = self.executor.transformer.register_forward_pre_hook(_Hook(self), with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    @abstractmethod
    def before_forward(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """The transformer is about to run."""

    @abstractmethod
    def next_step(self) -> None:
        """The caller says that the step is over."""

    @abstractmethod
    def restart(self) -> None:
        """The caller says that a new generation begins."""


class _Hook:
    """Tells a clock that its transformer is about to run. A copy of the transformer has a hook that does nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module is self._clock.executor.transformer:  # a shallow copy shares the hook
            self._clock.before_forward(args, kwargs)

    def __reduce__(self) -> Reduced:
        return getattr, (nullcontext(), "__exit__")


class SchedulerClock(Clock):
    """Follows a diffusers scheduler: ``set_timesteps`` begins a generation, ``step`` ends a step.

    So do copies that a pipeline makes of its scheduler, where it does not step that one itself: SkyReels-V2's diffusion
    forcing has one for each frame. LTX-2, which has another for sound, steps both.
    """

    def __init__(self, executor: Executor, pipe: Any, schedule: Schedule | Callable[[int], Schedule]) -> None:
        """``schedule`` is the schedule, or what makes it once the number of steps is known.

        Raises:
            EcadError: the pipeline has no scheduler, or one that calls the transformer more than once a step.
        """
        super().__init__(executor)
        self._pipe = pipe
        self._scheduler = _checked(pipe)
        self._following = ExitStack()
        self._schedule = schedule
        self._running = False
        self._thread = 0
        """The one in which the transformer was called last."""
        self._stepped: Any = None
        """A copy of the scheduler that was stepped since the transformer was called."""

    @contextmanager
    def watch(self) -> Iterator[None]:
        with super().watch():
            self._follow()
            try:
                yield
            finally:
                self._following.close()

    def _follow(self) -> None:
        """The scheduler that the pipeline has now, and no other."""
        self._following.close()
        self._scheduler = _checked(self._pipe)
        begins = _followed(self._scheduler, "set_timesteps", self._begin, _weak(self._copy_begins))
        self._following.enter_context(begins)
        self._following.enter_context(_followed(self._scheduler, "step", self._end_step, _weak(self._copy_steps)))

    def _end_step(self) -> None:
        self._stepped = None
        self.executor.advance()

    def _copy_steps(self, scheduler: Any) -> None:
        """Several copies may end one step, of a frame each. Whether theirs alone is seen at the next call."""
        if self.executor.call < 0 or threading.get_ident() != self._thread:
            return  # The scheduler itself has ended the step, or the copy is used elsewhere.
        if self._stepped is not None and _index(scheduler) != _index(self._stepped):
            raise EcadError(
                f"{type(self._pipe).__name__} denoises frames that are at different steps in one call of the"
                " transformer, which no schedule describes; let all frames take each step together (ar_step=0)"
            )
        self._stepped = scheduler

    def _copy_begins(self, scheduler: Any) -> None:  # noqa: ARG002
        """Another part of a long video, say. In the midst of a generation it is none of ours."""
        schedule = self.executor.schedule
        if schedule is not None and self.executor.step + (self._stepped is not None) >= schedule.steps:
            self._stepped = None
            self.executor.restart()

    def _begin(self) -> None:
        self._running = False
        self._stepped = None
        if self._pipe.transformer is not self.executor.transformer:
            raise EcadError(
                "the pipeline has another transformer than when it was put under the schedule; leave that"
                " (`with ecad.apply(...)`, or ecad.disable with the old transformer), and apply it again"
            )
        steps = len(self._scheduler.timesteps)
        schedule = self._schedule if isinstance(self._schedule, Schedule) else self._schedule(steps)
        if schedule.steps != steps:
            raise EcadError(
                f"the schedule has {schedule.steps} steps, but {type(self._scheduler).__name__} takes {steps};"
                f" pass num_inference_steps={schedule.steps} or compile the program for {steps} steps"
            )
        self.executor.load(schedule)
        self.executor.restart()
        self._running = True

    def before_forward(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        executor = self.executor
        if self._pipe.scheduler is not self._scheduler:  # another one took its place and was told the steps since
            self._follow()
            self._begin()
        if not self._running:
            raise EcadError(
                "the transformer was called before the pipeline's scheduler was told the number of steps;"
                " to run the transformer in a loop of your own, apply the schedule to pipe.transformer instead"
            )
        if self._stepped is not None:
            self._end_step()
        self._thread = threading.get_ident()
        if executor.schedule is not None and executor.step >= executor.schedule.steps:
            raise EcadError(
                f"the transformer was called again after all {executor.schedule.steps} steps of the schedule;"
                " a new generation begins with the scheduler's set_timesteps"
            )
        executor.begin_forward(_input_shape(args, kwargs))

    def next_step(self) -> None:
        raise EcadError("the pipeline's scheduler ends the steps; next_step() is for a transformer without a pipeline")

    def restart(self) -> None:
        raise EcadError("the pipeline's scheduler begins the generations; restart() is for a transformer without one")


def _checked(pipe: Any) -> Any:
    """The scheduler of a pipeline, where its steps are those of a schedule."""
    scheduler = getattr(pipe, "scheduler", None)
    if scheduler is None:
        raise EcadError("the pipeline has no scheduler to tell its steps; apply the schedule to pipe.transformer")
    order = getattr(scheduler, "order", 1)
    if order != 1:
        raise EcadError(
            f"{type(scheduler).__name__} calls the transformer {order} times a step, which no schedule describes;"
            " use a scheduler of order 1, such as DPMSolverMultistepScheduler or FlowMatchEulerDiscreteScheduler"
        )
    return scheduler


TIMESTEPS = ("timestep", "timesteps", "t")
"""What diffusers' transformers call their timestep: most of them, HiDream's, Z-Image's."""


class TimestepClock(Clock):
    """Follows a caller's own loop by the transformer's ``timestep`` argument, or by ``next_step``.

    Each distinct timestep is a step, and the same timestep again is another call of the same step (sequential
    guidance). One that turns back, or comes after the last step, begins a new generation. Reading a timestep
    that lies on an accelerator waits for it; ``next_step`` avoids that.
    """

    def __init__(self, executor: Executor, steps: int) -> None:
        super().__init__(executor)
        self._steps = steps
        self._signature = inspect.signature(executor.transformer.forward)
        self._argument = next((name for name in TIMESTEPS if name in self._signature.parameters), TIMESTEPS[0])
        self._explicit = False
        self._forget()

    def _forget(self) -> None:
        self._timestep: float | None = None
        self._direction = 0.0
        self._calls_a_step = 0

    def before_forward(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if not self._explicit:
            self._follow(self._read(args, kwargs))
        self.executor.begin_forward(_input_shape(args, kwargs))

    def next_step(self) -> None:
        if self.executor.call < 0:
            raise EcadError("next_step() belongs after the transformer calls of a step; this step has had none")
        self._explicit = True
        self.executor.advance()
        if self.executor.step == self._steps:
            self.restart()

    def restart(self) -> None:
        self.executor.restart()
        self._forget()

    def _follow(self, timestep: float) -> None:
        before, self._timestep = self._timestep, timestep
        if before is None or timestep == before:
            return
        self._check_calls()
        direction = timestep - before
        if direction * self._direction < 0 or self.executor.step + 1 == self._steps:
            self.restart()
            self._timestep = timestep
            return
        self._direction = direction
        self.executor.advance()

    def _check_calls(self) -> None:
        """A generation cut short in step 0 and begun again looks like guidance: one more call, same timestep."""
        calls, step = self.executor.call + 1, self.executor.step
        if step == 0:
            self._calls_a_step = calls
        elif calls != self._calls_a_step:
            first = self._calls_a_step
            self.restart()
            raise EcadError(
                f"step 0 called the transformer {first} times and step {step} {calls} times, so timesteps do not tell"
                " where the steps end; call run.next_step() after each step, and run.restart() after a generation"
                " that was cut short"
            )

    def _read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> float:
        timestep = kwargs.get(self._argument)
        if timestep is None and args:
            timestep = self._signature.bind_partial(*args).arguments.get(self._argument)
        if timestep is None:
            raise EcadError("the transformer was called without a timestep; call run.next_step() after each step")
        # The largest, since video models give tokens that are not denoised the timestep 0.
        return float(timestep.max()) if isinstance(timestep, torch.Tensor) else float(timestep)


def _input_shape(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Shape:
    """Of the latents, the first argument of every diffusers transformer."""
    return _shape(args[0] if args else kwargs.get("hidden_states", kwargs.get("x")))  # x: Z-Image's


def _shape(latents: Any) -> Shape:
    if isinstance(latents, list | tuple):
        return tuple(map(_shape, latents))
    return tuple(latents.shape) if isinstance(latents, torch.Tensor) else None


def _index(scheduler: Any) -> int | None:
    """How many steps it has taken, where it says so."""
    index: int | None = getattr(scheduler, "step_index", None)
    return index


OfCopy: TypeAlias = Callable[[Any], None]
"""What is called with a copy of a scheduler."""


def _weak(method: OfCopy) -> OfCopy:
    """The method for as long as its object lives: a copy of a scheduler that somebody keeps keeps nothing else."""
    reference = weakref.WeakMethod(method)

    def call(scheduler: Any) -> None:
        if (method := reference()) is not None:
            method(scheduler)

    return call


class _Follower:
    """A scheduler's own method, followed by a call of ours; on a copy of the scheduler, by another."""

    def __init__(self, scheduler: Any, method: Callable[..., Any], then: Callable[[], None], of_copy: OfCopy) -> None:
        # Pipelines look at the signature of `step` and `set_timesteps` to learn what to pass.
        functools.update_wrapper(self, method)
        self._scheduler = scheduler
        self._method = method
        self._then = then
        self._of_copy = of_copy

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._method(*args, **kwargs)
        self._then()
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> _Follower:
        scheduler, method = copy.deepcopy((self._scheduler, self._method), memo)
        return _Follower(scheduler, method, functools.partial(self._of_copy, scheduler), self._of_copy)

    def __reduce__(self) -> Reduced:
        return pickled_as(self._method)


@contextmanager
def _followed(scheduler: Any, name: str, then: Callable[[], None], of_copy: OfCopy) -> Iterator[None]:
    """Shadow the scheduler's method on the instance, and leave the instance as it was."""
    shadowed = scheduler.__dict__.get(name)
    scheduler.__dict__[name] = _Follower(scheduler, getattr(scheduler, name), then, of_copy)
    try:
        yield
    finally:
        if shadowed is None:
            del scheduler.__dict__[name]
        else:
            scheduler.__dict__[name] = shadowed
