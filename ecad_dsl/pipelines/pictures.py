"""Pictures by the thousand: each from a seed of its own, written with all that it takes to draw it again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from multiprocessing import current_process
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageOps
from PIL.PngImagePlugin import PngInfo

from ecad_dsl.errors import EcadError
from ecad_dsl.files import write_beside
from ecad_dsl.pipelines.load import Loading, call_defaults, check_step_count, load_with_embeddings
from ecad_dsl.pipelines.source import commit_of
from ecad_dsl.runtime import apply
from ecad_dsl.schedule import Schedule
from ecad_dsl.workers import Workers

PACKAGES = ("ecad", "torch", "diffusers", "transformers")
"""Whose versions stand in every picture."""
_CHUNK = "ecad"


@dataclass(frozen=True)
class Task:
    """A picture that is to be drawn."""

    name: str
    """Of its file."""
    prompt: str
    seed: int
    """Of its noise, which comes from the CPU's generator: the same on every device and in every batch."""
    prompt_id: str = ""


def tasks_for(
    prompts: Sequence[str], ids: Sequence[str] | None = None, *, images: int = 1, first_seed: int = 0
) -> list[Task]:
    """So many pictures of each prompt, with seeds that count up.

    Files are called by the ids of the prompts where there are any and they tell the files apart (``7.png``, or
    ``7-0.png`` and ``7-1.png``), else by seed and prompt (``0-a-red-cube.png``).
    """
    stems = _stems(ids) if ids is not None else None
    tasks = []
    for index, prompt in enumerate(prompts):
        for image in range(images):
            seed = first_seed + index * images + image
            if stems is None:
                name = f"{seed}-{_slug(prompt)}"
            else:
                name = stems[index] if images == 1 else f"{stems[index]}-{image}"
            tasks.append(Task(f"{name}.png", prompt, seed, "" if ids is None else ids[index]))
    return tasks


def _stems(ids: Sequence[str]) -> list[str]:
    stems = [re.sub(r"[^\w.-]+", "-", name).strip("-.")[:100] for name in ids]
    if len({stem.lower() for stem in stems}) == len(stems) and all(stems):
        return stems
    return [f"{index:06d}-{stem}".rstrip("-") for index, stem in enumerate(stems)]


def _slug(prompt: str) -> str:
    return "-".join(prompt.lower().split())[:60].strip("-").replace("/", "-").replace("\0", "")


@dataclass(frozen=True)
class Drawer:
    """Draws pictures into a folder. It pickles, so that other processes can draw with pipelines of their own."""

    folder: Path
    loading: Loading
    schedule: Schedule | None = None
    program: str | None = None
    """The schedule as text, for the pictures to tell."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the pipeline's call, where they are not the model's own: steps, guidance, size."""
    embeddings: Path | None = None

    @cached_property
    def pipe(self) -> Any:
        """The pipeline, loaded when it is first needed.

        Raises:
            EcadError: it cannot be loaded.
        """
        return load_with_embeddings(of_this_process(self.loading), self.embeddings)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All that a picture depends on beside its prompt and its seed, as far as it is known before anything is
        loaded."""
        source = self.loading.source
        return {
            "model": self.loading.model,
            "revision": None if source is None else source.revision,
            "dtype": str(self.loading.torch_dtype).removeprefix("torch."),
            "quantize": self.loading.quantize,
            "schedule": self.program,
            "masks": None if self.schedule is None else self.schedule.key,
            "options": dict(self.options),
        }

    def draw(self, tasks: Sequence[Task]) -> list[Path]:
        """Draw pictures in one batch and write their files, each whole or not at all.

        Raises:
            EcadError: the pipeline cannot be loaded, does not fit the schedule, or has not enough memory for the batch.
        """
        options = {**call_defaults(self.pipe), **self.options}
        if self.schedule is not None:
            options["num_inference_steps"] = self.schedule.steps
        if "num_inference_steps" in options:
            check_step_count(self.pipe, options["num_inference_steps"])
        noise = [torch.Generator().manual_seed(task.seed) for task in tasks]
        try:
            with apply(self.pipe, self.schedule) if self.schedule is not None else nullcontext():
                pictures = self.pipe([task.prompt for task in tasks], generator=noise, **options).images
        except torch.OutOfMemoryError as error:
            raise EcadError(
                f"the device has not enough memory for {len(tasks)} pictures at once; take a smaller batch"
            ) from error
        return [self._save(task, picture, options) for task, picture in zip(tasks, pictures, strict=True)]

    def _save(self, task: Task, picture: Any, options: Mapping[str, Any]) -> Path:
        told = {
            "prompt": task.prompt,
            "prompt_id": task.prompt_id,
            "seed": task.seed,
            **self.settings,
            "commit": self._commit,
            "options": dict(options),
            "key": self._key(task),
        }
        path = self.folder / task.name
        write_picture(path, picture, told)
        return path

    @cached_property
    def _commit(self) -> str | None:
        return None if self.loading.source is None else commit_of(self.loading.source)

    def _key(self, task: Task) -> str:
        """Says that a picture is what the task asks for."""
        asked = json.dumps([task.prompt, task.seed, self.settings], sort_keys=True, default=str)
        return hashlib.sha256(asked.encode()).hexdigest()[:32]

    def open_tasks(self, tasks: Iterable[Task], overwrite: bool = False) -> list[Task]:
        """Those of the tasks whose pictures are not there yet.

        Raises:
            EcadError: a file is there that is something else, and may not be written over.
        """
        left = []
        for task in tasks:
            path = self.folder / task.name
            found = _told(path) if path.exists() else None
            if found is not None and found.get("key") == self._key(task):
                continue
            if path.exists() and not overwrite:
                raise EcadError(
                    f"{path} is there and {self._difference(task, found)}; name another folder, or overwrite it"
                )
            left.append(task)
        return left

    def _difference(self, task: Task, found: Mapping[str, Any] | None) -> str:
        if not found:
            return "does not say what it is of"
        asked = {"prompt": task.prompt, "seed": task.seed, **self.settings}
        for name, value in asked.items():
            if name != "options" and found.get(name) != value:
                return f"is of another {name}"
        return "was drawn with other options (steps, guidance, size)"


def of_this_process(loading: Loading) -> Loading:
    """The recipe, on a GPU of its own where worker processes share several."""
    number = re.search(r"-(\d+)$", current_process().name)
    if loading.device is not None or number is None or torch.cuda.device_count() < 2:
        return loading
    return replace(loading, device=f"cuda:{(int(number[1]) - 1) % torch.cuda.device_count()}")


def write_picture(path: Path, picture: Any, told: Mapping[str, Any]) -> None:
    """Write a PNG that says how it was drawn, for :func:`read_picture`: its prompt, seed, model and so on."""
    info = PngInfo()
    info.add_text("prompt", told["prompt"])
    info.add_text(_CHUNK, json.dumps({**told, "versions": _versions()}, ensure_ascii=False, default=str))
    write_beside(path, lambda beside: picture.save(beside, pnginfo=info))


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


def draw_all(
    drawer: Drawer,
    tasks: Sequence[Task],
    *,
    batch: int = 8,
    workers: int = 1,
    on_done: Callable[[Sequence[Path]], None] = lambda _: None,
) -> list[Path]:
    """Draw all pictures, in batches and by so many processes side by side.

    Interrupted or killed, what is finished stays; ask ``drawer.open_tasks`` for the rest.

    Returns:
        The files, in the order of the tasks.

    Raises:
        EcadError: as ``Drawer.draw``; or a batch failed otherwise, after all others have been drawn.
    """
    batches = {start: tuple(tasks[start : start + batch]) for start in range(0, len(tasks), batch)}
    failed: list[str] = []
    with Workers(drawer, max(1, min(workers, len(batches)))) as pool:
        for start, outcome in pool.map("draw", batches):
            if outcome.error is not None:
                failed.append(f"{batches[start][0].name}: {outcome.error}")
            else:
                on_done(outcome.value)
    if failed:
        raise EcadError(
            f"{len(failed)} of {len(batches)} batches could not be drawn, the first at {failed[0]};"
            " the same command tries them again"
        )
    return [drawer.folder / task.name for task in tasks]


# Reading them again.


def read_picture(path: str | PathLike[str]) -> dict[str, Any]:
    """What a picture says of itself: prompt, seed, model, schedule (as text), options, versions.

    Raises:
        EcadError: it cannot be read, or was not drawn by ecad.
    """
    path = Path(path)
    if not path.is_file():
        raise EcadError(f"there is no file {path}")
    told = _told(path)
    if told is None:
        raise EcadError(f"{path} does not say how it was drawn; pictures of `ecad generate` do")
    return told


def _told(path: Path) -> dict[str, Any] | None:
    """What stands in a picture; None where nothing does. The pixels are not read."""
    try:
        with Image.open(path) as file:
            told = json.loads(file.info.get(_CHUNK, "null"))
    except (OSError, SyntaxError, ValueError, TypeError):
        return None
    return told if isinstance(told, dict) else None


def contact_sheet(paths: Sequence[Path], columns: int, side: int = 160) -> Image.Image:
    """Pictures in a grid, each with its prompt below it.

    Raises:
        EcadError: there is none, or one cannot be read.
    """
    if not paths:
        raise EcadError("there are no pictures to put on a sheet")
    margin, text = 8, 28
    rows = -(-len(paths) // columns)
    sheet = Image.new("RGB", (columns * (side + margin) + margin, rows * (side + text + margin) + margin), "white")
    pen = ImageDraw.Draw(sheet)
    for index, path in enumerate(paths):
        row, column = divmod(index, columns)
        left, top = margin + column * (side + margin), margin + row * (side + text + margin)
        try:
            with Image.open(path) as file:
                small = ImageOps.contain(file.convert("RGB"), (side, side))
        except (OSError, SyntaxError, ValueError) as error:
            raise EcadError(f"cannot read the picture {path}: {error}") from error
        sheet.paste(small, (left + (side - small.width) // 2, top + (side - small.height) // 2))
        told = _told(path) or {}
        words = " ".join(str(told.get("prompt", path.stem)).split())
        pen.multiline_text((left, top + side + 2), _folded(words, side // 6), fill="black", spacing=1, font_size=10)
    return sheet


def _folded(words: str, width: int) -> str:
    """Two lines at most, of what the sheet's letters can show."""
    shown = words.encode("latin-1", "replace").decode("latin-1")
    first, rest = shown[:width], shown[width:]
    return f"{first}\n{rest[: width - 1]}{'.' if len(rest) >= width else ''}"
