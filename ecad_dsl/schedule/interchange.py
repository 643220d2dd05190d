"""Schedules as files of tensors."""

from __future__ import annotations

from pathlib import Path

from ecad_dsl.files import write_beside
from ecad_dsl.schedule.schedule import Schedule


def save_safetensors(schedule: Schedule, path: Path) -> None:
    """Write the masks: a BOOL tensor [steps, blocks, components] for each stack, under the stack's name.

    The metadata hold ``model``, ``steps`` and, for each stack, ``components.STACK``: their names in order.

    Raises:
        EcadError: the file cannot be written.
    """
    from safetensors.torch import save_file

    metadata = {"format": "ecad", "model": schedule.spec.name, "steps": str(schedule.steps)}
    for stack in schedule.spec.stacks:
        metadata[f"components.{stack.name}"] = ",".join(component.name for component in stack.components)
    write_beside(path, lambda beside: save_file(dict(schedule.masks), beside, metadata))
