"""Reading files of bounded size, and writing them so that a failure leaves what was there before."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from os import PathLike
from pathlib import Path

from ecad_dsl.errors import EcadError


def read_start(path: str | PathLike[str], size: int) -> bytes:
    """The first ``size`` bytes of a file: all of a smaller one.

    Raises:
        EcadError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return file.read(size)
    except FileNotFoundError:
        raise EcadError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise EcadError(f"{path} is a folder; name a file in it, such as {Path(path) / 'fast.ecad'}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EcadError(f"cannot read {path}: {reason}") from None


def write_beside(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file beside ``path``, then rename it there. Missing parent folders are made.

    Raises:
        EcadError: the folder cannot be made or written, or ``path`` is a folder. Nothing is left behind.
    """
    path = Path(path)
    try:
        path = path.resolve()  # a link stays a link, and what it points to is written
        if path.exists() and not path.is_file():
            raise EcadError(f"cannot write {path}: it is not a file; name another")
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays, since some writers choose the format by it.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        beside = Path(name)
        try:
            write(beside)
            beside.chmod(path.stat().st_mode & 0o7777 if path.exists() else 0o666 & ~_umask())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise EcadError(f"cannot write {path}: {error.strerror or error}; choose a folder you may write to") from error


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` with UTF-8 text, wholly or not at all."""
    write_beside(path, lambda beside: beside.write_bytes(text.encode()))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
