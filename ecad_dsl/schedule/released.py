"""The JSON format of the schedules that the ECAD paper's authors released: read and written.

A file names the cells of the model's own blocks and modules (``"003": {"single_7": {"single_proj_mlp": true}}``), so
it fits any model that is built so; which one it is for, it does not say.
"""

from __future__ import annotations

import json
import re
import reprlib
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from ecad_dsl.errors import EcadError, EcadWarning
from ecad_dsl.files import read_start, write_text
from ecad_dsl.models import Component, ModelSpec, Stack, load_spec, spec_names
from ecad_dsl.schedule.cost import cost, cost_table
from ecad_dsl.schedule.schedule import Schedule
from ecad_dsl.schedule.target import MAX_CELLS, MAX_STEPS

MAX_BYTES = 16 << 20
"""Of a file: 1,000 steps of FLUX are 10 MiB, and the most hostile 16 MiB take half a gigabyte to parse."""
MAX_PIXELS = 65536

_Table = dict[str, Any]


@dataclass(frozen=True)
class _File:
    """What a file says, checked as far as that goes without a model."""

    path: str
    name: str
    model: Any
    """The model that :func:`export_json` noted; None in the paper's own files."""
    counts: Mapping[str, int]
    """``num_blocks`` and its like."""
    steps: tuple[_Table, ...]
    """For each step, the components of each block."""
    height: int | None
    width: int | None
    total_macs: float | None


def import_json(path: str | PathLike[str], model: str | ModelSpec | None = None) -> Schedule:
    """The schedule in a released JSON file, cell for cell. Step 0 recomputes whatever its bits say.

    Its name, attributes and measured times are not kept. An :class:`~ecad_dsl.errors.EcadWarning` says so where the
    file's ``total_macs`` are not what the schedule costs (at the file's height and width, or the model's own).

    Args:
        path: the file.
        model: a spec or its name. None looks for a shipped one with the file's components and numbers of blocks. Of
            several, as PixArt-alpha and -Sigma are, it takes the one that the file was exported for, or that its
            name or title names, else the first, with a warning.

    Raises:
        EcadError: the file cannot be read, is damaged, or does not fit the model; the message names the place.
    """
    return open_json(path)(model)


def open_json(path: str | PathLike[str]) -> Callable[[str | ModelSpec | None], Schedule]:
    """Read a file now; what is returned gives its schedule on a model, as :func:`import_json` does.

    Raises:
        EcadError: the file cannot be read or is damaged.
    """
    return partial(_fit, _read(path))


def released_size(path: str | PathLike[str]) -> tuple[int, int] | None:
    """Height and width, in pixels, of the pictures that a released JSON file was made for; None where it does not say.

    Raises:
        EcadError: the file cannot be read or is damaged.
    """
    file = _read(path)
    return None if file.height is None or file.width is None else (file.height, file.width)


def export_json(
    schedule: Schedule,
    path: str | PathLike[str],
    *,
    name: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    height: int | None = None,
    width: int | None = None,
) -> None:
    """Write a schedule as a released JSON file, with its multiply-accumulates: in all, and of each step.

    Args:
        schedule: the schedule.
        path: the file.
        name: what the file calls the schedule; the file's own name if None.
        attributes: anything that JSON can hold, kept under ``attributes`` beside the model's name.
        height, width: pixels of the pictures that the multiply-accumulates are of; the model's own if None.

    Raises:
        EcadError: the file cannot be written, the cost cannot be counted, or the attributes are not JSON.
    """
    spec = schedule.spec
    table = cost_table(spec, height, width)
    macs = [table.layers.total([row]) for row in schedule.rows]
    content = {
        "cache_schedule": {
            **_counts(spec),
            "num_inference_steps": schedule.steps,
            "name": Path(path).stem if name is None else name,
            "attributes": {**(attributes or {}), "model": spec.name},
            "schedule": {f"{step:03}": _blocks(row, spec) for step, row in enumerate(schedule.rows)},
        },
        "config": {"height": table.height, "width": table.width},
        "metrics": {
            "by_inference_step": {f"{step:03}": {"macs": count} for step, count in enumerate(macs)},
            "total_macs": sum(macs),
            "total_macs_T": sum(macs) / 1e12,
        },
    }
    try:
        text = json.dumps(content, indent=4, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise EcadError(f"the attributes cannot be written as JSON: {error}") from None
    if len(text) > MAX_BYTES:
        raise EcadError(f"{path} would be larger than {MAX_BYTES >> 20} MiB; write the masks as .safetensors")
    write_text(Path(path), text + "\n")


# How the files name things.


def _prefix(stack: Stack, spec: ModelSpec) -> str:
    """Blocks are plain numbers in the first stack, and bear the stack's name in the others."""
    return "" if stack is spec.stacks[0] else f"{stack.name}_"


def _official(component: Component) -> str:
    return component.aliases[0] if component.aliases else component.module


def _layout(spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    """Names of the blocks with those of their components, in the order of a row's bits."""
    return {
        f"{_prefix(stack, spec)}{block}": tuple(map(_official, stack.components))
        for stack in spec.stacks
        for block in range(stack.blocks)
    }


def _counts(spec: ModelSpec) -> dict[str, int]:
    return {f"num_{_prefix(stack, spec)}blocks": stack.blocks for stack in spec.stacks}


def _blocks(row: int, spec: ModelSpec) -> dict[str, dict[str, bool]]:
    bits = ((row >> bit & 1) == 1 for bit in range(spec.cells))
    return {block: {name: next(bits) for name in names} for block, names in _layout(spec).items()}


# Reading. A place in an error begins with the path.


def _read(path: str | PathLike[str]) -> _File:
    data = _table(_parse(path), f"{path}")
    if "cache_schedule" not in data:
        raise EcadError(f"{path}: there is no cache_schedule; a released schedule has one")
    content = _table(data["cache_schedule"], f"{path}: cache_schedule")
    config, metrics, attributes = (
        _table({} if part.get(key) is None else part[key], f"{path}: {key}")
        for part, key in ((data, "config"), (data, "metrics"), (content, "attributes"))
    )
    total = metrics.get("total_macs")
    if total is not None and (isinstance(total, bool) or not isinstance(total, int | float)):
        raise EcadError(f"{path}: total_macs must be a number, not {reprlib.repr(total)}")
    counts = {key: _count(content, key, MAX_CELLS, path) for key in content if re.fullmatch(r"num_(\w+_)?blocks", key)}
    name = content.get("name")
    return _File(
        path=str(path),
        name=name if isinstance(name, str) else "",
        model=attributes.get("model"),
        counts={key: count for key, count in counts.items() if count is not None},
        steps=_steps(content, path),
        height=_count(config, "height", MAX_PIXELS, path),
        width=_count(config, "width", MAX_PIXELS, path),
        total_macs=total,
    )


def _parse(path: str | PathLike[str]) -> Any:
    data = read_start(path, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise EcadError(f"{path} is larger than {MAX_BYTES >> 20} MiB, the limit of a released schedule")
    try:
        return json.loads(data, object_pairs_hook=_unique, parse_constant=_not_json)
    except RecursionError:
        raise EcadError(f"{path} is no JSON of a schedule: it is nested too deeply") from None
    except ValueError as error:
        raise EcadError(f"{path} is no JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> _Table:
    table: _Table = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"the key {_shown(key)} is there twice in one object")
        table[key] = value
    return table


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _steps(content: _Table, path: str | PathLike[str]) -> tuple[_Table, ...]:
    """The steps in the order of their numbers."""
    if "schedule" not in content:
        raise EcadError(f"{path}: there is no schedule in cache_schedule")
    by_number: dict[int, _Table] = {}
    for key, blocks in _table(content["schedule"], f"{path}: schedule").items():
        if not re.fullmatch("[0-9]{1,9}", key):
            raise EcadError(f"{path}: {_shown(key)} is no step; steps are named by number: 000, 001, ...")
        if int(key) in by_number:
            raise EcadError(f"{path}: step {int(key)} is there twice")
        step = by_number[int(key)] = _table(blocks, f"{path}: step {key}")
        for block, components in step.items():
            _table(components, f"{path}: step {key}, block {_shown(block)}")
    if len(by_number) > MAX_STEPS:
        raise EcadError(f"{path} has {len(by_number):,} steps; the limit is {MAX_STEPS:,}")
    count = _count(content, "num_inference_steps", MAX_STEPS, path) or max(1, len(by_number))
    for number in range(count):
        if number not in by_number:
            raise EcadError(f"{path}: step {number:03} is missing")
    if len(by_number) > count:
        raise EcadError(f"{path}: step {max(by_number):03} is one too many; num_inference_steps is {count}")
    return tuple(by_number[number] for number in range(count))


def _table(value: Any, place: str) -> _Table:
    if not isinstance(value, dict):
        raise EcadError(f"{place} must be a JSON object, not {reprlib.repr(value)}")
    return value


def _count(part: _Table, key: str, limit: int, path: str | PathLike[str]) -> int | None:
    """A whole number from 1 to the limit; None where the file does not say it."""
    value = part.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit):
        raise EcadError(f"{path}: {key} must be a whole number from 1 to {limit:,}, not {reprlib.repr(value)}")
    return value


def _shown(key: str) -> str:
    """A key of the file, short and printable."""
    return reprlib.repr(key)


# Fitting to a model.


def _fit(file: _File, model: str | ModelSpec | None) -> Schedule:
    specs = _find_models(file) if model is None else [load_spec(model) if isinstance(model, str) else model]
    spec = specs[0]
    for key, count in _counts(spec).items():
        if file.counts.get(key, count) != count:
            raise EcadError(f"{file.path}: {key} is {file.counts[key]}, but {spec.title} has {count}")
    layout = _layout(spec)
    rows = [_row(blocks, layout, f"{file.path}: step {step:03}", spec) for step, blocks in enumerate(file.steps)]
    schedule = Schedule(spec, tuple(rows))
    if len(specs) > 1:
        fitting = " and ".join(spec.name for spec in specs)
        _warn(
            f"{file.path} fits {fitting} and does not say which; it is read for {spec.name}: pass the model to choose"
        )
    if file.total_macs is not None:
        _check_total(schedule, file, file.total_macs)
    return schedule


def _row(blocks: _Table, layout: Mapping[str, tuple[str, ...]], place: str, spec: ModelSpec) -> int:
    _check_names(blocks, layout, place, "block", spec)
    row, bit = 0, 1
    for block, names in layout.items():
        _check_names(blocks[block], names, f"{place}, block {block}", "component", spec)
        for name in names:
            value = blocks[block][name]
            if value is not True and value is not False:
                raise EcadError(f"{place}, block {block}: {name} must be true or false, not {reprlib.repr(value)}")
            row |= bit * value
            bit <<= 1
    return row


def _check_names(given: _Table, expected: Collection[str], place: str, noun: str, spec: ModelSpec) -> None:
    for name in expected:
        if name not in given:
            raise EcadError(f"{place}: {noun} {name} of {spec.title} is missing")
    if len(given) > len(expected):
        extra = next(name for name in given if name not in expected)
        raise EcadError(f"{place}: {spec.title} has no {noun} {_shown(extra)}")


def _find_models(file: _File) -> list[ModelSpec]:
    """The shipped models that the file fits by its first step; only the one that it tells, if it tells one."""
    found = {name for components in file.steps[0].values() for name in components}
    specs = [spec for spec in map(load_spec, spec_names()) if _has(spec, found, file)]
    if not specs:
        names = ", ".join(_shown(name) for name in sorted(found)[:8])
        raise EcadError(f"{file.path}: no shipped model has {len(file.steps[0])} blocks of {names}; pass the model")
    noted = [spec for spec in specs if spec.name == file.model]
    title = f"{_plain(Path(file.path).stem)} {_plain(file.name)}"
    # Of pixart-alpha and pixart-alpha-512, the longer name is the one meant.
    named = sorted((spec for spec in specs if _plain(spec.name) in title), key=lambda spec: -len(spec.name))[:1]
    return noted or named or _likely(specs, file)


def _likely(specs: list[ModelSpec], file: _File) -> list[ModelSpec]:
    """The models with the file's steps and size, if there are any; of pixart-alpha and pixart-alpha-512, the first."""
    said = {"steps": len(file.steps), "height": file.height, "width": file.width}
    for key, value in said.items():
        specs = [spec for spec in specs if value in (None, spec.inputs.get(key))] or specs
    names = [spec.name for spec in specs]
    return [spec for spec in specs if not any(spec.name.startswith(f"{name}-") for name in names)]


def _has(spec: ModelSpec, components: set[str], file: _File) -> bool:
    if components != {name for names in _layout(spec).values() for name in names}:
        return False
    counts = _counts(spec)
    if counts.keys() <= file.counts.keys():
        return all(file.counts[key] == count for key, count in counts.items())
    return len(file.steps[0]) == spec.blocks


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _check_total(schedule: Schedule, file: _File, total: float) -> None:
    title = schedule.spec.title
    try:
        counted = cost(schedule, file.height, file.width)
    except EcadError as error:  # the cells are good all the same
        _warn(f"{file.path}: total_macs were not checked: {error}")
        return
    if counted.macs != total:
        size = f"{counted.table.height} x {counted.table.width} pixels"
        _warn(f"{file.path}: total_macs is {total:,}, but the schedule costs {counted.macs:,} on {title} at {size}")


def _warn(message: str) -> None:
    warnings.warn(message, EcadWarning, stacklevel=2)
