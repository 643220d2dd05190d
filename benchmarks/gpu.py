"""PixArt-XL/2 and FLUX.1-dev at full size on a GPU: ``python benchmarks/gpu.py`` prints tables as they are known.

Random weights in bfloat16 (time does not depend on them), the paper's schedules and FORA beside the uncached model, as
``ecad bench`` measures it; then with compiled blocks, and other caches on the same models. A group of measurements runs
in a process of its own, which is ended when the time is up, and every table is written to ``--out`` at once: whatever
ends a run, what was measured before stays. The first four groups take about two minutes on an H100.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# Or else diffusers, which asks for a GPU when it is imported, wakes the driver, and no process can be forked any more.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

import diffusers
import torch
from peers import bare, compare, show
from runtime import describe

from ecad_dsl import schedules
from ecad_dsl.files import write_text
from ecad_dsl.models import load_spec
from ecad_dsl.quality.bench import (
    bench,
    compile_blocks,
    machine,
    random_inputs,
    random_transformer,
    scaled,
)
from ecad_dsl.quality.timing import wait
from ecad_dsl.runtime import apply
from ecad_dsl.schedule import Schedule, compile
from ecad_dsl.schedule.retarget import retarget

STEPS = 20


@dataclass(frozen=True)
class Case:
    """One table."""

    name: str
    size: int = 256
    batch: int = 1
    seconds: float = 12
    """For the rounds; there are at least two."""


@dataclass(frozen=True)
class Group:
    """Tables of one model in memory, made in one process."""

    model: str
    programs: tuple[str, ...]
    """Of the library."""
    cases: tuple[Case, ...]
    limit: float
    """Seconds after which the process is ended."""
    compiled: bool = False


@dataclass(frozen=True)
class Peers:
    """Other caches on the model that ``peers.py`` calls so."""

    model: str
    limit: float


GROUPS: dict[str, Group | Peers] = {
    "pixart": Group(
        "pixart-alpha",
        ("pixart-alpha-256-fast", "pixart-sigma-256-fast", "fora-2", "fora-3"),
        (Case("PixArt, batch 1"), Case("PixArt, batch 16", batch=16)),
        limit=90,
    ),
    "flux": Group(
        "flux.1-dev",
        ("flux-256-fast", "fora-3"),
        (Case("FLUX 256"),),
        limit=60,
    ),
    "flux-1024": Group(
        "flux.1-dev",
        ("flux-256-fast", "fora-3"),
        (Case("FLUX 1024", size=1024, seconds=20),),
        limit=90,
    ),
    "pixart-compiled": Group(
        "pixart-alpha",
        ("pixart-alpha-256-fast", "fora-3"),
        (Case("PixArt compiled, batch 1", seconds=6),),
        limit=120,
        compiled=True,
    ),
    # A process of its own: another batch in the same one would be compiled for batches of any size.
    "pixart-compiled-16": Group(
        "pixart-alpha",
        ("pixart-alpha-256-fast", "fora-3"),
        (Case("PixArt compiled, batch 16", batch=16, seconds=6),),
        limit=120,
        compiled=True,
    ),
    "peers-flux": Peers("flux", limit=100),
    "peers-pixart": Peers("pixart", limit=80),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--schedules", nargs="+", help="some of them; all if not given")
    parser.add_argument("--seconds", type=float, default=240, help="for everything")
    parser.add_argument("--blocks", type=int, help="of smaller models, to try this out")
    parser.add_argument("--heads", type=int, help="likewise")
    parser.add_argument("--rounds", type=int, help="as many as the time allows if not given")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    record(arguments.out, "settings", {name: str(value) for name, value in vars(arguments).items()})
    processes = start_method(arguments.device)
    for name in arguments.groups:
        group = GROUPS[name]
        work = partial(tables if isinstance(group, Group) else peers, group, arguments)
        limit = min(group.limit, end - time.monotonic())
        if limit < 10:
            print(f"{name}: no time left", flush=True)
            continue
        start = time.monotonic()
        process = processes.Process(target=reported, args=(work,))
        process.start()
        process.join(limit)
        if process.is_alive():
            process.kill()
            process.join()
            print(f"{name}: ended after {limit:.0f} s", flush=True)
        print(f"{name}: {time.monotonic() - start:.0f} s\n", flush=True)


def start_method(device: str) -> Any:
    """Everything is imported by now, so a fork is a start that costs nothing; but not every driver survives it."""
    fork = multiprocessing.get_context("fork")
    probe = fork.Process(target=torch.ones, args=(1,), kwargs={"device": device})
    probe.start()
    probe.join()
    return fork if probe.exitcode == 0 else multiprocessing.get_context("spawn")


def record(out: Path, name: str, value: Any) -> None:
    """Add to the file what is known."""
    known = json.loads(out.read_text()) if out.exists() else {}
    write_text(out, json.dumps(known | {name: value}, indent=2) + "\n")


def reported(work: Callable[[], None]) -> None:
    """A group that fails does not stop the others."""
    warnings.simplefilter("ignore")
    diffusers.utils.logging.set_verbosity_error()
    try:
        with torch.no_grad():
            work()
    except Exception:
        traceback.print_exc()


def tables(group: Group, arguments: argparse.Namespace) -> None:
    device = torch.device(arguments.device)
    full = load_spec(group.model)
    spec = scaled(full, arguments.blocks, arguments.heads)
    torch.manual_seed(0)
    start = time.perf_counter()
    transformer = random_transformer(spec, device, getattr(torch, arguments.dtype))
    print(f"{full.title}: random weights in {time.perf_counter() - start:.1f} s", flush=True)
    record(arguments.out, "machine", machine(device))
    programs = {name: schedules.load(name) for name in group.programs if name in (arguments.schedules or [name])}
    fitted = {
        name: compile(retarget(program, load_spec(program.model or group.model), spec, STEPS)[0], spec, STEPS)
        for name, program in programs.items()
    }
    if device.type == "cuda":
        inputs = random_inputs(transformer, spec, 256, 256, 1)
        found = {name: waits(transformer, schedule, inputs) for name, schedule in fitted.items()}
        print(found, flush=True)
        record(arguments.out, f"{group.model}: waiting", found)
    if group.compiled:
        compile_blocks(transformer, spec)
    for case in group.cases:
        inputs = random_inputs(transformer, spec, case.size, case.size, case.batch)
        rounds = arguments.rounds or fitting_rounds(transformer, inputs, case.seconds, len(fitted) + 2)
        started = time.perf_counter()
        table = bench(
            transformer,
            fitted,
            height=case.size,
            width=case.size,
            batch=case.batch,
            rounds=rounds,
            on_round=lambda done, case=case: print(f"{case.name}: {done}", flush=True),  # type: ignore[misc]
        )
        print(f"\n{case.name}, {case.size} px, {rounds} rounds, {time.perf_counter() - started:.0f} s")
        describe(table.set_index("name"))
        record(
            arguments.out,
            case.name,
            {"size": case.size, "batch": case.batch, "rounds": rounds, "schedules": table.to_dict("records")},
        )


def fitting_rounds(transformer: Any, inputs: dict[str, Any], seconds: float, subjects: int) -> int:
    """How many rounds fit into the time: an odd number, so that one of them is the median."""
    for _ in range(2):  # the first warms up
        wait()
        start = time.perf_counter()
        for _ in range(STEPS):
            transformer(**inputs)
        wait()
        loop = time.perf_counter() - start
    fit = int(seconds / (loop * subjects * 1.6))
    return max(1, min(9, fit - 1 + fit % 2))


def waits(transformer: Any, schedule: Schedule, inputs: dict[str, Any]) -> str:
    """Whether anything in a loop that says where its steps end makes the processor wait for the GPU."""
    try:
        with apply(transformer, schedule) as run:
            for step in range(2 * schedule.steps):
                # The first step ends before anybody says that steps will be ended.
                torch.cuda.set_sync_debug_mode("error" if step else "default")
                transformer(**inputs)
                run.next_step()
    except RuntimeError as error:
        traceback.print_exc()
        return str(error)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "no step waits for the GPU"


def peers(group: Peers, arguments: argparse.Namespace) -> None:
    device = torch.device(arguments.device)
    hosts, schedule = bare(group.model, arguments.blocks, arguments.heads, device, getattr(torch, arguments.dtype))
    rows = compare(hosts, schedule, arguments.rounds or 3, trained=False, device=device)
    show(f"{group.model}, {STEPS} steps", rows)
    record(arguments.out, f"peers of {group.model}", rows)


if __name__ == "__main__":
    main()
