"""Writing files so that a failure leaves what was there before."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from ecad_dsl.errors import EcadError


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
