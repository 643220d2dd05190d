"""How short do decompiled programs come out? ``python benchmarks/decompile.py [FILE.json ...]`` prints it.

Programs are planted at random, 1 to 8 rules of every construct, for PixArt and FLUX at 20 to 50 steps; of how many
does decompiling give back no more rules than were planted, and how long does it take? Then the given files (released
schedules in the paper's JSON): how many rules and literals, in how many seconds. Programs are compiled again, and must
give the same schedule.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import pandas as pd

from ecad_dsl.language import (
    Action,
    AllBlocks,
    BlockRange,
    BlockTerm,
    Components,
    EvenBlocks,
    EvenSteps,
    Every,
    FirstBlocks,
    FirstSteps,
    FromTo,
    LastBlocks,
    LastSteps,
    OddBlocks,
    OddSteps,
    Program,
    Range,
    Rule,
    StepRange,
    StepSelector,
)
from ecad_dsl.models import ModelSpec, load_spec
from ecad_dsl.schedule import Schedule, compile, import_json
from ecad_dsl.schedule.decompile import decompile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="released schedules")
    parser.add_argument("--programs", type=int, default=500, help="how many to plant")
    parser.add_argument("--effort", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("decompile.json"))
    arguments = parser.parse_args()
    lines = [planted(number, arguments.seed, arguments.effort) for number in range(arguments.programs)]
    released = [described(path, arguments.effort) for path in arguments.files]
    report: dict[str, object] = {"effort": arguments.effort, "seed": arguments.seed}
    if lines:
        table = pd.DataFrame(lines)
        table["as short"] = table["rules"] <= table["planted"]
        report["planted"] = {
            "programs": len(table),
            "as short": float(table["as short"].mean()),
            "median seconds": float(table["seconds"].median()),
            "longest seconds": float(table["seconds"].max()),
        }
        groups = table.groupby(["model", "planted"])
        print(groups.agg({"as short": "mean", "rules": "mean", "seconds": ["median", "max"]}).round(3).to_string())
        print(json.dumps(report["planted"]))
    if released:
        report["released"] = released
        print(pd.DataFrame(released).to_string(index=False))
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")


def planted(number: int, seed: int, effort: float) -> dict[str, object]:
    """One random program, decompiled. Models, lengths and step counts take turns."""
    chance = random.Random(f"{seed}/{number}")
    spec = load_spec(("pixart-alpha", "flux.1-dev")[number % 2])
    count = number // 2 % 8 + 1
    steps = chance.randint(20, 50)
    program = Program(tuple(rule(chance, spec, steps) for _ in range(count)))
    found, seconds = timed(compile(program, spec, steps), effort)
    return {"model": spec.name, "steps": steps, "planted": count, "rules": found.length[0], "seconds": seconds}


def described(path: Path, effort: float) -> dict[str, object]:
    found, seconds = timed(import_json(path), effort)
    rules, literals = found.length
    return {"file": path.stem, "rules": rules, "literals": literals, "seconds": round(seconds, 1)}


def timed(schedule: Schedule, effort: float) -> tuple[Program, float]:
    began = time.perf_counter()
    found = decompile(schedule, effort=effort)
    seconds = time.perf_counter() - began
    if compile(found, schedule.spec, schedule.steps) != schedule:
        raise SystemExit(f"this program gives another schedule: {found}")
    return found, seconds


def rule(chance: random.Random, spec: ModelSpec, steps: int) -> Rule:
    period = chance.randint(2, 8)
    action = chance.choice(list(Action))
    every = Every(period, chance.choice((0, chance.randrange(period)))) if chance.random() < 0.5 else None
    return Rule(action, components(chance, spec), blocks(chance, spec), every, when(chance, steps))


def components(chance: random.Random, spec: ModelSpec) -> Components:
    names = [name for name in spec.component_names if chance.random() < 0.5]
    if not names or chance.random() < 0.2:
        return Components(("all",))
    if chance.random() < 0.2 and len(names) < len(spec.component_names):
        return Components(("all",), tuple(names))
    return Components(tuple(names))


def blocks(chance: random.Random, spec: ModelSpec) -> tuple[BlockTerm, ...] | None:
    """Of any stack: a rule always selects something, as a stack without its components is not chosen alone."""
    count = spec.blocks
    return chance.choice(
        (
            None,
            (AllBlocks(),),
            (FirstBlocks(chance.randint(1, count)),),
            (LastBlocks(chance.randint(1, count)),),
            (EvenBlocks(),),
            (OddBlocks(),),
            (BlockRange((span(chance, count),)),),
            (BlockRange((span(chance, count), span(chance, count))),),
            tuple(BlockRange((span(chance, stack.blocks),), stack.name) for stack in spec.stacks),
        )
    )


def when(chance: random.Random, steps: int) -> StepSelector | None:
    first, last = sorted(chance.sample(range(1, steps), 2))
    return chance.choice(
        (
            None,
            FirstSteps(chance.randint(2, steps)),
            LastSteps(chance.randint(2, steps)),
            EvenSteps(),
            OddSteps(),
            FromTo(first, None),
            FromTo(None, last),
            FromTo(first, last),
            StepRange((span(chance, steps),)),
            StepRange((span(chance, steps), span(chance, steps))),
        )
    )


def span(chance: random.Random, count: int) -> Range:
    first, last = sorted((chance.randrange(count), chance.randrange(count)))
    return Range(first, last, chance.choice((1, 1, 2, 3, 4)))


if __name__ == "__main__":
    main()
