"""Compiling for a pipeline at hand."""

from __future__ import annotations

from typing import Any

from ecad_dsl.language import Program
from ecad_dsl.models import ModelSpec
from ecad_dsl.runtime.inspect import inspect
from ecad_dsl.schedule import Schedule
from ecad_dsl.schedule import compile as compile_for_spec


def compile(program: Program, model: str | ModelSpec | Any | None = None, steps: int | None = None) -> Schedule:
    """As :func:`ecad_dsl.schedule.compile`; ``model`` may also be the pipeline or transformer itself.

    Raises:
        CompileError: the program does not fit the model or the steps.
        EcadError: the pipeline's transformer is of no known family.
    """
    spec = model if model is None or isinstance(model, str | ModelSpec) else inspect(model)
    return compile_for_spec(program, spec, steps)
