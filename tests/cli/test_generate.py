"""``ecad generate`` and ``ecad picture``, on tiny pipelines."""

import json
from pathlib import Path

import pytest
from PIL import Image

from ecad_dsl.schedule import parse


@pytest.fixture
def tiny(tiny_folders) -> tuple[object, ...]:
    return ("--model", tiny_folders("pixart-alpha"), "--device", "cpu", "--height", 16, "--width", 16)


def test_a_prompt_set_is_drawn_once_and_called_by_its_ids(ecad, write, tmp_path: Path, tiny) -> None:
    prompts = write(json.dumps({"x1": {"prompt": "a red cat"}, "y2": {"prompt": "blue snow"}}), "meta_data.json")
    folder, sheet = tmp_path / "pictures", tmp_path / "sheet.png"
    command = ("generate", prompts, "-c", write("cache all every 2 steps\n"), "-s", 3, "-n", 2, *tiny, "-o", folder)
    code, out, _ = ecad(*command, "--sheet", sheet)
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["x1-0.png", "x1-1.png", "y2-0.png", "y2-1.png"]
    assert Image.open(sheet).height > 2 * 160
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    code, out, _ = ecad(*command)
    assert "4 were there already" in out
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    code, _, err = ecad(*command, "--guidance", 2)
    assert code == 2
    assert "x1-0.png is there and was drawn with other options" in err
    assert ecad(*command, "--guidance", 2, "--overwrite")[0] == 0


def test_a_picture_tells_how_it_was_drawn(ecad, write, tmp_path: Path, tiny) -> None:
    text = "cache all every 2 steps  # mine\n"
    assert ecad("generate", "a red cat", "-c", write(text), "-s", 3, "--seed", 7, *tiny, "-o", tmp_path / "p")[0] == 0
    (path,) = (tmp_path / "p").iterdir()
    assert path.name == "7-a-red-cat.png"
    code, out, _ = ecad("picture", path)
    assert code == 0
    assert "prompt: a red cat\nseed: 7\nmodel: " in out
    assert "num_inference_steps 3" in out
    assert "schedule:\n    cache all every 2 steps  # mine\n" in out
    told = json.loads(ecad("picture", path, "--json")[1])
    assert told["options"]["guidance_scale"] == 4.5  # of the spec
    assert parse(ecad("picture", path, "--schedule")[1]) == parse(text)


def test_shares_together_are_the_whole(ecad, tmp_path: Path, tiny) -> None:
    prompts = ("a red cat", "blue snow", "the dog")
    for shard in ("1/2", "2/2"):
        assert ecad("generate", *prompts, "-s", 2, *tiny, "-o", tmp_path / "p", "--shard", shard)[0] == 0
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
        "0-a-red-cat.png", "1-blue-snow.png", "2-the-dog.png",
    ]  # fmt: skip


def test_a_prompt_that_was_not_embedded_is_named_before_anything_is_loaded(ecad, tmp_path: Path, tiny) -> None:
    folder = tmp_path / "embeddings"
    assert ecad("embed", "a red cat", *tiny[:4], "-o", folder)[0] == 0
    drawn = ("-s", 2, *tiny, "--embeddings", folder, "-o", tmp_path / "p")
    assert ecad("generate", "a red cat", *drawn)[0] == 0
    code, _, err = ecad("generate", "a dog", *drawn)
    assert code == 2
    assert "do not hold the prompt 'a dog'" in err


def test_mistakes_leave_nothing_behind(ecad, write, tmp_path: Path, tiny) -> None:
    own = (*tiny, "-o", tmp_path / "new")
    bad = write("model pixart-alpha\nsteps 3\ncache ffn in blocks 3\n")
    assert "has no block 3\n" in ecad("generate", "a cat", "-c", bad, *own)[2]
    assert "1001 steps are too many" in ecad("generate", "a cat", "-s", 1001, *own)[2]
    assert "there is no file missing.txt" in ecad("generate", "missing.txt", *own)[2]
    assert "written as .png or .jpg" in ecad("generate", "a cat", *own, "--sheet", "x.bmp")[2]
    assert "there is no file" in ecad("picture", tmp_path / "missing.png")[2]
    assert not (tmp_path / "new").exists()
