"""Workers on a Ray cluster: one actor for each GPU, or for each CPU where there are no GPUs."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from ecad_dsl.errors import EcadError
from ecad_dsl.workers import LIVES, Outcome, call, raised

NODES = 5
"""A call that so many nodes were lost at is given up: whatever it does, it takes the whole machine with it."""
STARTS = 5
"""So many actors in a row that die before they are ready are enough."""


class RayWorkers:
    """Calls a method of an object for many arguments on the actors of a Ray cluster. Use as a context manager.

    Each actor holds a copy of the object for as long as it lives, so that a pipeline is loaded once. An actor that
    dies, alone or with its node, is replaced, and what it was at is tried again. Calls are given to actors that are
    ready only: a cluster that shrinks makes it slower, and one that grows makes it faster.
    """

    def __init__(self, target: Any, address: str) -> None:
        self._target = target
        self._address = address
        self._idle: list[_Actor] = []
        self._starting: dict[Any, _Actor] = {}
        self._busy: dict[Any, tuple[_Actor, int]] = {}
        self._failed_starts = 0

    def __enter__(self) -> Self:
        ray = _import()
        self._connected = not ray.is_initialized()
        if self._connected:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            own = {"include_dashboard": False} if self._address == "local" else {}
            try:
                ray.init(address=self._address, log_to_driver=False, logging_level="ERROR", **own)
            except Exception as failure:
                raise EcadError(
                    f"cannot reach a Ray cluster at {self._address} ({failure}); start one with `ray start --head`, or"
                    ' say "local" for one on this machine alone'
                ) from failure
        self._copy = _put(self._target)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end([*self._idle, *self._starting.values(), *(actor for actor, _ in self._busy.values())])
        self._idle, self._starting, self._busy = [], {}, {}
        if self._connected:
            _import().shutdown()

    def map(self, method: str, arguments: Mapping[int, Any]) -> Iterator[tuple[int, Outcome]]:
        """The key of each argument with the outcome of ``target.method(argument)``, in the order they finish.

        Raises:
            EcadError: the method raised one; or no actor could be started.
        """
        ray = _import()
        waiting = deque(arguments)
        deaths: Counter[int] = Counter()
        losses: Counter[int] = Counter()
        while self._idle:  # one that has died since is no fault of what it would be given
            self._await(self._idle.pop())
        try:
            while waiting or self._busy:
                while waiting and self._idle:
                    actor, key = self._idle.pop(), waiting.popleft()
                    self._busy[actor.handle.call.remote(method, arguments[key])] = actor, key
                self._hire(len(waiting) + len(self._busy))
                ready, _ = ray.wait([*self._busy, *self._starting], num_returns=1)
                for reference in ready:
                    if reference in self._starting:
                        self._welcome(reference)
                        continue
                    actor, key = self._busy.pop(reference)
                    outcome = actor.answer(reference)
                    if outcome is not None:
                        self._idle.append(actor)
                        yield key, raised(outcome)
                        continue
                    self._end([actor])
                    (losses if actor.lost_its_node() else deaths)[key] += 1
                    if deaths[key] < LIVES and losses[key] < NODES:
                        waiting.appendleft(key)
                        continue
                    died = f"{LIVES} workers" if deaths[key] >= LIVES else f"{NODES} nodes"
                    yield key, Outcome(None, f"{died} died of it, actors of a Ray cluster", 0.0)
        finally:
            self._end([actor for actor, _ in self._busy.values()])  # cut short, nobody asks for what they are at
            self._busy.clear()

    def _hire(self, work: int) -> None:
        """Start actors, as many as there is room and work for."""
        count, resources = _shares()
        staff = len(self._busy) + len(self._idle) + len(self._starting)
        for _ in range(min(count, work) - staff):
            self._await(_Actor(self._copy, resources))

    def _await(self, actor: _Actor) -> None:
        self._starting[actor.handle.node.remote()] = actor

    def _welcome(self, reference: Any) -> None:
        ray = _import()
        actor = self._starting.pop(reference)
        try:
            actor.node = ray.get(reference)
        except ray.exceptions.RayError as failure:
            self._failed_starts += 1
            if getattr(failure, "_actor_init_failed", False) or self._failed_starts >= STARTS:
                raise EcadError(f"no actor of the Ray cluster could be started: {failure}") from failure
            self._end([actor])
            return
        self._failed_starts = 0
        self._idle.append(actor)

    def _end(self, actors: list[_Actor]) -> None:
        for actor in actors:
            _import().kill(actor.handle)


class _Actor:
    """One actor, as seen from here."""

    def __init__(self, copy: Any, resources: Mapping[str, float]) -> None:
        remote = _import().remote(**resources, max_restarts=0, max_task_retries=0)(_Holder)
        self.handle = remote.remote(copy, max(1, int(resources["num_cpus"])))
        self.node = ""

    def answer(self, reference: Any) -> Outcome | EcadError | None:
        """The outcome of the call that it was given, None if it died instead."""
        ray = _import()
        try:
            return ray.get(reference)  # type: ignore[no-any-return]
        except ray.exceptions.RayError:
            return None

    def lost_its_node(self) -> bool:
        return not any(node["Alive"] and node["NodeID"] == self.node for node in _import().nodes())


class _Holder:
    """What an actor is: the object, and calls of it."""

    def __init__(self, target: Any, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._target = target

    def node(self) -> str:
        return str(_import().get_runtime_context().get_node_id())

    def call(self, method: str, argument: Any) -> Outcome | EcadError:
        return call(self._target, method, argument)


def _shares() -> tuple[int, dict[str, float]]:
    """How many actors the cluster has room for, and what each takes of it."""
    alive = _import().cluster_resources()
    gpus, cpus = int(alive.get("GPU", 0)), int(alive.get("CPU", 0))
    return (gpus, {"num_gpus": 1, "num_cpus": 0}) if gpus else (max(1, cpus), {"num_cpus": 1})


def _put(target: Any) -> Any:
    try:
        return _import().put(target)
    except Exception as failure:
        raise EcadError(f"cannot send this {type(target).__name__} to a Ray cluster: {failure}") from failure


def _import() -> Any:
    try:
        import ray
    except ImportError as missing:
        raise EcadError("Ray is not installed; install it with: pip install 'ecad[ray]'") from missing
    return ray
