"""How a loop of one's own around a bare transformer moves the steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ecad_dsl.errors import EcadError
from ecad_dsl.runtime import Run, apply, inspect
from ecad_dsl.runtime.clock import SchedulerClock
from ecad_dsl.schedule import Schedule
from tests.runtime import oracle
from tests.runtime.conftest import Generate
from tests.runtime.tiny import pixart_transformer

TRANSFORMER = pixart_transformer()
SPEC = inspect(TRANSFORMER)


def call(timestep: Any, batch: int = 1) -> torch.Tensor:
    latents = torch.ones(batch, 4, 8, 8)
    with torch.no_grad():
        output: torch.Tensor = TRANSFORMER(latents, torch.ones(batch, 6, 8), timestep=timestep, return_dict=False)[0]
    return output


def steps_of(run: Run, timesteps: list[float]) -> list[int]:
    steps = []
    for timestep in timesteps:
        call(torch.tensor([timestep]))
        steps.append(run.step)
    return steps


@pytest.mark.parametrize(
    ("timesteps", "steps"),
    [
        ([9, 8, 7], [0, 1, 2]),
        ([9, 9, 8, 8, 7, 7], [0, 0, 1, 1, 2, 2]),
        ([9, 8, 7, 9, 8, 7], [0, 1, 2, 0, 1, 2]),
        ([9, 8, 9, 8, 7], [0, 1, 0, 1, 2]),
        ([0.0, 0.5, 1.0, 0.0, 0.5], [0, 1, 2, 0, 1]),
        ([9, 8, 7, 6, 5, 4], [0, 1, 2, 0, 1, 2]),
    ],
    ids=["descending", "sequential guidance", "two generations", "cut short", "ascending", "beyond the last"],
)
def test_timesteps_tell_the_steps(timesteps: list[float], steps: list[int]) -> None:
    with apply(TRANSFORMER, oracle.random_schedule(SPEC, 3)) as run:
        assert steps_of(run, timesteps) == steps


def test_a_timestep_may_be_positional() -> None:
    with apply(TRANSFORMER, oracle.random_schedule(SPEC, 3)) as run, torch.no_grad():
        for timestep in (9, 8):
            TRANSFORMER(torch.ones(1, 4, 8, 8), torch.ones(1, 6, 8), torch.tensor([timestep]))
        assert run.step == 1


def test_next_step_takes_the_place_of_timesteps() -> None:
    schedule = oracle.random_schedule(SPEC, 3)
    with apply(TRANSFORMER, schedule):
        by_timestep = [call(torch.tensor([t])) for t in (9, 8, 7)]
    with apply(TRANSFORMER, schedule) as run:
        for _ in range(2):
            explicit = []
            for timestep in (9, 8, 7):
                explicit.append(call(torch.tensor([timestep])))
                run.next_step()
            assert run.step == 0
            assert all(torch.equal(a, b) for a, b in zip(by_timestep, explicit, strict=True))


def test_next_step_before_any_call_is_refused() -> None:
    with apply(TRANSFORMER, oracle.random_schedule(SPEC, 3)) as run, pytest.raises(EcadError, match="after the trans"):
        run.next_step()


def test_guidance_that_stops_midway_cannot_be_told_by_timesteps() -> None:
    with apply(TRANSFORMER, oracle.reuse_schedule(SPEC, 5)) as run:
        with pytest.raises(EcadError, match="step 0 called the transformer 2 times and step 1 1 times"):
            steps_of(run, [9, 9, 8, 7])
        assert run.step == 0


def test_a_call_that_the_computing_step_did_not_make_is_refused() -> None:
    with apply(TRANSFORMER, oracle.reuse_schedule(SPEC, 5)) as run:
        call(torch.tensor([9]))
        run.next_step()
        call(torch.tensor([8]))
        with pytest.raises(EcadError, match=r"step 1 reuses self \(attn1\) of blocks 0 in call 2"):
            call(torch.tensor([8]))


def test_another_batch_midway_is_refused() -> None:
    with apply(TRANSFORMER, oracle.reuse_schedule(SPEC, 5)):
        call(torch.tensor([9, 9]), batch=2)
        with pytest.raises(EcadError, match=r"shape \(2, 4, 8, 8\) and the input now is \(1, 4, 8, 8\)"):
            call(torch.tensor([8]))


def test_another_batch_is_fine_where_everything_is_recomputed() -> None:
    """diffusers pipelines may drop the guidance pair midway; nothing kept from before is read then."""
    with apply(TRANSFORMER, oracle.full_schedule(SPEC, 2)):
        call(torch.tensor([9, 9]), batch=2)
        call(torch.tensor([8]))


def test_a_call_that_the_last_recompute_did_not_make_is_refused_though_an_older_one_did() -> None:
    transformer = pixart_transformer()
    full = (1 << inspect(transformer).cells) - 1
    inputs = torch.zeros(1, 4, 8, 8), torch.zeros(1, 6, 8), torch.zeros(1)
    with torch.no_grad(), apply(transformer, Schedule(inspect(transformer), (full, 0, full, 0))) as run:
        for calls in (2, 1, 1):
            for _ in range(calls):
                transformer(*inputs)
            run.next_step()
        transformer(*inputs)
        with pytest.raises(EcadError, match="fewer"):
            transformer(*inputs)


def test_restart_forgets_a_generation_cut_short() -> None:
    with apply(TRANSFORMER, oracle.random_schedule(SPEC, 3)) as run:
        whole = [call(torch.tensor([t])) for t in (9, 8, 7)]
        run.restart()
        call(torch.tensor([9]))
        run.restart()
        assert all(torch.equal(call(torch.tensor([t])), out) for t, out in zip((9, 8, 7), whole, strict=True))


class NoWaiting(TorchDispatchMode):
    """Refuses what would wait for a GPU: reading a value out of a tensor."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return func(*args, **(kwargs or {}))


def test_a_loop_that_ends_its_steps_never_waits() -> None:
    with apply(TRANSFORMER, oracle.random_schedule(SPEC, 3)) as run:
        call(torch.tensor([9]))
        run.next_step()
        with NoWaiting():
            for timestep in (8, 7, 9, 8, 7, 9):
                call(torch.tensor([timestep]))
                run.next_step()
        assert run.step == 1
    with apply(TRANSFORMER, oracle.random_schedule(SPEC, 3)), NoWaiting(), pytest.raises(AssertionError):
        call(torch.tensor([9]))


def test_under_a_pipeline_nothing_waits(pipe: Any, generate: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    before_forward = SchedulerClock.before_forward

    def watched(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        with NoWaiting():
            before_forward(*arguments)

    monkeypatch.setattr(SchedulerClock, "before_forward", watched)
    with apply(pipe, oracle.random_schedule(inspect(pipe), 3)):
        generate(pipe, steps=3)
    assert calls == 3


def test_a_pipeline_moves_its_own_steps(pipe: Any) -> None:
    with apply(pipe, oracle.full_schedule(inspect(pipe), 3)) as run:
        for move in (run.next_step, run.restart):
            with pytest.raises(EcadError, match="the pipeline's scheduler"):
                move()
