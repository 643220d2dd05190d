"""Folders of pictures: what is in them, and which prompt each picture was made for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from ecad_dsl.errors import EcadError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
_LIST = "metadata.jsonl"


@dataclass(frozen=True)
class Picture:
    """A file, under the name that results know it by."""

    name: str
    """Its path inside the folder, with slashes."""
    path: Path
    prompt: str | None = None

    @property
    def stamp(self) -> str:
        """Changes when the file does."""
        found = self.path.stat()
        return f"{found.st_size} {found.st_mtime_ns}"

    def open(self, size: int | None = None) -> Image.Image:
        """The picture, read wholly; with a size, the middle of it with its shorter side scaled to so many pixels.

        Raises:
            EcadError: the file is damaged or no picture.
        """
        try:
            with Image.open(self.path) as file:
                file.load()
                picture = file.copy()
        except _UNREADABLE as error:
            raise _unreadable(self.path, error) from error
        return picture if size is None else _middle(picture, size)


def read_folder(folder: Path, prompts: Path | None = None) -> list[Picture]:
    """All pictures in a folder and the folders in it, in the order of their names, with prompts where any are told.

    A picture's prompt is what ``prompts`` says (a .jsonl of ``file_name`` and ``prompt`` or ``text``, a .json by name
    as MJHQ-30K has it, or a .txt with a line for each picture); else what the folder's ``metadata.jsonl`` says, as data
    sets on the hub have it; else what is written in the PNG, as `ecad generate` does; else a .txt file beside it.

    Raises:
        EcadError: there is no such folder or no picture in it, a picture is damaged where its prompt would stand, or
            the list of prompts does not fit.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EcadError(f"there is no folder {folder}")
    # Files that begin with a dot are being written, or another program's.
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not paths:
        raise EcadError(f"there are no pictures in {folder} ({', '.join(sorted(SUFFIXES))})")
    names = [path.relative_to(folder).as_posix() for path in paths]
    listed = folder / _LIST
    told = _told(prompts, names) if prompts is not None else _told(listed, names) if listed.is_file() else {}
    return [
        Picture(name, path, told[name] if name in told else _own_prompt(path))
        for name, path in zip(names, paths, strict=True)
    ]


def _told(file: Path, names: Sequence[str]) -> dict[str, str]:
    """Prompts by the names of pictures, out of a list of them."""
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".txt":
            return _by_line(file, text.splitlines(), names)
        if file.suffix == ".json":
            return _by_stem(json.loads(text), names)
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        return {line["file_name"]: _prompt_in(line) for line in lines}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise EcadError(
            f"cannot read the prompts in {file}: {reason}; give a .jsonl of file_name and prompt, a .json by name, or a"
            " .txt with a line for each picture"
        ) from error


def _by_line(file: Path, lines: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    if len(lines) != len(names):
        raise EcadError(f"{file} has {len(lines)} lines for {len(names)} pictures; give each picture one")
    return dict(zip(names, lines, strict=True))


def _by_stem(entries: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Of a mapping from names without folder and suffix to prompts, or to entries that hold one."""
    stems = {Path(name).stem: name for name in names}
    return {
        stems[Path(stem).stem]: entry if isinstance(entry, str) else _prompt_in(entry)
        for stem, entry in entries.items()
        if Path(stem).stem in stems
    }


def _prompt_in(entry: Mapping[str, Any]) -> str:
    for key in ("prompt", "text", "caption"):
        if key in entry:
            return str(entry[key])
    raise KeyError("prompt")


def _own_prompt(path: Path) -> str | None:
    """What is written in a picture's own metadata, or in a .txt beside it."""
    if path.suffix.lower() == ".png":
        try:
            with Image.open(path) as file:
                if isinstance(prompt := file.info.get("prompt"), str):
                    return prompt
        except _UNREADABLE as error:  # what it says of itself may come after where it is damaged
            raise _unreadable(path, error) from error
    beside = path.with_suffix(".txt")
    return beside.read_text(encoding="utf-8", errors="replace").strip() if beside.is_file() else None


_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def _unreadable(path: Path, error: Exception) -> EcadError:
    if isinstance(error, OSError) and error.errno is not None:
        return EcadError(f"cannot read the picture {path}: {error.strerror}")
    reason = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"  # that one names the path again
    return EcadError(f"{path} is damaged, cut short, or no picture{reason}; delete it or make it anew")


def _middle(picture: Image.Image, size: int) -> Image.Image:
    """The square in the middle, size x size."""
    picture = picture.convert("RGB")
    short = min(picture.size)
    left, top = (picture.width - short) // 2, (picture.height - short) // 2
    box = (left, top, left + short, top + short)
    return picture.resize((size, size), Image.Resampling.BICUBIC, box=box)
