"""A benchmark's plan carried out: rows of schedules, columns of cost, time and quality.

Everything lies in one folder, and what lies there is not done again: pictures one by one, their numbers one by one, the
timing of each row. So a plan that was interrupted goes on, and one with a further row or metric does only that.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ecad_dsl import language
from ecad_dsl.errors import EcadError
from ecad_dsl.files import write_text
from ecad_dsl.models import ModelSpec
from ecad_dsl.pipelines.bench_table import Watch, measured, table
from ecad_dsl.pipelines.load import Loading, call_defaults, load_with_embeddings
from ecad_dsl.pipelines.pictures import write_picture
from ecad_dsl.quality.bench import machine
from ecad_dsl.quality.bootstrap import Array
from ecad_dsl.quality.folders import Picture
from ecad_dsl.quality.frechet import Statistics
from ecad_dsl.quality.plan import NONE, PictureSet, Plan, Wanted
from ecad_dsl.quality.prompt_files import read_prompts
from ecad_dsl.quality.prompts import PromptSet, held_out
from ecad_dsl.quality.timing import Work, paired_seconds
from ecad_dsl.runtime import apply, inspect
from ecad_dsl.schedule import Schedule, compile
from ecad_dsl.schedule.decompile import decompile
from ecad_dsl.schedule.interchange import holds_masks, open_masks
from ecad_dsl.schedule.retarget import retarget
from ecad_dsl.schedule.source import load

if TYPE_CHECKING:
    import pandas as pd

_STEPS = 20
"""Of a pipeline whose model says nothing else."""


@dataclass(frozen=True)
class Row:
    """A schedule that fits the pipeline, under the name that the table shows."""

    name: str
    schedule: Schedule
    text: str
    """Its program, which each picture tells."""

    @property
    def is_plain(self) -> bool:
        """Whether it is the pipeline as diffusers wrote it, which no schedule is put on."""
        return self.name == NONE


def run_plan(plan: Plan, folder: Path, watch: Watch = lambda *_: None) -> pd.DataFrame:
    """Carry out a plan, or go on with it.

    Args:
        plan: what is to be done.
        folder: where pictures, numbers and timings are kept; made if need be.
        watch: told what is going on.

    Returns:
        A row a schedule, ``none`` first: ``name``, ``steps``, ``tmacs`` of one picture, ``ms_per_image`` and
        ``speedup`` (medians, with ``_low`` and ``_high`` for 95 %) where the plan asks for timing, and for each set and
        metric a column ``"set metric"``, with an interval where it is a mean over pictures.

    Raises:
        EcadError: a schedule does not fit, prompts, weights or memory are missing, or the folder holds pictures that
            were made otherwise.
    """
    folder = Path(folder)
    prompts = {each.name: _prompts(each) for each in plan.sets}
    references = {each.name: Statistics.load(each.reference) for each in plan.sets if each.reference is not None}
    bench = _Bench(plan, folder, prompts)
    bench.time(watch)
    bench.draw(watch)
    bench.free()  # the metrics want the memory
    pictures = {row.name: bench.pictures(row) for row in bench.rows}
    figures = measured(plan, folder, pictures, references, device=str(bench.device), watch=watch)
    seconds = {row.name: bench.seconds(row) for row in bench.rows}
    return table(bench.rows, bench.size, seconds, plan.timing_batch, figures)


class _Bench:
    """The pipeline with the rows that run on it, and what of them is in the folder."""

    def __init__(self, plan: Plan, folder: Path, prompts: Mapping[str, PromptSet]) -> None:
        self._plan, self._folder, self._prompts = plan, folder, prompts
        self._loading = Loading(plan.model, None, plan.dtype, plan.device, plan.offload, plan.quantize)
        self._pipe: Any = load_with_embeddings(self._loading, plan.embeddings)
        self._options = {**call_defaults(self._pipe), **plan.options}
        steps = plan.steps or self._options.get("num_inference_steps") or _STEPS
        spec = inspect(self._pipe)
        self.rows = [fitted(wanted, spec, wanted.steps or steps) for wanted in plan.rows]
        self._batch = plan.batch
        self.device = self._loading.torch_device
        self.size = self._options.get("height"), self._options.get("width")

    def free(self) -> None:
        """Let go of the pipeline."""
        self._pipe = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    # Time.

    def time(self, watch: Watch) -> None:
        """Time the rows that are not timed yet, each in pairs with the pipeline as diffusers wrote it."""
        if self._plan.rounds == 0:
            return
        for index, row in enumerate(self.rows):
            watch(f"timing {row.name}", index, len(self.rows))
            path = self._timing(row)
            if not path.is_file():
                with _enough_memory():
                    base = partial(self._under, self.rows[0])
                    (pairs,) = paired_seconds(base, [partial(self._under, row)], self._plan.rounds)
                write_text(path, json.dumps({"pairs": pairs, **machine(self.device)}) + "\n")

    def seconds(self, row: Row) -> Array | None:
        """[rounds, 2]: of the plain pipeline and of this row; None where it was not timed."""
        path = self._timing(row)
        if self._plan.rounds == 0 or not path.is_file():
            return None
        return np.array(json.loads(path.read_text(encoding="utf-8"))["pairs"])

    def _timing(self, row: Row) -> Path:
        plan = self._plan
        asked = [self._identity(row), self._identity(self.rows[0]), plan.rounds, plan.timing_batch]
        return self._folder / "timings" / f"{_slug(row.name)}-{_hash(asked)[:12]}.json"

    @contextmanager
    def _under(self, row: Row) -> Iterator[Work]:
        """To be timed: a batch of pictures. Reading prompts is part of it, unless their embeddings are stored."""
        prompts = next(iter(self._prompts.values()), PromptSet("one", ("a red circle",), (0,)))
        repeats = -(-self._plan.timing_batch // len(prompts))
        batch = PromptSet(prompts.name, prompts.prompts * repeats, prompts.seeds * repeats)[: self._plan.timing_batch]
        with self._applied(row):
            yield lambda: self._call(batch, row.schedule.steps)

    @contextmanager
    def _applied(self, row: Row) -> Iterator[None]:
        if row.is_plain:
            yield
            return
        with apply(self._pipe, row.schedule):
            yield

    # Pictures.

    def draw(self, watch: Watch) -> None:
        """Draw the pictures that are not in the folder yet.

        Raises:
            EcadError: those in the folder were drawn with other settings.
        """
        for name, prompts in self._prompts.items():
            for row in self.rows:
                self._claim(name, row)
                self._draw(name, row, prompts, watch)

    def pictures(self, row: Row) -> dict[str, list[Picture]]:
        """Of a row, by the name of the set; all are in the folder."""
        return {
            name: [
                Picture(path.relative_to(self._folder).as_posix(), path, prompt)
                for path, prompt in zip(self._paths(name, row, prompts), prompts.prompts, strict=True)
            ]
            for name, prompts in self._prompts.items()
        }

    def _draw(self, name: str, row: Row, prompts: PromptSet, watch: Watch) -> None:
        paths = self._paths(name, row, prompts)
        missing = [index for index, path in enumerate(paths) if not path.is_file()]
        while missing:
            watch(f"drawing {name}, {row.name}", len(paths) - len(missing), len(paths))
            chosen, missing = missing[: self._batch], missing[self._batch :]
            for index, picture in zip(chosen, self._drawn(row, prompts.at(chosen)), strict=True):
                self._save(picture, paths[index], row, prompts.prompts[index], prompts.seeds[index])

    def _drawn(self, row: Row, prompts: PromptSet) -> list[Any]:
        """A batch of pictures; in halves, from now on, where the memory does not hold it."""
        try:
            with self._applied(row):
                return self._call(prompts, row.schedule.steps)
        except torch.OutOfMemoryError as error:
            if len(prompts) == 1:
                raise EcadError(
                    "the device has not enough memory for a single picture; `ecad doctor` advises"
                ) from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._batch = half = len(prompts) // 2
        return self._drawn(row, prompts[:half]) + self._drawn(row, prompts[half:])

    def _call(self, prompts: PromptSet, steps: int) -> list[Any]:
        noise = [torch.Generator().manual_seed(seed) for seed in prompts.seeds]
        options = {**self._options, "num_inference_steps": steps, "generator": noise}
        return list(self._pipe(list(prompts.prompts), **options).images)

    def _save(self, picture: Any, path: Path, row: Row, prompt: str, seed: int) -> None:
        source = self._loading.source
        told = {
            **self._identity(row),
            "prompt": prompt,
            "prompt_id": "",
            "seed": seed,
            "revision": None if source is None else source.revision,
            "schedule": None if row.is_plain else row.text,
            "masks": None if row.is_plain else row.schedule.key,
            "options": {**self._options, "num_inference_steps": row.schedule.steps},
        }
        write_picture(path, picture, told)

    def _paths(self, name: str, row: Row, prompts: PromptSet) -> list[Path]:
        place = self._place(name, row)
        return [
            place / f"{seed:06}-{hashlib.sha256(prompt.encode()).hexdigest()[:8]}.png"
            for prompt, seed in zip(prompts.prompts, prompts.seeds, strict=True)
        ]

    def _place(self, name: str, row: Row) -> Path:
        return self._folder / "pictures" / _slug(name) / _slug(row.name)

    def _claim(self, name: str, row: Row) -> None:
        path, identity = self._place(name, row) / "settings.json", self._identity(row)
        if not path.is_file():
            write_text(path, json.dumps(identity, indent=2) + "\n")
            return
        before = json.loads(path.read_text(encoding="utf-8"))
        if differing := [key for key, value in identity.items() if before.get(key) != value]:
            raise EcadError(
                f"{path.parent} holds pictures that were drawn with another {differing[0]}; name another folder, or"
                " delete that one"
            )

    def _identity(self, row: Row) -> dict[str, Any]:
        """Whatever a row's pictures depend on beside prompt and seed, as JSON gives it back."""
        told = {key: value for key, value in self._options.items() if key != "num_inference_steps"}
        identity = {
            "model": self._plan.model,
            "dtype": str(self._loading.torch_dtype).removeprefix("torch."),
            "quantize": self._plan.quantize,
            "steps": row.schedule.steps,
            "schedule": "none" if row.is_plain else row.schedule.key,
            "options": told,
        }
        back: dict[str, Any] = json.loads(json.dumps(identity, default=str))
        return back


def fitted(wanted: Wanted, spec: ModelSpec, steps: int) -> Row:
    """A row of a plan on a model.

    Raises:
        EcadError: the schedule does not fit, and the plan does not ask for it to be rewritten.
    """
    if holds_masks(wanted.schedule):
        masks = open_masks(wanted.schedule)(None if wanted.retarget else spec)
        if not wanted.retarget and masks.steps == steps:
            return Row(wanted.name, masks, f"# the masks in {Path(wanted.schedule).name}\n")
        if not wanted.retarget:
            raise EcadError(f"{wanted.name} is for {masks.steps} steps, not {steps}; say retarget = true")
        program = decompile(masks)
    else:
        program = load(wanted.schedule)
    if wanted.retarget:
        # A portable program fits every model; its steps, if it says any, are all that may have to change.
        to_steps = None if program.steps is None else steps
        program, _ = retarget(program, program.model or spec, spec, program.steps, to_steps)
    try:
        return Row(wanted.name, compile(program, spec, steps), language.format(program))
    except EcadError as error:
        raise EcadError(f"{wanted.name}: {error}; say retarget = true to have it rewritten") from error


def _prompts(each: PictureSet) -> PromptSet:
    if each.prompts == "reference":
        return held_out(each.count or 48, each.seed)
    found = read_prompts(each.prompts)
    if each.count is not None:
        found = found.subset(each.count, each.seed)
    return found.with_seeds(each.seed, each.each)


@contextmanager
def _enough_memory() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EcadError("the device has not enough memory; give the plan a smaller batch or timing_batch") from error


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _slug(name: str) -> str:
    """A name as a folder may be called."""
    return re.sub(r"[^\w.,+-]+", "_", name)
