"""Schedules: compiled from programs, kept as bits, seen as masks."""

from ecad_dsl.schedule.compile import CompileError, check, compile  # noqa: A004
from ecad_dsl.schedule.schedule import Schedule
from ecad_dsl.schedule.source import format, load, parse, rewrite_aliases  # noqa: A004

__all__ = ["CompileError", "Schedule", "check", "compile", "format", "load", "parse", "rewrite_aliases"]
