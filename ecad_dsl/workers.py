"""Worker processes that measure side by side, each with a copy of its own of whatever measures."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Protocol, Self

from ecad_dsl.errors import EcadError

LIVES = 2
"""A call that so many workers died of is given up."""


def cpu_count() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Outcome:
    """What a call gave: its value, or why there is none."""

    value: Any
    error: str | None
    seconds: float


class Evaluator(Protocol):
    """Calls a method of an object for many arguments, somewhere. Use as a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def map(self, method: str, arguments: Mapping[int, Any]) -> Iterator[tuple[int, Outcome]]:
        """The key of each argument with the outcome of ``target.method(argument)``, in the order they finish."""
        ...


class Workers:
    """Calls a method of an object for many arguments. Use as a context manager.

    One worker is this very process. More are processes of their own, started when first needed, that share the CPUs
    among them: each has a copy of the object, so the object must pickle, and a script that starts them needs the
    usual ``if __name__ == "__main__":``. A worker that dies is replaced, and what it was at is tried again.
    """

    def __init__(self, target: Any, count: int = 1) -> None:
        self._target = target
        self._count = count
        self._pickled: bytes | None = None
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, tuple[_Worker, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def map(self, method: str, arguments: Mapping[int, Any]) -> Iterator[tuple[int, Outcome]]:
        """The key of each argument with the outcome of ``target.method(argument)``, in the order they finish.

        Raises:
            EcadError: the method raised one (a mistake of the user's, which every further call would repeat); or the
                object cannot be sent to other processes.
        """
        if self._count == 1:
            for key, argument in arguments.items():
                yield key, raised(call(self._target, method, argument))
            return
        waiting = deque(arguments)
        deaths: Counter[int] = Counter()
        try:
            self._give_out(method, arguments, waiting)
            while self._busy:
                finished = []
                for ready in wait(list(self._busy)):
                    worker, key = self._busy.pop(ready)  # type: ignore[call-overload]
                    outcome = worker.answer()
                    if outcome is not None:
                        self._idle.append(worker)
                        finished.append((key, outcome))
                        continue
                    deaths[key] += 1
                    if deaths[key] < LIVES:
                        waiting.appendleft(key)
                    else:
                        error = f"{LIVES} workers died of it, the last {worker.cause_of_death()}"
                        finished.append((key, Outcome(None, error, 0.0)))
                self._give_out(method, arguments, waiting)
                for key, outcome in finished:
                    yield key, raised(outcome)
        finally:
            self._kill_busy()  # cut short, nobody asks for what they are at

    def _give_out(self, method: str, arguments: Mapping[int, Any], waiting: deque[int]) -> None:
        self._idle = [worker for worker in self._idle if worker.process.is_alive()]
        while len(self._busy) + len(self._idle) < min(self._count, len(self._busy) + len(waiting)):
            self._idle.append(self._start())
        while waiting and self._idle:
            worker, key = self._idle.pop(), waiting.popleft()
            self._busy[worker.connection] = worker, key
            worker.give((method, arguments[key]))

    def _start(self) -> _Worker:
        if self._pickled is None:
            try:
                self._pickled = pickle.dumps(self._target)
            except Exception as failure:
                raise EcadError(
                    f"cannot send this {type(self._target).__name__} to worker processes ({failure}); make it of what"
                    " pickle takes (functions of a module instead of lambdas), or use one worker"
                ) from failure
        return _Worker(self._pickled, max(1, cpu_count() // self._count))

    def _kill_busy(self) -> None:
        for worker, _ in self._busy.values():
            worker.process.kill()
            worker.process.join()
        self._busy.clear()

    def _stop(self) -> None:
        self._kill_busy()
        for worker in self._idle:
            worker.connection.close()  # which it takes as its end
        for worker in self._idle:
            worker.process.join()
        self._idle.clear()


class _Worker:
    """A process, and this end of the line to it."""

    def __init__(self, pickled: bytes, threads: int) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs, threads), daemon=True)
        self.process.start()
        theirs.close()  # so that its death is the end of the line
        self._ready = False
        self.give(pickled)

    def give(self, message: object) -> None:
        with suppress(ConnectionError):  # dead already: waiting for the answer will tell
            self.connection.send(message)

    def answer(self) -> Outcome | EcadError | None:
        """The outcome of the call that it was given last, None if it died instead.

        Raises:
            EcadError: it died before it was ready for any call.
        """
        try:
            if not self._ready:
                self._ready = self.connection.recv()
            return self.connection.recv()  # type: ignore[no-any-return]
        except (EOFError, ConnectionError):
            self.process.join()
        if not self._ready:
            raise EcadError(
                f"a worker process could not start, and ended {self.cause_of_death()}; what it wrote on standard"
                " error tells why. A script that starts workers must do so under"
                ' `if __name__ == "__main__":`; or use one worker'
            )
        return None

    def cause_of_death(self) -> str:
        code = self.process.exitcode or 0
        if code >= 0:
            return f"with exit code {code}"
        name = signal.Signals(-code).name
        return f"by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _serve(connection: Connection, threads: int) -> None:
    """A worker's life: one call after the other, until the other end hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch
    from tqdm import tqdm  # type: ignore[import-untyped]

    tqdm.set_lock(threading.RLock())  # its own is one between processes, reported as lost when a worker is killed
    torch.set_num_threads(threads)
    try:
        target = pickle.loads(connection.recv())
        connection.send(True)
        while True:
            method, argument = connection.recv()
            connection.send(call(target, method, argument))
    except (EOFError, ConnectionError):
        return


def _end_with_parent() -> None:
    """However the process that asked ended: nobody waits for the answer any more, and it may be hours away."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def call(target: Any, method: str, argument: Any) -> Outcome | EcadError:
    """The outcome of ``target.method(argument)``, or the mistake of the user's that it raised."""
    start = time.perf_counter()
    value, error = None, None
    try:
        value = getattr(target, method)(argument)
    except EcadError as mistake:
        return EcadError(str(mistake))
    except Exception as failure:  # one bad argument must not stop hours of work
        error = f"{type(failure).__name__}: {failure}"
    return Outcome(value, error, time.perf_counter() - start)


def raised(outcome: Outcome | EcadError) -> Outcome:
    """The outcome, unless it is a mistake of the user's."""
    if isinstance(outcome, EcadError):
        raise outcome
    return outcome
