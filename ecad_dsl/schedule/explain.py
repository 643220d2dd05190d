"""What each rule of a program does, what it decides, and what it is worth."""

from __future__ import annotations

from dataclasses import dataclass

from ecad_dsl.language import tree
from ecad_dsl.models import ModelSpec
from ecad_dsl.schedule.compile import compile, strokes
from ecad_dsl.schedule.cost import cost_table
from ecad_dsl.schedule.layers import layers
from ecad_dsl.schedule.resolve import Resolver
from ecad_dsl.schedule.sentences import sentence
from ecad_dsl.schedule.target import Target


@dataclass(frozen=True)
class Explanation:
    """One rule, in words and in figures. Step 0 takes no part in the figures: no rule has a say there."""

    rule: tree.Rule
    sentence: str
    decides: int
    """Cells on which the rule has the last word."""
    would_recompute: int
    """Cells that are reused, and would be recomputed if the rule were left out."""
    would_reuse: int
    """Cells that are recomputed, and would be reused if the rule were left out."""
    saves: int | None
    """Multiply-accumulates of the program without the rule, less those with it; negative where the rule costs some.
    None where the model's spec does not say what it is fed, so that they are not known."""
    share: float | None
    """``saves`` as a share of recomputing everything."""


def explain(program: tree.Program, model: str | ModelSpec | None = None, steps: int | None = None) -> list[Explanation]:
    """Every rule of a program, in order. Each is judged alone: all other rules stay as they are.

    MACs are those of :func:`~ecad_dsl.schedule.cost.cost`: one image of the model's own size.

    Raises:
        CompileError: as for :func:`~ecad_dsl.schedule.compile.compile`.
    """
    schedule = compile(program, model, steps)
    spec, steps = schedule.spec, schedule.steps
    painted = list(strokes(program, Target(spec, steps), Resolver(program, spec, steps)))
    macs = cost_table(spec).layers if spec.has_costs else None
    everything = macs.total([(1 << spec.cells) - 1] * steps) if macs else None
    decides = [0] * len(painted)
    freed: list[list[int]] = [[] for _ in painted]
    bound: list[list[int]] = [[] for _ in painted]
    for _, row, found in layers(painted, spec, steps):
        for layer in found:
            decides[layer.number] += layer.visible.bit_count()
            freed[layer.number].append(layer.changed & ~row)
            bound[layer.number].append(layer.changed & row)
    return [
        Explanation(
            stroke.rule,
            sentence(stroke, spec, steps),
            decides[number],
            sum(cells.bit_count() for cells in freed[number]),
            sum(cells.bit_count() for cells in bound[number]),
            # What is no cell runs in both, and cancels out.
            saves := macs.total(freed[number]) - macs.total(bound[number]) if macs else None,
            saves / everything if saves is not None and everything else None,
        )
        for number, stroke in enumerate(painted)
    ]
