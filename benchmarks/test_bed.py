"""Is the reference model a fair test bed? ``python benchmarks/test_bed.py`` prints the answer and writes it as JSON.

On held-out captions: how many stated attributes are drawn; whether the reward orders step counts and schedules as it
should (in which share of bootstrap resamples of the prompts each neighbour of a chain is above the next); how far below
damaged and mismatched pictures score.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from ecad_dsl.analysis.compare import share_above

from ecad_dsl.models import load_spec
from ecad_dsl.quality.bootstrap import Array, interval
from ecad_dsl.quality.measure import reference_sampler
from ecad_dsl.quality.prompts import held_out
from ecad_dsl.quality.reward import attribute_accuracy, reference_reward
from ecad_dsl.reference.pipeline import load_reference
from ecad_dsl.schedule import compile, parse

CHAINS = {
    "steps": {f"{n} steps": ("", n) for n in (20, 10, 7, 5)},
    "schedules": {
        "none": ("", 20),
        "FORA 4": ("cache all every 4 steps", 20),
        "FORA 8": ("cache all every 8 steps", 20),
        "reuse without end": ("reuse all", 20),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("test_bed.json"))
    arguments = parser.parse_args()
    prompts = held_out(arguments.prompts, arguments.seed)
    sampler = reference_sampler(load_reference(), prompts)
    spec = load_spec("reference")
    report: dict[str, object] = {"prompts": arguments.prompts, "seed": arguments.seed}
    for chain, members in CHAINS.items():
        rewards = {name: sampler.rewards(compile(parse(text), spec, n)) for name, (text, n) in members.items()}
        report[chain] = described(rewards)
    pictures = sampler.pictures(compile(parse(""), spec, 20))
    accuracy = attribute_accuracy(pictures, prompts.prompts)
    report["attributes drawn right"] = accuracy
    print(f"attributes drawn right, 20 steps, no cache: {accuracy:.1%}")
    report["damage"] = damage(pictures, prompts.prompts)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")


def described(rewards: dict[str, Array]) -> dict[str, object]:
    """Mean and interval of each member of a chain, and how surely it is above the next."""
    names = list(rewards)
    lines: dict[str, object] = {}
    for name, following in zip(names, [*names[1:], None], strict=True):
        low, high = interval(rewards[name])
        line = {"reward": float(rewards[name].mean()), "low": low, "high": high}
        text = f"{name:20} {line['reward']:+.3f} ({low:+.3f} to {high:+.3f})"
        if following is not None:
            line["above next"] = share_above(rewards[name], rewards[following])
            text += f"   above {following} in {line['above next']:.1%} of resamples"
        lines[name] = line
        print(text)
    return lines


def damage(pictures: torch.Tensor, prompts: tuple[str, ...]) -> dict[str, float]:
    """Mean reward of pictures that should score far below the pipeline's own."""
    generator = torch.Generator().manual_seed(0)
    blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    cases = {
        "its own pictures": (pictures, prompts),
        "noise": (torch.rand(pictures.shape, generator=generator), prompts),
        "a blank picture": (torch.full_like(pictures, 0.5), prompts),
        "blurred": (blurred, prompts),
        "another caption's picture": (pictures, prompts[1:] + prompts[:1]),
    }
    means = {name: float(reference_reward(*case).mean()) for name, case in cases.items()}
    for name, mean in means.items():
        print(f"{name:28} {mean:+.3f}")
    return means


if __name__ == "__main__":
    main()
