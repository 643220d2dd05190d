"""Model specs and the reader that resolves their names."""

from ecad_dsl.models.spec import ROLES, Component, ModelSpec, Stack
from ecad_dsl.models.toml import is_spec_file, load_spec, spec_names, to_toml

__all__ = ["ROLES", "Component", "ModelSpec", "Stack", "is_spec_file", "load_spec", "spec_names", "to_toml"]
