"""Does the runtime turn fewer multiply-accumulates into less time? ``python benchmarks/runtime.py`` prints the answer.

The paper's three schedules, scaled by ``retarget``, on a PixArt and a FLUX of middle size with random weights at
256 x 256 pixels: the measured speed-up as a share of what ``macs_full`` promises, and what a schedule that recomputes
everything costs in time. Run it on a machine that has nothing else to do; with ``--blocks 3 --heads 1 --rounds 2`` it
takes a minute and says little.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ecad_dsl import schedules
from ecad_dsl.models import Stack, load_spec
from ecad_dsl.quality.bench import ALL_RECOMPUTE, bench, compile_blocks, machine, random_transformer, scaled
from ecad_dsl.schedule import Schedule, compile
from ecad_dsl.schedule.retarget import retarget

PROGRAMS = {
    "pixart-alpha": ("pixart-alpha-256-fast", "pixart-sigma-256-fast"),
    "flux.1-dev": ("flux-256-fast",),
}
"""Of the library, by the model that they run on."""
HEADS = {"pixart-alpha": 8, "flux.1-dev": 4}
"""Attention heads of 72 and of 128 channels: more than 500 in all."""
KEPT, OVERHEAD = 0.95, 0.01
"""Goals: at least this share of the promise, at most this much time for nothing."""
SIZE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--heads", type=int, help=f"{HEADS} if not given")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-skipping", action="store_true", help="run the norms and feeders of reused components too")
    parser.add_argument("--compile", action="store_true", help="compile the blocks with torch.compile")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--out", type=Path, default=Path("runtime.json"))
    arguments = parser.parse_args()
    report: dict[str, Any] = {name: value for name, value in vars(arguments).items() if name != "out"}
    report |= machine(torch.device(arguments.device))
    report["results"] = {model: measure(model, arguments) for model in arguments.models}
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")


def measure(model: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The table of one model, printed as it is known."""
    spec = scaled(load_spec(model), arguments.blocks, arguments.heads or HEADS[model])
    if arguments.no_skipping:
        spec = replace(spec, stacks=tuple(map(_alone, spec.stacks)))
    torch.manual_seed(0)
    transformer = random_transformer(spec, torch.device(arguments.device), getattr(torch, arguments.dtype))
    if arguments.compile:
        compile_blocks(transformer, spec)
    released: dict[str, Schedule] = {}
    for name in PROGRAMS[model]:
        program = schedules.load(name)
        program, _ = retarget(program, load_spec(program.model or model), spec)
        released[name] = compile(program, spec)
    table = bench(transformer, released, height=SIZE, width=SIZE, rounds=arguments.rounds, on_round=print)
    width = spec.config["num_attention_heads"] * spec.config["attention_head_dim"]
    print(f"\n{model}, {spec.blocks} blocks, width {width}")
    describe(table.set_index("name"))
    return {"blocks": spec.blocks, "width": width, "schedules": table.to_dict("records")}


def _alone(stack: Stack) -> Stack:
    """The stack, with nothing said of what else need not run where a component is reused."""
    return replace(stack, components=tuple(replace(c, norms=(), feeds=None) for c in stack.components))


def describe(table: pd.DataFrame) -> None:
    for name, line in table.iterrows():
        print(
            f"{name:24} {line['ms_per_image']:9.1f} ms  {line['speedup']:5.2f}x"
            f" ({line['speedup_low']:.2f} to {line['speedup_high']:.2f}), promised {line['macs_full_speedup']:5.2f}x,"
            f" kept {line['of_macs_full']:6.1%}, {line['peak_bytes'] / 2**20:6.0f} MiB"
        )
    kept = table["of_macs_full"].drop(["none", ALL_RECOMPUTE]).min()
    overhead = 1 / table.loc[ALL_RECOMPUTE, "speedup"] - 1
    print(f"least of the promise kept: {kept:.1%}; goal {KEPT:.0%}: {'met' if kept >= KEPT else 'missed'}")
    print(f"overhead: {overhead:+.2%}; goal {OVERHEAD:.0%}: {'met' if overhead <= OVERHEAD else 'missed'}\n")


if __name__ == "__main__":
    main()
