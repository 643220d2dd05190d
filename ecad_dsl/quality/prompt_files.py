"""Prompts in files: the formats that published sets come in, and plain ones of the user's own.

| set | file | what is read |
|---|---|---|
| ImageReward's benchmark | .json | a list of objects with ``prompt`` and ``id`` or ``prompt_id`` |
| COCO captions | .json | ``annotations``: of each picture the caption with the lowest id, pictures by their ids |
| MJHQ-30k | .json | an object of objects with ``prompt``, by the picture's name |
| DrawBench | .csv, .tsv | the column ``Prompts`` |
| PartiPrompts | .tsv | the column ``Prompt`` |
| own | .txt | a prompt a line; empty lines are passed over |
| own | .jsonl | an object with ``prompt``, ``caption`` or ``text`` a line, or a string |
| own | .csv, .tsv | the column ``prompt``, ``caption`` or ``text`` |
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from ecad_dsl.errors import EcadError
from ecad_dsl.files import read_start
from ecad_dsl.quality.prompts import PromptSet

MAX_BYTES = 1 << 30
COLUMNS = ("prompt", "prompts", "caption", "text")
"""Names of the column or the field with the prompt, in any case."""
IDS = ("id", "prompt_id", "image_id")


@dataclass(frozen=True)
class PromptFile:
    """Prompts as they stand in a file, each with what the file calls it."""

    name: str
    """The file's stem."""
    format: str
    prompts: tuple[str, ...]
    ids: tuple[str, ...]
    sha256: str
    """Of the file that was read, so that a result can say which it was."""

    def __len__(self) -> int:
        return len(self.prompts)

    def subset(self, count: int, seed: int = 0) -> PromptFile:
        """So many of the prompts, drawn by the seed, in the order of the file. The same on every machine.

        Raises:
            EcadError: there are fewer.
        """
        if count > len(self):
            raise EcadError(f"{self.name} has {len(self):,} prompts, fewer than {count:,}")
        chosen = sorted(random.Random(seed).sample(range(len(self)), count))
        return replace(self, prompts=tuple(self.prompts[i] for i in chosen), ids=tuple(self.ids[i] for i in chosen))

    def with_seeds(self, first: int = 0, each: int = 1) -> PromptSet:
        """Every prompt so many times, with seeds that count up from ``first``."""
        prompts = tuple(prompt for prompt in self.prompts for _ in range(each))
        return PromptSet(self.name, prompts, tuple(range(first, first + len(prompts))))


def read_prompts(path: str | PathLike[str]) -> PromptFile:
    """The prompts in a file, whose format is told by its suffix and its content.

    Raises:
        EcadError: it cannot be read or is of no known format; the message names the line.
    """
    path = Path(path)
    content = read_start(path, MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise EcadError(f"{path} is larger than {MAX_BYTES >> 30} GiB, so no prompt set")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise EcadError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None
    if path.suffix.lower() not in _READERS:
        raise EcadError(f"prompts are read from {', '.join(_READERS)} files, not from {path.name!r}")
    try:
        read = _READERS[path.suffix.lower()](text)
    except _WrongLineError as error:
        raise EcadError(f"{path}:{error.line}: {error}") from None
    if not read.prompts:
        raise EcadError(f"{path} holds no prompts")
    return PromptFile(path.stem, read.format, read.prompts, read.ids, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class _Read:
    format: str
    prompts: tuple[str, ...]
    ids: tuple[str, ...]


class _WrongLineError(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _text(text: str) -> _Read:
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    return _Read("lines", tuple(line for _, line in lines), tuple(str(number) for number, _ in lines))


def _json_lines(text: str) -> _Read:
    prompts, ids = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _WrongLineError(number, f"no JSON: {error}") from None
            prompts.append(value if isinstance(value, str) else _prompt_of(value, number))
            ids.append(_id_of(value, number) if isinstance(value, dict) else str(number))
    return _Read("JSON lines", tuple(prompts), tuple(ids))


def _table(text: str, delimiter: str) -> _Read:
    # In tables with tabs that were written by hand, a quote is a letter like any other.
    quoted = delimiter == ","
    reader = csv.reader(
        io.StringIO(text), delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE, strict=True
    )
    prompts, ids = [], []
    try:
        header = next(reader, [])
        column = _column(header)
        names = [name.strip().lower() for name in header]
        own = next((names.index(name) for name in IDS if name in names), None)
        for row in reader:
            if not any(row):
                continue
            if len(row) <= column:
                raise _WrongLineError(
                    reader.line_num, f"the row has {len(row)} cells, and the prompt is the {column + 1}."
                )
            cell = row[column] if quoted else _unquoted(row[column])
            prompts.append(_not_empty(cell, reader.line_num))
            ids.append(row[own] if own is not None and own < len(row) else str(len(prompts)))
    except csv.Error as error:
        raise _WrongLineError(reader.line_num, f"no table: {error}") from None
    return _Read(_TABLES.get(tuple(names), "table"), tuple(prompts), tuple(ids))


_TABLES = {("prompts", "category"): "DrawBench", ("prompt", "category", "challenge", "note"): "PartiPrompts"}
"""Published sets by their columns."""


def _unquoted(cell: str) -> str:
    """A cell without the quotes that a program put around it, doubling those inside."""
    inner = cell[1:-1].replace('""', "")
    return cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner else cell


def _column(header: Sequence[str]) -> int:
    names = [name.strip().lower() for name in header]
    for name in COLUMNS:
        if name in names:
            return names.index(name)
    raise _WrongLineError(
        1, f"no column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]} in the first row, which is {', '.join(header)!r}"
    )


def _json(text: str) -> _Read:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise _WrongLineError(error.lineno, f"no JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise _WrongLineError(1, f"no JSON: {error}") from None
    if isinstance(value, list):
        return _list(text, value)
    if isinstance(value, dict) and isinstance(value.get("annotations"), list):
        return _coco(text, value["annotations"])
    if isinstance(value, dict):
        return _by_name(text, value)
    raise _WrongLineError(1, "neither a list of prompts, nor COCO's captions, nor prompts by the names of pictures")


def _list(text: str, items: list[Any]) -> _Read:
    """ImageReward's benchmark, and any list of prompts."""
    prompts, ids = [], []
    for index, item in enumerate(items):
        try:
            prompts.append(item if isinstance(item, str) and item.strip() else _prompt_of(item, index + 1))
        except _WrongLineError as error:
            raise _WrongLineError(_line_of_item(text, 0, index), str(error)) from None
        ids.append(_id_of(item, index + 1) if isinstance(item, dict) else str(index + 1))
    known = bool(items) and isinstance(items[0], dict) and any(key in items[0] for key in IDS)
    return _Read("ImageReward" if known else "list", tuple(prompts), tuple(ids))


def _coco(text: str, annotations: list[Any]) -> _Read:
    """One caption of each picture: the one with the lowest id."""
    captions: dict[int, tuple[int, str]] = {}
    for index, item in enumerate(annotations):
        if not (
            isinstance(item, dict)
            and isinstance(item.get("image_id"), int)
            and isinstance(item.get("id"), int)
            and isinstance(item.get("caption"), str)
            and item["caption"].strip()
        ):
            start = text.index('"annotations"')
            message = "an annotation needs image_id and id (whole numbers) and a caption"
            raise _WrongLineError(_line_of_item(text, start, index), message)
        image, candidate = item["image_id"], (item["id"], item["caption"].strip())
        captions[image] = min(captions.get(image, candidate), candidate)
    images = sorted(captions)
    return _Read("COCO captions", tuple(captions[image][1] for image in images), tuple(map(str, images)))


def _by_name(text: str, entries: Mapping[str, Any]) -> _Read:
    """MJHQ-30k: what each picture shows, by its name."""
    prompts = []
    for name, entry in entries.items():
        try:
            prompts.append(_prompt_of(entry, 0))
        except _WrongLineError as error:
            line = text[: max(0, text.find(json.dumps(name)))].count("\n") + 1
            raise _WrongLineError(line, f"{name}: {error}") from None
    return _Read("MJHQ-30k", tuple(prompts), tuple(entries))


def _line_of_item(text: str, start: int, index: int) -> int:
    """The line that an item of the first list after ``start`` begins in."""
    decoder, position = json.JSONDecoder(), text.index("[", start) + 1
    for _ in range(index):
        _, position = decoder.raw_decode(text, _skip(text, position))
        position = _skip(text, position)
    return text[: _skip(text, position)].count("\n") + 1


def _skip(text: str, position: int) -> int:
    while text[position] in " \t\r\n,":
        position += 1
    return position


def _prompt_of(value: Any, line: int) -> str:
    fields = {str(key).lower(): inner for key, inner in value.items()} if isinstance(value, dict) else {}
    prompt = next((fields[name] for name in COLUMNS if name in fields), None)
    if not isinstance(prompt, str):
        raise _WrongLineError(line, f"no text {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}")
    return _not_empty(prompt, line)


def _not_empty(prompt: str, line: int) -> str:
    if not prompt.strip():
        raise _WrongLineError(line, "the prompt is empty")
    return prompt.strip()


def _id_of(value: Mapping[str, Any], number: int) -> str:
    return str(next((value[name] for name in IDS if name in value), number))


_READERS: Mapping[str, Callable[[str], _Read]] = {
    ".txt": _text,
    ".json": _json,
    ".jsonl": _json_lines,
    ".csv": lambda text: _table(text, ","),
    ".tsv": lambda text: _table(text, "\t"),
}


def to_json_lines(prompts: PromptFile) -> Iterator[str]:
    """The prompts with their ids, as ``read_prompts`` reads them from a .jsonl file."""
    for name, prompt in zip(prompts.ids, prompts.prompts, strict=True):
        yield json.dumps({"id": name, "prompt": prompt}, ensure_ascii=False)
