"""Ctrl-C in commands that take long: what they say remains is what remains."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from PIL import Image

from tests.quality.tiny_metrics import metric_files  # noqa: F401 - a fixture

GOES_ON = "the same command goes on from there"


@contextmanager
def interrupted(place: str, call: int) -> Iterator[None]:
    """A function ends like Ctrl-C when it is called for this time."""
    owner, _, name = place.rpartition(".")
    function = getattr(resolve_name(owner), name)
    counting = count(1)

    def called(*arguments: Any, **options: Any) -> Any:
        if next(counting) == call:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, called)
        yield


def test_generate_goes_on(ecad, tmp_path: Path) -> None:
    prompts = ("a red circle", "a blue square", "a green circle")
    command = ("generate", *prompts, "-s", 2, "--batch", 1, "--workers", 1, "-o", tmp_path / "p")
    with interrupted("ecad_dsl.pipelines.pictures.Drawer._save", 3):
        code, _, err = ecad(*command)
    assert code == 130
    assert f"interrupted; every finished picture is kept, and {GOES_ON}\n" in err
    assert "2 were there already" in ecad(*command)[1]


def test_embed_goes_on(ecad, tmp_path: Path, tiny_folders) -> None:
    command = ("embed", "a cat", "a dog", "--model", tiny_folders("pixart-alpha"), "--device", "cpu", "-o", tmp_path)
    with interrupted("ecad_dsl.pipelines.embeddings._encode", 3):
        code, _, err = ecad(*command)
    assert code == 130
    assert f"interrupted; what is encoded is kept, and {GOES_ON}\n" in err
    assert "1 encoded, 2 were there already" in ecad(*command)[1]


@pytest.mark.parametrize("command", [("score", "--metric", "reference"), ("metrics", "stats")], ids="-".join)
def test_measuring_pictures_goes_on(ecad, metric_files, tmp_path: Path, command: tuple[str, ...]) -> None:  # noqa: F811
    for index in range(3):
        Image.new("RGB", (64, 64), (80 * index, 0, 0)).save(tmp_path / f"{index}.png")
        (tmp_path / f"{index}.txt").write_text("a red circle")
    own = ("--weights", f"fid={metric_files['fid']}", "-o", tmp_path / "x.npz") if "stats" in command else ()
    asked = (*command, tmp_path, "--batch", 1, *own)
    with interrupted("ecad_dsl.quality.scores.ScoreStore.add", 3):
        code, _, err = ecad(*asked)
    assert code == 130
    assert f"interrupted; what is measured is kept, and {GOES_ON}\n" in err
    with interrupted("ecad_dsl.quality.scores.ScoreStore.add", 2):  # one alone is left
        assert ecad(*asked)[0] == 0


def test_a_plan_goes_on(ecad, tmp_path: Path) -> None:
    sets = 'sets=[{name="own", prompts="reference", count=2, metrics=["reference"]}]'
    quick = ("--set", sets, "--set", "rounds=0", "--set", "batch=1", "--set", 'schedules=["fora-2"]', "--steps", 2)
    command = ("bench", "--plan", "reference", *quick, "--out", tmp_path / "out")
    with interrupted("ecad_dsl.pipelines.benchmark.write_picture", 4):
        code, _, err = ecad(*command)
    assert code == 130
    assert f"interrupted; finished pictures, numbers and timings are kept, and {GOES_ON}\n" in err
    with interrupted("ecad_dsl.pipelines.benchmark.write_picture", 2):
        assert ecad(*command)[0] == 0


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (("compare", "fora-2", "--prompts", 2), "ecad_dsl.quality.measure.measure"),
        (("transfer", "fora-2", "--prompts", 2), "ecad_dsl.quality.measure.measure"),
        (("bench", "fora-2"), "ecad_dsl.quality.bench.bench"),
    ],
)
def test_what_keeps_nothing_says_so(ecad, command: tuple[object, ...], place: str) -> None:
    with interrupted(place, 1):
        code, out, err = ecad(*command)
    assert (code, out) == (130, "")
    assert err.endswith("interrupted; what was measured is not kept; the same command begins anew\n")
