"""``ecad score`` and ``ecad metrics`` with every metric, on small random weights in the published files' layout."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.quality.oracle import recipes
from tests.quality.tiny_metrics import metric_files  # noqa: F401 - a fixture

ALL = ("image-reward", "clip", "fid", "psnr", "lpips")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Four pictures with prompts, and their originals."""
    cached, originals = tmp_path / "cached", tmp_path / "originals"
    for folder in (cached, originals):
        folder.mkdir()
    lines = []
    for index, (picture, prompt) in enumerate(zip(recipes.pictures()[:4], recipes.PROMPTS, strict=False)):
        small = picture.convert("RGB").resize((48, 48))
        small.save(originals / f"{index}.png")
        recipes.spoilt(small, index).save(cached / f"{index}.png")
        lines.append(json.dumps({"file_name": f"{index}.png", "text": prompt}))
    for folder in (cached, originals):
        (folder / "metadata.jsonl").write_text("\n".join(lines))
    return cached, originals


def options(metric_files: dict[str, Path]) -> list[str]:  # noqa: F811
    return [f"--weights={name}={path}" for name, path in metric_files.items()]


def test_all_metrics_in_one_command(ecad, folders, metric_files, tmp_path: Path) -> None:  # noqa: F811
    cached, originals = folders
    asked = ["--metric", "image-reward,clip,psnr,lpips", "--originals", originals, *options(metric_files)]
    code, out, _ = ecad("score", cached, originals, *asked, "--json", "-o", tmp_path / "all.csv")
    assert code == 0
    spoilt, same = json.loads(out)
    assert (same["psnr"], same["lpips"]) == (pytest.approx(40), 0)
    assert spoilt["psnr"] < 30
    assert spoilt["lpips"] > 0
    assert spoilt["image-reward_low"] <= spoilt["image-reward"] <= spoilt["image-reward_high"]
    lines = list(csv.DictReader((tmp_path / "all.csv").open()))
    assert len(lines) == 8
    assert np.mean([float(line["clip"]) for line in lines[:4]]) == pytest.approx(spoilt["clip"])
    assert [line["prompt"] for line in lines[:4]] == list(recipes.PROMPTS[:4])


def test_fid_is_a_distance_to_statistics_of_real_pictures(ecad, folders, metric_files, tmp_path: Path) -> None:  # noqa: F811
    cached, originals = folders
    real = tmp_path / "real.npz"
    code, out, _ = ecad("metrics", "stats", originals, "-o", real, *options(metric_files), "--size", 40, "--count", 3)
    assert (code, out) == (0, f"written: {real} (3 pictures)\n")
    asked = ["--metric", "fid", "--reference", real, *options(metric_files), "--size", 40, "--json"]
    code, out, _ = ecad("score", cached, *asked)
    assert code == 0
    assert json.loads(out)[0]["fid"] > 0.01


def test_a_second_run_measures_nothing_again(ecad, folders, metric_files, monkeypatch) -> None:  # noqa: F811
    cached, _ = folders
    asked = ["score", cached, "--metric", "image-reward", *options(metric_files), "--json"]
    first = ecad(*asked)
    assert first[0] == 0

    def refuse(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("ecad_dsl.quality.image_reward.ImageReward.numbers", refuse)
    assert ecad(*asked)[:2] == first[:2]


def test_the_table_says_which_way_is_better(ecad, folders) -> None:
    cached, originals = folders
    code, out, _ = ecad("score", cached, "--metric", "psnr", "--originals", originals)
    assert code == 0
    assert "psnr (more)" in out
    assert "[" in out


def test_pictures_of_the_reference_model_have_its_reward(ecad, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (255, 0, 0)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a red circle")
    code, out, _ = ecad("score", tmp_path, "--metric", "reference", "--json")
    assert code == 0
    assert json.loads(out)[0]["reference"] < 1


def test_what_is_there_to_measure_by_is_listed(ecad) -> None:
    code, out, _ = ecad("metrics", "list")
    assert code == 0
    assert "torchvision's AlexNet, 233 MB" in out
    assert {entry["name"] for entry in json.loads(ecad("metrics", "list", "--json")[1])} >= set(ALL)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--metric", "beauty"], "unknown metric 'beauty'; there are: image-reward, clip"),
        (["--metric", "psnr,psnr"], "name each metric once"),
        (["--metric", "psnr"], "--originals FOLDER"),
        (["--metric", "clip", "--weights", "clip"], "METRIC=WHERE"),
        (["--metric", "lpips", "--weights", "lpips=/nowhere.pth"], "there are no weights at /nowhere.pth"),
        (["--metric", "image-reward", "--weights", "image-reward=."], "holds no ImageReward.pt"),
        (["--metric", "clip", "--weights", "clip=./nothing"], "cannot load CLIP from ./nothing"),
        (["--metric", "lpips", "--reference", "x.npz", "--out", "a.xlsx"], "as .csv or .json"),
    ],
)
def test_what_cannot_be_measured_is_refused_by_name(ecad, folders, extra: list[str], message: str) -> None:
    code, out, err = ecad("score", folders[0], *extra)
    assert (code, out) == (2, "")
    assert message in err


def test_fid_without_statistics_says_how_to_make_them(ecad, folders) -> None:
    code, _, err = ecad("score", folders[0], "--metric", "fid", "--reference", "none.npz")
    assert code == 2
    assert "ecad metrics stats FOLDER -o none.npz" in err
    code, _, err = ecad("score", folders[0], "--metric", "fid")
    assert code == 2
    assert "--reference FILE.npz" in err


def test_statistics_have_one_kind_of_file(ecad, folders) -> None:
    code, _, err = ecad("metrics", "stats", folders[0], "-o", "coco.txt")
    assert code == 2
    assert ".npz" in err
    code, _, err = ecad("metrics", "stats", folders[0], "-o", "coco.npz", "--count", 5)
    assert code == 2
    assert "there are 4 pictures, fewer than 5" in err
