"""Schedules: compiled from programs, kept as bits, seen as masks, priced in multiply-accumulates."""

from ecad_dsl.schedule.compile import CompileError, check, compile
from ecad_dsl.schedule.cost import Cost, CostTable, cost, cost_table
from ecad_dsl.schedule.diagnose import Fixed, diagnose, fix
from ecad_dsl.schedule.lint import lint
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
    "fix",
    "format",
    "lint",
    "load",
    "parse",
    "read_bytes",
    "rewrite_aliases",
]
