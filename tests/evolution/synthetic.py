"""A problem with a made-up reward: harm grows with the age of what is reused, most of all in the last steps."""

import json
import sys
import time

from ecad_dsl.evolution.search import evolve
from ecad_dsl.models import load_spec
from ecad_dsl.quality.prompts import PromptSet
from ecad_dsl.schedule import Schedule, cost


class Synthetic:
    steps = 20

    def __init__(self, fails: bool = False, seconds: float = 0.0) -> None:
        self.spec = load_spec("reference")
        self.settings = {"problem": "synthetic"}
        self.fails = fails
        self.seconds = seconds
        self.measured = 0

    def fidelity(self, schedule: Schedule) -> float:
        return 40 * self.reward(schedule)

    def reward(self, schedule: Schedule) -> float:
        self.measured += 1
        time.sleep(self.seconds)
        if self.fails and self.measured % 5 == 0:
            raise RuntimeError("out of memory")
        if self.fails and self.measured % 7 == 0:
            return float("nan")
        harm, age = 0.0, [0] * self.spec.cells
        for step, row in enumerate(schedule.rows):
            for cell in range(self.spec.cells):
                age[cell] = 0 if row >> cell & 1 else age[cell] + 1
                harm += age[cell] ** 1.5 * (1 + cell % 3) * (3 if step > 15 else 1)
        return 1 - harm / 10_000

    def macs(self, schedule: Schedule) -> int:
        return cost(schedule).macs


def numbered(name: str, seeds: range) -> PromptSet:
    return PromptSet(name, tuple(f"prompt {seed}" for seed in seeds), tuple(seeds))


SIX = numbered("mine", range(6))


class SyntheticPrompts(Synthetic):
    """The same, where each prompt suffers from other cells, so that its mean hangs on the prompts chosen."""

    def __init__(self, prompts: PromptSet = SIX) -> None:
        super().__init__()
        self.settings = {"problem": "synthetic prompts", "prompts": prompts.sha256}
        self.prompts = prompts
        self.held_out = numbered("others", range(100, 108))

    def on(self, prompts: PromptSet) -> "SyntheticPrompts":
        like = SyntheticPrompts(prompts)
        like.count = self.count
        return like

    def fidelity(self, schedule: Schedule) -> list[float]:
        return [40 * reward for reward in self.reward(schedule)]

    def reward(self, schedule: Schedule) -> list[float]:
        self.count(len(self.prompts))
        ages, age = [], [0] * self.spec.cells
        for row in schedule.rows:
            age = [0 if row >> cell & 1 else age[cell] + 1 for cell in range(self.spec.cells)]
            ages.append(age)
        return [
            1 - sum(a**1.5 for row in ages for cell, a in enumerate(row) if (cell * 7 + seed) % 3 == 0) / 3_000
            for seed in self.prompts.seeds
        ]

    def count(self, pictures: int) -> None:
        """Counts what was drawn by all that :meth:`on` has made of this."""
        self.measured += pictures


if __name__ == "__main__":
    for progress in evolve(Synthetic(seconds=0.01), sys.argv[1], **json.loads(sys.argv[2])):
        print(progress.evaluated, flush=True)
