"""Settings of searches by name, such as the paper's; TOML files beside this one."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from ecad_dsl.errors import EcadError


def preset_names() -> list[str]:
    """Presets that ship."""
    return sorted(
        file.name.removesuffix(".toml") for file in resources.files(__name__).iterdir() if file.name.endswith(".toml")
    )


def read_preset(name: str) -> dict[str, Any]:
    """Settings by the names of the options of ``ecad evolve``.

    Raises:
        EcadError: there is no preset of this name.
    """
    if name not in preset_names():
        raise EcadError(f"there is no preset {name!r}; there are: {', '.join(preset_names())}")
    return tomllib.loads((resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8"))
