"""Model specs and the reader that resolves their names."""

from ecad_dsl.models.spec import ROLES, Component, ModelSpec, Stack, load_spec, spec_names

__all__ = ["ROLES", "Component", "ModelSpec", "Stack", "load_spec", "spec_names"]
