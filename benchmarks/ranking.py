"""How many prompts tell schedules apart? ``python benchmarks/ranking.py`` compares reward and fidelity as guides.

Twenty-five schedules "everything every N steps from step A with offset K" cost 25 to 35 % of the MACs. Their mean
rewards on many calibration prompts are taken for the truth. How well do the mean reward, and the mean PSNR to the
uncached pictures, on few *other* calibration prompts rank them? Spearman's correlation, mean over disjoint sets of
prompts; also among the schedules that cost the same 35 %, where only quality can decide.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

from ecad_dsl.models import load_spec
from ecad_dsl.quality.bootstrap import Array
from ecad_dsl.quality.measure import reference_sampler
from ecad_dsl.quality.prompts import calibration
from ecad_dsl.quality.reward import psnr
from ecad_dsl.reference.pipeline import load_reference
from ecad_dsl.schedule import Schedule, compile, cost, parse

STEPS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", type=int, default=192, help="prompts that the truth is taken from")
    parser.add_argument("--prompts", type=int, default=48, help="other prompts, cut into small sets")
    parser.add_argument("--out", type=Path, default=Path("ranking.json"))
    arguments = parser.parse_args()

    pipe = load_reference()
    many = reference_sampler(pipe, calibration(arguments.truth, seed=100))
    few = reference_sampler(pipe, calibration(arguments.prompts, seed=1))
    originals = few.pictures(compile(parse(""), load_spec("reference"), STEPS))
    truth, rewards, fidelities = [], [], []
    schedules = periodic()
    for schedule in track(schedules, "measuring"):
        truth.append(many.rewards(schedule).mean())
        pictures = few.pictures(schedule)
        rewards.append(few.reward(pictures, few.prompts.prompts).double().numpy())
        fidelities.append(psnr(pictures, originals).double().numpy())
    macs = np.array([cost(schedule).macs for schedule in schedules])
    lines = [
        {
            "guide": name,
            "prompts": count,
            "all": agreement(np.array(values), np.array(truth), count),
            "same cost": agreement(np.array(values)[macs == macs.max()], np.array(truth)[macs == macs.max()], count),
        }
        for name, values in (("reward", rewards), ("fidelity", fidelities))
        for count in (8, 12, 16, 24, 48)
        if count <= arguments.prompts
    ]
    print(pd.DataFrame(lines).to_string(index=False, float_format="{:.2f}".format))
    arguments.out.write_text(json.dumps(lines, indent=2) + "\n")


def periodic() -> list[Schedule]:
    """Everything every N steps from step A with offset K, at 24 to 36 % of the MACs; equal ones once."""
    texts = [
        f"cache all every {n} steps offset {k}" + (f" from step {a}" if a else "")
        for n in (3, 4, 5)
        for a in range(6)
        for k in range(n)
    ]
    schedules = {s.key: s for s in (compile(parse(text + "\n"), load_spec("reference"), STEPS) for text in texts)}
    return [schedule for schedule in schedules.values() if 0.24 <= 1 - cost(schedule).saved <= 0.36]


def agreement(values: Array, truth: Array, count: int) -> float:
    """Spearman's correlation of the truth with means of ``values`` [schedules, prompts] over sets of prompts."""
    starts = range(0, values.shape[1] - count + 1, count)
    means = [pd.Series(values[:, start : start + count].mean(1)) for start in starts]
    return float(np.mean([mean.corr(pd.Series(truth), method="spearman") for mean in means]))


if __name__ == "__main__":
    main()
