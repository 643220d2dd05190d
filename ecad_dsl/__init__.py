"""Caching schedules of diffusion transformers as a language.

>>> import ecad_dsl as ecad
>>> schedule = ecad.compile(ecad.parse("cache all every 3 steps"), model="pixart-alpha", steps=20)
>>> schedule.recomputed
588

Names are imported when first used, so that checking a schedule needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ecad_dsl.errors import EcadError, EcadWarning

if TYPE_CHECKING:
    from ecad_dsl.evolution.candidate import Candidate
    from ecad_dsl.evolution.problem import PipelineProblem, Problem, Prompted
    from ecad_dsl.evolution.search import Progress, evolve
    from ecad_dsl.language import Diagnostic, Program, ScheduleSyntaxError
    from ecad_dsl.models import ModelSpec, load_spec
    from ecad_dsl.pipelines.load import call_defaults, load_pipeline
    from ecad_dsl.pipelines.pictures import read_picture
    from ecad_dsl.quality.bench import bench
    from ecad_dsl.quality.measure import Sampler
    from ecad_dsl.quality.prompt_files import read_prompts
    from ecad_dsl.quality.prompts import PromptSet
    from ecad_dsl.reference.pipeline import load_reference
    from ecad_dsl.runtime.apply import ScheduleCacheConfig, apply, disable, enable
    from ecad_dsl.runtime.compile import compile
    from ecad_dsl.runtime.inspect import inspect
    from ecad_dsl.schedule.approximate import Removal, approximate
    from ecad_dsl.schedule.compile import CompileError, check
    from ecad_dsl.schedule.cost import cost
    from ecad_dsl.schedule.decompile import decompile
    from ecad_dsl.schedule.diff import Diff, diff
    from ecad_dsl.schedule.explain import Explanation, explain
    from ecad_dsl.schedule.interchange import load_safetensors, save_safetensors
    from ecad_dsl.schedule.lint import lint
    from ecad_dsl.schedule.released import export_json, import_json
    from ecad_dsl.schedule.retarget import Note, retarget
    from ecad_dsl.schedule.schedule import Schedule
    from ecad_dsl.schedule.simplify import simplify
    from ecad_dsl.schedule.source import format, load, parse

_HOMES = {
    "Candidate": "evolution.candidate",
    "CompileError": "schedule",
    "Diagnostic": "language",
    "Diff": "schedule.diff",
    "Explanation": "schedule.explain",
    "ModelSpec": "models",
    "Note": "schedule.retarget",
    "PipelineProblem": "evolution.problem",
    "Problem": "evolution.problem",
    "Program": "language",
    "Progress": "evolution.search",
    "PromptSet": "quality.prompts",
    "Prompted": "evolution.problem",
    "Removal": "schedule.approximate",
    "Sampler": "quality.measure",
    "Schedule": "schedule",
    "ScheduleCacheConfig": "runtime",
    "ScheduleSyntaxError": "language",
    "apply": "runtime",
    "approximate": "schedule.approximate",
    "bench": "quality.bench",
    "call_defaults": "pipelines.load",
    "check": "schedule",
    "compile": "runtime.compile",
    "cost": "schedule",
    "decompile": "schedule.decompile",
    "diff": "schedule.diff",
    "disable": "runtime",
    "enable": "runtime",
    "evolve": "evolution.search",
    "explain": "schedule.explain",
    "export_json": "schedule",
    "format": "schedule",
    "import_json": "schedule",
    "inspect": "runtime",
    "lint": "schedule",
    "load": "schedule",
    "load_pipeline": "pipelines.load",
    "load_reference": "reference.pipeline",
    "load_safetensors": "schedule",
    "load_spec": "models",
    "parse": "schedule",
    "read_picture": "pipelines.pictures",
    "read_prompts": "quality.prompt_files",
    "retarget": "schedule.retarget",
    "save_safetensors": "schedule",
    "simplify": "schedule.simplify",
}

__all__ = [
    "Candidate",
    "CompileError",
    "Diagnostic",
    "Diff",
    "EcadError",
    "EcadWarning",
    "Explanation",
    "ModelSpec",
    "Note",
    "PipelineProblem",
    "Problem",
    "Program",
    "Progress",
    "PromptSet",
    "Prompted",
    "Removal",
    "Sampler",
    "Schedule",
    "ScheduleCacheConfig",
    "ScheduleSyntaxError",
    "apply",
    "approximate",
    "bench",
    "call_defaults",
    "check",
    "compile",
    "cost",
    "decompile",
    "diff",
    "disable",
    "enable",
    "evolve",
    "explain",
    "export_json",
    "format",
    "import_json",
    "inspect",
    "lint",
    "load",
    "load_pipeline",
    "load_reference",
    "load_safetensors",
    "load_spec",
    "parse",
    "read_picture",
    "read_prompts",
    "retarget",
    "save_safetensors",
    "simplify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES[name]}")
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__]
