"""What a search must keep to: schedules outside may lend their rules, but are on no front."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ecad_dsl.errors import EcadError


@dataclass(frozen=True)
class Limits:
    """The least and most MACs, as shares of recomputing everything, and the least mean reward."""

    min_macs: float = 0.0
    max_macs: float = 1.0
    min_reward: float | None = None
    """Holds wherever rewards are known."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_macs < self.max_macs <= 1:
            raise EcadError(
                f"min_macs and max_macs are shares with 0 <= min < max <= 1, not {self.min_macs} and {self.max_macs}"
            )
        if self.min_reward is not None and not math.isfinite(self.min_reward):
            raise EcadError(f"min_reward is a finite number, not {self.min_reward}; leave it out for no limit")

    @staticmethod
    def of(settings: Mapping[str, Any]) -> Limits:
        """Those of a run's settings; of an older run as far as it had any."""
        return Limits(settings.get("min_macs", 0.0), settings.get("max_macs", 1.0), settings.get("min_reward"))

    def violation(self, share: float, values: Mapping[str, float]) -> float:
        """By how much a schedule of these MACs and values misses them, all added up; 0 if it keeps to them."""
        return sum(miss for miss, _ in self._misses(share, values))

    def missed(self, share: float, values: Mapping[str, float]) -> str:
        """By how much, in words."""
        return ", ".join(words for miss, words in self._misses(share, values) if miss > 0)

    def _misses(self, share: float, values: Mapping[str, float]) -> Iterator[tuple[float, str]]:
        yield max(0.0, share - self.max_macs), f"{share:.1%} of the MACs, at most {self.max_macs:.1%} are asked for"
        yield max(0.0, self.min_macs - share), f"{share:.1%} of the MACs, at least {self.min_macs:.1%} are asked for"
        reward = values.get("reward")
        if self.min_reward is not None and reward is not None:
            words = f"a reward of {reward:.3f}, at least {self.min_reward:g} is asked for"
            yield max(0.0, self.min_reward - reward), words
