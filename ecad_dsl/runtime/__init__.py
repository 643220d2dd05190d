"""Running diffusers pipelines and transformers under a schedule."""

from ecad_dsl.runtime.apply import Run, ScheduleCacheConfig, apply, disable, enable
from ecad_dsl.runtime.inspect import inspect

__all__ = ["Run", "ScheduleCacheConfig", "apply", "disable", "enable", "inspect"]
