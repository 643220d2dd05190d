"""What a run has found, and the cells of schedules, as tidy tables: ``load(run)`` reads a run, ``save`` writes it.

docs/analysis.md has every column with its type and unit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from math import nan
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecad_dsl.errors import EcadError
from ecad_dsl.evolution.store import HELD_OUT, Evaluation, Generation, RunStore
from ecad_dsl.files import write_beside
from ecad_dsl.language import format_statement, tree
from ecad_dsl.models import ModelSpec, Stack, load_spec, spec_names
from ecad_dsl.schedule import Schedule, compile, cost_table, parse
from ecad_dsl.schedule.compile import Stroke, strokes
from ecad_dsl.schedule.resolve import Resolver
from ecad_dsl.schedule.schedule import block_counts
from ecad_dsl.schedule.svg import heat_map
from ecad_dsl.schedule.target import Target

Format = Literal["csv", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "parquet")

CANDIDATES = {
    "key": "str", "name": "str", "generation": "int64", "program": "str", "edit": "str", "parents": "object",
    "rules": "int64", "steps": "int64", "recomputed": "float64", "macs": "int64", "macs_share": "float64",
    "on_front": "bool", "error": "str", "seconds": "float64",
}  # fmt: skip
EVALUATIONS = {
    "key": "str", "quantity": "category", "prompt_set": "category", "position": "int64", "prompt": "str",
    "seed": "int64", "value": "float64",
}  # fmt: skip
RULES = {
    "key": "str", "position": "int64", "rule": "str", "action": "category", "components": "str", "cells": "int64",
    "blocks": "int64", "first_block": "int64", "last_block": "int64", "period": "Int64", "offset": "Int64",
    "steps": "int64", "first_step": "int64", "last_step": "int64",
}  # fmt: skip
GENERATIONS = {
    "generation": "int64", "evaluated": "int64", "remembered": "int64", "failed": "int64", "hypervolume": "float64",
    "seconds": "float64", "front_size": "int64",
}  # fmt: skip
CELLS = {
    "key": "str", "step": "int64", "stack": "category", "component": "category", "block": "int64",
    "recompute": "bool",
}  # fmt: skip
"""Columns that are always there, with their types. Candidates have one more for each other objective, a float64."""


@dataclass(frozen=True)
class Frames:
    """The tables of one run. ``key`` is a candidate's in all of them."""

    candidates: pd.DataFrame
    """A row for each schedule that was asked for, generation after generation."""
    evaluations: pd.DataFrame
    """A row for each candidate, quantity, prompt and seed that was measured."""
    rules: pd.DataFrame
    """A row for each rule of each candidate, with what it selects on the run's model."""
    generations: pd.DataFrame
    """A row for each generation that is complete."""
    cells: pd.DataFrame
    """A row for each cell of each schedule on the front."""
    spec: ModelSpec
    steps: int
    """Denoising steps of the run's schedules; the most of them where the search was free to choose."""

    def schedule(self, program: str) -> Schedule:
        """What a candidate's program means: on the run's model, with its own number of steps if it says one."""
        return _compiled(parse(program), self.spec, self.steps)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The frames by their names."""
        return {
            field.name: table for field in fields(self) if isinstance(table := getattr(self, field.name), pd.DataFrame)
        }

    @property
    def front(self) -> pd.DataFrame:
        """The search front: what no other candidate beats by what the search went by; the cheapest first.

        The files in the run's ``front/`` are the final front, which may have been told apart by more.
        """
        return self.candidates[self.candidates["on_front"]].sort_values("macs", ignore_index=True)

    def _repr_html_(self) -> str:
        """What Jupyter shows: how far the run has come, its front, and which cells the front recomputes."""
        schedules = of_one_length([self.schedule(program) for program in self.front["program"]])
        objectives = [name for name in self.candidates if name not in CANDIDATES]
        table = self.front[["name", "generation", "rules", "macs_share", *objectives]]
        return (
            f"<p>{len(self.candidates):,} candidates in {len(self.generations):,} generations on"
            f" {escape(self.spec.title)}, {self.steps} steps; {len(self.front)} on the search front. Recomputed by none"
            f" (pale) to all (full) of {len(schedules)} of them:</p>{heat_map(*schedules) if schedules else ''}"
            f"{table.to_html(index=False, float_format='{:.3f}'.format, escape=True, border=0)}"
        )


def load(run: str | Path, model: str | ModelSpec | None = None, steps: int | None = None) -> Frames:
    """The tables of a run folder.

    Args:
        run: the folder. A search may still be at work in it.
        model: the model that schedules were evolved for; None where it is one that is known by name.
        steps: the number of denoising steps; None where the run says it.

    Raises:
        EcadError: the folder holds no run; or the run does not say its model or steps, or says another than the one
            that its schedules were compiled for.
    """
    with RunStore(Path(run), create=False) as store:
        settings, found, generations = store.settings(), store.evaluations(), store.generations()
        measured = _evaluations(store)
    spec, count = _target(run, settings, model, steps)
    front = generations[-1].front if generations else ()
    programs = {evaluation.key: parse(evaluation.program) for evaluation in found}
    schedules = {key: _compiled(program, spec, count) for key, program in programs.items()}
    if wrong := next((key for key, schedule in schedules.items() if schedule.key != key), None):
        raise EcadError(
            f"candidate {wrong[:8]} of {run} is another schedule on {spec.title} with {count} steps; pass the model"
            " (of as many blocks) and the steps that the run was for: --model and --steps, or model= and steps="
        )
    return Frames(
        _held_out(_candidates(found, schedules, front, settings.get("all_macs") or _all_macs(spec, count)), measured),
        measured,
        _table((line for key, program in programs.items() for line in _rules(key, program, spec, count)), RULES),
        _table(map(_generation, generations), GENERATIONS),
        _all_cells({key: schedules[key] for key in front if key in schedules}),
        spec,
        count,
    )


def of_one_length(schedules: Sequence[Schedule]) -> list[Schedule]:
    """Those that have as many steps as most of them have, so that their cells can be laid over each other."""
    counts = Counter(schedule.steps for schedule in schedules)
    return [schedule for schedule in schedules if schedule.steps == max(counts, key=lambda n: (counts[n], n))]


def save(frames: Frames, folder: str | Path, format: Format = "csv") -> list[Path]:
    """Write each table to a file of its own, such as ``candidates.csv``; their paths.

    In CSV the keys of parents are joined by spaces.

    Raises:
        EcadError: the folder cannot be written; or pyarrow, which writes Parquet, is not installed.
    """
    return [save_table(table, Path(folder) / f"{name}.{format}") for name, table in frames.tables.items()]


def save_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as .csv or .parquet, by the path's suffix.

    Raises:
        EcadError: another suffix; the file cannot be written; or pyarrow is not installed.
    """
    if path.suffix == ".csv":
        lists = [name for name, column in table.items() if all(isinstance(value, list) for value in column)]
        flat = table.assign(**{str(name): table[name].map(" ".join) for name in lists})
        write_beside(path, lambda beside: flat.to_csv(beside, index=False))
    elif path.suffix == ".parquet":
        try:
            write_beside(path, lambda beside: table.to_parquet(beside, engine="pyarrow", index=False))
        except ImportError:
            raise EcadError("Parquet is written by pyarrow: pip install 'ecad[parquet]', or write CSV") from None
    else:
        raise EcadError(f"tables are written as .csv or .parquet, not as {path.name!r}")
    return path


def cells(schedule: Schedule) -> pd.DataFrame:
    """A row for each cell of a schedule: step, stack, component, block, recompute."""
    parts = [
        _stack_cells(stack, {"recompute": array})
        for stack, array in zip(schedule.spec.stacks, schedule.to_numpy().values(), strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def difference_cells(a: Schedule, b: Schedule) -> pd.DataFrame:
    """A row for each cell of two schedules of one shape: step, stack, component, block, and who recomputes: a, b."""
    both = zip(a.spec.stacks, a.to_numpy().values(), b.to_numpy().values(), strict=True)
    return pd.concat([_stack_cells(stack, {"a": one, "b": other}) for stack, one, other in both], ignore_index=True)


def _stack_cells(stack: Stack, values: Mapping[str, NDArray[np.bool_]]) -> pd.DataFrame:
    """Values are arrays [steps, blocks, components]."""
    shape = next(iter(values.values())).shape
    step, block, index = np.indices(shape).reshape(3, -1)
    names = [component.name for component in stack.components]
    return pd.DataFrame(
        {
            "step": step,
            "stack": stack.name,
            "component": np.array(names, object)[index],
            "block": block,
            **{name: array.reshape(-1) for name, array in values.items()},
        }
    )


def _target(
    run: str | Path, settings: Mapping[str, Any], model: str | ModelSpec | None, steps: int | None
) -> tuple[ModelSpec, int]:
    said = model or settings.get("problem model")
    if isinstance(said, str) and (model is not None or said in spec_names()):
        said = load_spec(said)
    count = steps or settings.get("problem steps")
    if not isinstance(said, ModelSpec) or not isinstance(count, int):
        raise EcadError(
            f"the run in {run} does not say for which known model or how many steps it is; say both: --model NAME (or"
            " the .toml file of its spec) --steps N, or model= and steps="
        )
    return said, count


def _compiled(program: tree.Program, spec: ModelSpec, steps: int) -> Schedule:
    return compile(program, spec, program.steps or steps)


def _candidates(
    found: Sequence[Evaluation], schedules: Mapping[str, Schedule], front: Sequence[str], all_macs: float
) -> pd.DataFrame:
    lines = []
    for evaluation in found:
        schedule = schedules[evaluation.key]
        share = evaluation.macs / all_macs
        lines.append(
            {
                **vars(evaluation),
                "name": f"macs-{100 * share:04.1f}-{evaluation.key[:4]}",
                "parents": list(evaluation.parents),
                "steps": schedule.steps,
                "recomputed": schedule.recomputed / (schedule.steps * schedule.spec.cells),
                "macs_share": share,
                "on_front": evaluation.key in front,
                **evaluation.objectives,
            }
        )
    others = sorted({name for evaluation in found for name in evaluation.objectives} - {*CANDIDATES})
    return _table(lines, CANDIDATES | dict.fromkeys(others, "float64"))


def _held_out(candidates: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """The candidates with the mean over held-out prompts of each quantity that was measured on such."""
    judged = measured[measured["prompt_set"] == HELD_OUT]
    means = judged.groupby(["key", "quantity"], observed=True)["value"].mean().unstack()
    for quantity in means.columns:
        candidates[f"held_out_{quantity}"] = candidates["key"].map(means[quantity]).astype("float64")
    return candidates


def _all_macs(spec: ModelSpec, steps: int) -> float:
    """MACs of recomputing everything, for a run that does not say; NaN where the spec does not say what it is fed."""
    return cost_table(spec).layers.total([(1 << spec.cells) - 1] * steps) if spec.has_costs else nan


def _evaluations(store: RunStore) -> pd.DataFrame:
    lines = []
    for quantity, prompt_set in store.quantities():
        prompts = store.prompts(prompt_set)
        for key, values in store.measurements(quantity, prompt_set).items():
            for position, value in values.items():
                known = position < len(prompts)
                lines.append(
                    {
                        "key": key,
                        "quantity": quantity,
                        "prompt_set": prompt_set,
                        "position": position,
                        "prompt": prompts.prompts[position] if known else None,
                        "seed": prompts.seeds[position] if known else -1,
                        "value": value,
                    }
                )
    return _table(lines, EVALUATIONS)


def _rules(key: str, program: tree.Program, spec: ModelSpec, steps: int) -> Iterator[dict[str, Any]]:
    steps = program.steps or steps
    painted = strokes(program, Target(spec, steps), Resolver(program, spec, steps))
    for position, stroke in enumerate(painted):
        yield {"key": key, "position": position, **_selection(stroke, spec)}


def _selection(stroke: Stroke, spec: ModelSpec) -> dict[str, Any]:
    """A rule, and what it selects; -1 for the first and last of nothing."""
    rule, every = stroke.rule, stroke.rule.every
    counts = [count for stack in spec.stacks for (count,) in block_counts([stroke.cells], spec, stack)]
    blocks = [block for block, count in enumerate(counts) if count]
    touched = sorted({*stroke.reused, *stroke.recomputed})
    return {
        "rule": format_statement(rule),
        "action": rule.action.value,
        "components": ",".join(_components(stroke.cells, spec)),
        "cells": stroke.cells.bit_count(),
        "blocks": len(blocks),
        "first_block": blocks[0] if blocks else -1,
        "last_block": blocks[-1] if blocks else -1,
        "period": every.period if every else None,
        "offset": every.offset if every else None,
        "steps": len(touched),
        "first_step": touched[0] if touched else -1,
        "last_step": touched[-1] if touched else -1,
    }


def _components(cells: int, spec: ModelSpec) -> list[str]:
    """Names of the components that any of these cells is of, in the model's order."""
    chosen = (name for name in spec.component_names if cells & (spec.component_bits(name) or 0))
    return list(chosen)


def _generation(generation: Generation) -> dict[str, Any]:
    return {**vars(generation), "front_size": len(generation.front)}


def _all_cells(schedules: Mapping[str, Schedule]) -> pd.DataFrame:
    parts = [cells(schedule).assign(key=key) for key, schedule in schedules.items()]
    return _typed(pd.concat(parts, ignore_index=True), CELLS) if parts else _table([], CELLS)


def _table(lines: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    return _typed(pd.DataFrame.from_records(list(lines), columns=list(columns)), columns)


def _typed(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    return table[list(columns)].astype(dict(columns))
