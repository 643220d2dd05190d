"""Running diffusers pipelines and transformers under a schedule."""

from ecad_dsl.runtime.apply import Run, apply
from ecad_dsl.runtime.inspect import inspect

__all__ = ["Run", "apply", "inspect"]
