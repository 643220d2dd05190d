"""Hypervolume: how much of the space of objectives a front leaves behind it, as one number to follow a search by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pymoo.indicators.hv import HV

Point = tuple[float, ...]
"""Objectives, each the less the better."""


@dataclass(frozen=True)
class Frame:
    """The box between the best and the worst values of some points: hypervolumes are measured in it, and in its size.

    A front may reach out of the box where it is better; what is worse than the worst corner counts nothing.
    """

    best: Point
    worst: Point

    @classmethod
    def of(cls, points: Sequence[Point]) -> Frame:
        """The box around these points; around none, one in which every front has 0."""
        if not points:
            return cls((), ())
        return cls(tuple(map(min, zip(*points, strict=True))), tuple(map(max, zip(*points, strict=True))))

    def hypervolume(self, front: Sequence[Point]) -> float:
        """The share of the box that the front dominates; more than 1 where it reaches far enough out of it."""
        sides = np.subtract(self.worst, self.best)
        if not front or not self.best or not sides.all():
            return 0.0
        return float(HV(ref_point=np.asarray(self.worst))(np.asarray(front, dtype=float)) / sides.prod())
