"""Schedules: compiled from programs, kept as bits, seen as masks, priced in multiply-accumulates."""

from ecad_dsl.schedule.compile import CompileError, check, compile
from ecad_dsl.schedule.cost import Cost, CostTable, cost, cost_table
from ecad_dsl.schedule.diagnose import Fixed, diagnose, fix
from ecad_dsl.schedule.interchange import load_safetensors, save_safetensors
from ecad_dsl.schedule.lint import lint
from ecad_dsl.schedule.released import export_json, import_json
from ecad_dsl.schedule.schedule import Schedule
from ecad_dsl.schedule.source import format, load, parse, read_bytes, rewrite_aliases

__all__ = [
    "CompileError",
    "Cost",
    "CostTable",
    "Fixed",
    "Schedule",
    "check",
    "compile",
    "cost",
    "cost_table",
    "diagnose",
    "export_json",
    "fix",
    "format",
    "import_json",
    "lint",
    "load",
    "load_safetensors",
    "parse",
    "read_bytes",
    "rewrite_aliases",
    "save_safetensors",
]
