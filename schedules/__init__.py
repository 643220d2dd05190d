"""The library of schedules that ships with the package, a folder for each kind: ``baselines`` and so on."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from ecad_dsl.errors import EcadError
from ecad_dsl.language import Program, parse
from ecad_dsl.language.diagnostics import correction

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["closest", "folder", "folders", "load", "names", "text"]

_SUFFIX = ".ecad"


def names(folder: str | None = None) -> tuple[str, ...]:
    """Names of the schedules, such as ``fora-2``, sorted; of one folder or of all."""
    return tuple(name for name, file in _files().items() if folder in (None, file[0]))


def folders() -> tuple[str, ...]:
    """The folders that schedules lie in."""
    return tuple(sorted({folder for folder, _ in _files().values()}))


def folder(name: str) -> str:
    """The folder of a schedule.

    Raises:
        EcadError: there is no schedule of this name.
    """
    return _find(name)[0]


def text(name: str) -> str:
    """The text of a schedule, with its comments.

    Raises:
        EcadError: there is no schedule of this name.
    """
    return _find(name)[1].read_text(encoding="utf-8")


def closest(name: str) -> str | None:
    """Help for a name that is not there: the one that was probably meant, if any is close."""
    return correction(name, _files(), None)[0]


def _find(name: str) -> tuple[str, Traversable]:
    if name not in _files():
        help_ = closest(name) or f"there are {', '.join(_files())}"
        raise EcadError(f"the library has no schedule {name!r}; {help_}")
    return _files()[name]


def load(name: str) -> Program:
    """The schedule of this name.

    Raises:
        EcadError: there is no schedule of this name.
    """
    return parse(text(name), f"{name}{_SUFFIX}")


@cache
def _files() -> dict[str, tuple[str, Traversable]]:
    """Every schedule's folder and file, by name."""
    folders = [folder for folder in resources.files(__name__).iterdir() if folder.is_dir()]
    files = [(folder.name, file) for folder in folders for file in folder.iterdir()]
    named = [(file.name.removesuffix(_SUFFIX), (folder, file)) for folder, file in files]
    return dict(sorted((name, found) for name, found in named if found[1].name.endswith(_SUFFIX)))
