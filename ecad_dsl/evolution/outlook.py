"""What a search on a published pipeline is going to take: memory before it starts, hours once it has begun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ecad_dsl.errors import EcadError
from ecad_dsl.evolution.full_size import FullSizeProblem
from ecad_dsl.language import parse
from ecad_dsl.pipelines.needs import needs_of
from ecad_dsl.pipelines.room import BITS
from ecad_dsl.quality.memory import free_bytes
from ecad_dsl.schedule import compile, cost

METRIC_BYTES: Mapping[str, int] = {"image-reward": 1_790_000_000, "clip": 1_711_000_000}
"""Of the published weights in float32."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes by what takes them, on the device that computes."""

    fixed: Mapping[str, int]
    """Weights: taken once."""
    kept: int | None
    """Outputs that are kept of one picture, if all of a step's are; None where the model's inputs are not known."""
    free: int | None
    """None where nobody tells."""

    @property
    def left(self) -> int | None:
        """What the weights leave for pictures."""
        return None if self.free is None else self.free - sum(self.fixed.values())


def memory_plan(problem: FullSizeProblem) -> MemoryPlan:
    """What a search's parts take, from configurations alone: no weights are loaded for it."""
    studio = problem.studio
    loading = studio.loading
    needs = None if loading.source is None else needs_of(loading.source)
    fixed: dict[str, int] = {}
    if needs is not None:
        parts = needs if studio.embeddings is None else needs.without_text()
        fixed |= parts.bytes(loading.torch_dtype, BITS[loading.quantize])
    if studio.metric in METRIC_BYTES and studio.weights is None:
        fixed[studio.metric] = METRIC_BYTES[studio.metric]
    return MemoryPlan(fixed, _kept(problem), free_bytes(loading.torch_device))


def _kept(problem: FullSizeProblem) -> int | None:
    everything = compile(parse("cache all every 2 steps"), problem.spec, problem.steps)
    options = problem.studio.options
    try:
        elements = cost(everything, options.get("height"), options.get("width")).cache_elements
    except EcadError:
        return None
    return elements * problem.studio.loading.torch_dtype.itemsize


def hours_left(seconds: float, measured: int, still: int) -> float:
    """Hours for ``still`` more measurements, of which ``measured`` took so many seconds of the clock."""
    return seconds / max(1, measured) * still / 3600
