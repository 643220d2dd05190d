"""Schedules as files of masks: which formats there are, and the one of tensors."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecad_dsl.errors import EcadError
from ecad_dsl.files import read_start, write_beside
from ecad_dsl.models import ModelSpec, Stack, load_spec, spec_names
from ecad_dsl.schedule.released import export_json, open_json
from ecad_dsl.schedule.schedule import Schedule
from ecad_dsl.schedule.target import MAX_CELLS, MAX_STEPS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_HEADER = 1 << 20


def load_safetensors(path: str | PathLike[str], model: str | ModelSpec | None = None) -> Schedule:
    """The schedule in a file that :func:`save_safetensors` wrote.

    Args:
        path: the file.
        model: a spec or its name; None for the shipped one that the file names.

    Raises:
        EcadError: the file cannot be read, is damaged, or does not fit the model.
    """
    return _open_safetensors(path)(model)


def save_safetensors(schedule: Schedule, path: str | PathLike[str]) -> None:
    """Write the masks: a BOOL tensor [steps, blocks, components] for each stack, under the stack's name.

    The metadata hold ``model``, ``steps`` and, for each stack, ``components.STACK``: their names in order.

    Raises:
        EcadError: the file cannot be written.
    """
    from safetensors.numpy import save

    metadata = {"format": "ecad", "model": schedule.spec.name, "steps": str(schedule.steps)}
    for stack in schedule.spec.stacks:
        metadata[f"components.{stack.name}"] = _component_names(stack)
    data = save(schedule.to_numpy(), metadata)
    write_beside(Path(path), lambda beside: beside.write_bytes(data))


def holds_masks(path: str | PathLike[str]) -> bool:
    """Whether a file holds the masks of a schedule instead of a program, by its suffix."""
    return Path(path).suffix.lower() in _READERS


def open_masks(path: str | PathLike[str]) -> Callable[[str | ModelSpec | None], Schedule]:
    """Read a file of masks now, whose model may not be known yet; what is returned gives its schedule on a model.

    Without a model (None) it is the one that the file tells.

    Raises:
        EcadError: the file cannot be read or is damaged; from what is returned: it does not fit the model.
    """
    return _READERS[Path(path).suffix.lower()](path)


def save_masks(schedule: Schedule, path: str | PathLike[str]) -> None:
    """Write a schedule as .safetensors or .json, by the suffix.

    Raises:
        EcadError: another suffix, or the file cannot be written.
    """
    writer = _WRITERS.get(Path(path).suffix.lower())
    if writer is None:
        raise EcadError(f"masks are written as {' or '.join(_WRITERS)}, by the suffix of the file; not as {path}")
    writer(schedule, path)


def _open_safetensors(path: str | PathLike[str]) -> Callable[[str | ModelSpec | None], Schedule]:
    return partial(_fit, path, *_read(path))


def _read(path: str | PathLike[str]) -> tuple[dict[str, str], dict[str, NDArray[np.bool_]]]:
    """Metadata and masks. Sizes are checked before anything is loaded."""
    import numpy as np
    from safetensors import SafetensorError, safe_open

    header = int.from_bytes(read_start(path, 8), "little")
    if header > MAX_HEADER or Path(path).stat().st_size > 8 + MAX_HEADER + MAX_CELLS:
        raise EcadError(f"{path} is larger than any schedule: the limit is {MAX_CELLS:,} cells")
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != "ecad":
                raise EcadError(f"{path} holds tensors, but no schedule that ecad wrote")
            for name in file.keys():  # noqa: SIM118
                _check_tensor(file.get_slice(name), f"{path}: the mask of {reprlib.repr(name)}", metadata.get("steps"))
            masks = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise EcadError(f"{path} is damaged, or no safetensors file: {error}") from None
    if any(mask.size and mask.view(np.uint8).max() > 1 for mask in masks.values()):
        raise EcadError(f"{path} is damaged: a mask holds something else than 0 and 1")
    return metadata, masks


def _check_tensor(tensor: Any, place: str, steps: str | None) -> None:
    shape = tensor.get_shape()
    if tensor.get_dtype() != "BOOL" or len(shape) != 3:
        raise EcadError(f"{place} must be booleans [steps, blocks, components]")
    if shape[0] > MAX_STEPS:
        raise EcadError(f"{place} has {shape[0]:,} steps; the limit is {MAX_STEPS:,}")
    if str(shape[0]) != steps:
        raise EcadError(f"{place} has {shape[0]} steps, but the file says {reprlib.repr(steps)}")


def _fit(
    path: str | PathLike[str],
    metadata: Mapping[str, str],
    masks: Mapping[str, NDArray[np.bool_]],
    model: str | ModelSpec | None,
) -> Schedule:
    named = metadata.get("model", "")
    if model is None and named not in spec_names():
        raise EcadError(f"{path} is for the model {reprlib.repr(named)}, which is not shipped; pass the model")
    spec = load_spec(named) if model is None else load_spec(model) if isinstance(model, str) else model
    try:
        schedule = Schedule.from_masks(spec, masks)
    except EcadError as error:
        raise EcadError(f"{path} does not fit {spec.title}: {error}") from None
    for stack in spec.stacks:
        mine, theirs = _component_names(stack), metadata.get(f"components.{stack.name}")
        if mine != theirs:
            names = "not named" if theirs is None else reprlib.repr(theirs)
            raise EcadError(f"{path}: the components of {stack.name} are {names}; those of {spec.title} are {mine}")
    return schedule


def _component_names(stack: Stack) -> str:
    return ",".join(component.name for component in stack.components)


_READERS = {".json": open_json, ".safetensors": _open_safetensors}
_WRITERS: dict[str, Callable[[Schedule, str | PathLike[str]], None]] = {
    ".safetensors": save_safetensors,
    ".json": export_json,
}
