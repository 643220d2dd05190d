"""Pictures by the thousand: seeds, batches, processes, interruptions, and what a picture says of itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ecad_dsl as ecad
from ecad_dsl.cli.loading import share
from ecad_dsl.errors import EcadError
from ecad_dsl.pipelines.embeddings import embed
from ecad_dsl.pipelines.load import Loading, spec_of
from ecad_dsl.pipelines.pictures import Drawer, contact_sheet, draw_all, read_picture, tasks_for
from tests.tiny_pipelines import PIPELINES, SIDE

Folders = Callable[[str], Path]
SMALL = {"height": SIDE, "width": SIDE, "num_inference_steps": 3}
PROMPTS = [f"a photo of {number} red cats" for number in range(16)]


def drawer(folder: Path, model: Path) -> Drawer:
    return Drawer(folder, Loading(str(model), device="cpu"), options=SMALL)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_picture_is_the_same_in_a_batch_of_1_and_of_16(tiny_folders: Folders, tmp_path: Path, name: str) -> None:
    alone, together = (drawer(tmp_path / kind, tiny_folders(name)) for kind in ("alone", "together"))
    tasks = tasks_for(PROMPTS, first_seed=5)
    ones, sixteen = draw_all(alone, tasks[3:5], batch=1), draw_all(together, tasks, batch=16)[3:5]
    for one, other in zip(ones, sixteen, strict=True):
        assert np.abs(pixels(one) - pixels(other)).max() <= 1  # of 255: sums are taken in another order
    assert np.abs(pixels(ones[0]) - pixels(ones[1])).max() > 10


def test_a_picture_says_how_to_draw_it_again(tiny_folders: Folders, tmp_path: Path) -> None:
    model = tiny_folders("pixart-alpha")
    program = ecad.parse("cache all every 2 steps")
    loading = Loading(str(model), device="cpu")
    schedule = ecad.compile(program, spec_of(loading), 3)
    own = Drawer(tmp_path, loading, schedule, ecad.format(program), {"height": SIDE, "width": SIDE})
    (path,) = draw_all(own, tasks_for(["Ein Bär, \N{SNOWMAN}"], ["seven"], first_seed=9))
    told = read_picture(path)
    assert path.name == "seven.png"
    assert (told["prompt"], told["prompt_id"], told["seed"]) == ("Ein Bär, \N{SNOWMAN}", "seven", 9)
    assert told["versions"].keys() == {"ecad", "torch", "diffusers", "transformers"}
    pipe = ecad.load_pipeline(told["model"], dtype=told["dtype"], device="cpu")
    noise = ecad_generator(told["seed"])
    with ecad.apply(pipe, ecad.parse(told["schedule"]), told["options"]["num_inference_steps"]):
        again = pipe(told["prompt"], generator=noise, **told["options"]).images[0]
    assert np.array_equal(pixels(path), np.asarray(again))
    assert Image.open(path).info["prompt"] == told["prompt"]


def ecad_generator(seed: int):
    import torch

    return torch.Generator().manual_seed(seed)


def test_finished_pictures_are_passed_over_and_others_are_not_written_over(
    tiny_folders: Folders, tmp_path: Path
) -> None:
    own, tasks = drawer(tmp_path, tiny_folders("pixart-alpha")), tasks_for(PROMPTS[:3], ["a", "b", "c"])
    draw_all(own, tasks[:2])
    assert own.open_tasks(tasks) == tasks[2:]
    faster = replace(own, options={**SMALL, "num_inference_steps": 2})
    with pytest.raises(EcadError, match=r"a\.png is there and was drawn with other options"):
        faster.open_tasks(tasks)
    with pytest.raises(EcadError, match=r"a\.png is there and is of another seed"):
        own.open_tasks(tasks_for(PROMPTS[:3], ["a", "b", "c"], first_seed=1))
    assert faster.open_tasks(tasks, overwrite=True) == tasks
    Image.new("RGB", (4, 4)).save(tmp_path / "c.png")
    with pytest.raises(EcadError, match="does not say what it is of"):
        own.open_tasks(tasks)
    with pytest.raises(EcadError, match="does not say how it was drawn"):
        read_picture(tmp_path / "c.png")


def test_killed_it_leaves_whole_pictures_and_goes_on_with_the_rest(tiny_folders: Folders, tmp_path: Path) -> None:
    model, folder = tiny_folders("pixart-alpha"), tmp_path / "pictures"
    command = ["generate", "--prompts"]
    prompts = tmp_path / "set.txt"
    prompts.write_text("\n".join(f"a photo of {n} red cats" for n in range(200)))
    command = [
        "generate",
        str(prompts),
        "-m",
        str(model),
        "-o",
        str(folder),
        "-s",
        "3",
        "--batch",
        "1",
        "--device",
        "cpu",
    ]
    process = subprocess.Popen([sys.executable, "-m", "ecad_dsl.cli.main", *command], stderr=subprocess.DEVNULL)
    while not folder.exists() or len(list(folder.glob("[!.]*.png"))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    own = Drawer(folder, Loading(str(model), device="cpu"), options={"num_inference_steps": 3})
    tasks = tasks_for([f"a photo of {n} red cats" for n in range(200)], [str(n + 1) for n in range(200)])
    left = own.open_tasks(tasks)
    assert 0 < len(left) <= 197
    for path in folder.glob("[!.]*.png"):
        Image.open(path).load()


def test_processes_and_shares_draw_what_one_draws(tiny_folders: Folders, tmp_path: Path) -> None:
    model, tasks = tiny_folders("pixart-alpha"), tasks_for(PROMPTS[:5])
    one, two = drawer(tmp_path / "one", model), drawer(tmp_path / "two", model)
    shares = [share(tasks, f"{number}/3") for number in (1, 2, 3)]
    assert sorted(task.seed for part in shares for task in part) == [0, 1, 2, 3, 4]
    for part in shares:
        draw_all(one, part, batch=2)
    paths = draw_all(two, tasks, batch=2, workers=2)
    assert [path.name for path in paths] == [task.name for task in tasks]
    for path in paths:
        assert np.abs(pixels(path) - pixels(tmp_path / "one" / path.name)).max() <= 1


def test_pictures_of_stored_prompts_are_the_same(tiny_folders: Folders, tmp_path: Path) -> None:
    model = tiny_folders("flux")
    embed(PROMPTS[:2], tmp_path / "embeddings", Loading(str(model), device="cpu"))
    plain = drawer(tmp_path / "plain", model)
    stored = replace(plain, folder=tmp_path / "stored", embeddings=tmp_path / "embeddings")
    tasks = tasks_for(PROMPTS[:2])
    for one, other in zip(draw_all(plain, tasks, batch=1), draw_all(stored, tasks, batch=1), strict=True):
        assert np.array_equal(pixels(one), pixels(other))


def test_a_batch_that_fails_is_told_after_the_others_are_drawn(
    tiny_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, tasks = drawer(tmp_path, tiny_folders("pixart-alpha")), tasks_for(PROMPTS[:3])
    save = Drawer._save

    def failing(self: Drawer, task, *rest):
        if task.seed == 1:
            raise ZeroDivisionError("no luck")
        return save(self, task, *rest)

    monkeypatch.setattr(Drawer, "_save", failing)
    with pytest.raises(EcadError, match=r"1 of 3 batches could not be drawn, the first at 1-a-photo.*no luck"):
        draw_all(own, tasks, batch=1)
    assert own.open_tasks(tasks) == [tasks[1]]


@given(
    ids=st.lists(st.text(max_size=8), min_size=1, max_size=6),
    images=st.integers(1, 3),
    first=st.integers(0, 100),
)
def test_files_have_names_of_their_own_and_seeds_count_up(ids: list[str], images: int, first: int) -> None:
    tasks = tasks_for(["x"] * len(ids), ids, images=images, first_seed=first)
    assert len({task.name.lower() for task in tasks}) == len(tasks)
    assert [task.seed for task in tasks] == list(range(first, first + len(tasks)))
    assert all("/" not in task.name and not task.name.startswith(".") for task in tasks)


def test_a_contact_sheet_shows_every_picture(tmp_path: Path) -> None:
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, colour in zip(paths, colours, strict=True):
        Image.new("RGB", (32, 32), colour).save(path)
    sheet = contact_sheet(paths, columns=2)
    assert set(colours) <= {colour for _, colour in sheet.getcolors(1 << 20)}
    assert sheet.width > 2 * 160
    with pytest.raises(EcadError, match="no pictures"):
        contact_sheet([], columns=2)
