"""Numbers kept picture by picture: nothing is measured twice, and nothing is taken for something else."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ecad_dsl.errors import EcadError
from ecad_dsl.quality.bootstrap import interval
from ecad_dsl.quality.folders import Picture, read_folder
from ecad_dsl.quality.metric import Batch, Need, mean
from ecad_dsl.quality.scores import ScoreStore, score


class Brightness:
    """Counts what it measures, and stops where it is told."""

    name, more_is_better = "brightness", True

    def __init__(self, identity: str = "1", needs: Sequence[Need] = (), stop: int = 10**9) -> None:
        self.identity, self.needs, self.stop, self.measured = identity, frozenset(needs), stop, 0

    def numbers(self, batch: Batch) -> np.ndarray:
        if self.measured >= self.stop:
            raise KeyboardInterrupt
        self.measured += len(batch.pictures)
        return np.array([[np.asarray(picture.convert("L")).mean()] for picture in batch.pictures])

    total = staticmethod(mean)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "pictures"
    place.mkdir()
    for index in range(10):
        Image.new("RGB", (8, 8), (index, index, index)).save(place / f"{index}.png")
    return place


def test_an_interrupted_measurement_goes_on_where_it_was(folder: Path, tmp_path: Path) -> None:
    first, second = Brightness(stop=6), Brightness()
    pictures = read_folder(folder)
    with ScoreStore(tmp_path / "scores.sqlite") as store, pytest.raises(KeyboardInterrupt):
        score(pictures, [first], store, batch=3)
    done: list[int] = []
    with ScoreStore(tmp_path / "scores.sqlite") as store:
        numbers = score(pictures, [second], store, batch=3, on_done=done.append)["brightness"]
    assert (first.measured, second.measured, sum(done)) == (6, 4, 10)
    assert numbers[:, 0].tolist() == list(range(10))


def test_more_pictures_than_one_question_to_the_store_may_name(folder: Path, tmp_path: Path) -> None:
    many = [Picture(f"{i}.png", folder / "3.png") for i in range(1201)]
    with ScoreStore(tmp_path / "scores.sqlite") as store:
        score(many, [Brightness()], store, batch=300)
        again = Brightness()
        assert score(many, [again], store)["brightness"].shape == (1201, 1)
    assert again.measured == 0


def test_an_interval_of_many_pictures_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).standard_normal(20_000)
    low, high = interval(values)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20_000**0.5, rel=0.1)


def test_a_picture_that_changed_is_measured_again_and_no_other(folder: Path, tmp_path: Path) -> None:
    with ScoreStore(tmp_path / "scores.sqlite") as store:
        score(read_folder(folder), [Brightness()], store)
        Image.new("RGB", (9, 9), (200, 200, 200)).save(folder / "3.png")
        again = Brightness()
        numbers = score(read_folder(folder), [again], store)["brightness"]
    assert again.measured == 1
    assert numbers[3, 0] == 200


@pytest.mark.parametrize("change", ["identity", "size", "prompt"])
def test_whatever_a_number_depends_on_makes_it_another(folder: Path, tmp_path: Path, change: str) -> None:
    (folder / "metadata.jsonl").write_text("".join(f'{{"file_name": "{i}.png", "text": "a"}}\n' for i in range(10)))
    with ScoreStore(tmp_path / "scores.sqlite") as store:
        score(read_folder(folder), [Brightness(needs=["prompts"])], store)
        again = Brightness("2" if change == "identity" else "1", needs=["prompts"])
        if change == "prompt":
            (folder / "metadata.jsonl").write_text((folder / "metadata.jsonl").read_text().replace('"a"', '"b"'))
        score(read_folder(folder), [again], store, size=4 if change == "size" else None)
    assert again.measured == 10


def test_prompts_come_from_a_list_from_the_picture_or_from_beside_it(folder: Path, tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    inside = PngInfo()
    inside.add_text("prompt", "inside")
    Image.new("RGB", (8, 8)).save(folder / "0.png", pnginfo=inside)
    (folder / "1.txt").write_text("beside\n")
    assert [picture.prompt for picture in read_folder(folder)[:3]] == ["inside", "beside", None]
    (folder / "metadata.jsonl").write_text('{"file_name": "0.png", "prompt": "listed"}\n')
    assert [picture.prompt for picture in read_folder(folder)[:2]] == ["listed", "beside"]
    lists = {
        "lines.txt": "\n".join(f"line {i}" for i in range(10)),
        "names.json": '{"0": {"category": "x", "prompt": "line 0"}, "1": "line 1", "elsewhere": "z"}',
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        assert [p.prompt for p in read_folder(folder, tmp_path / name)[:2]] == ["line 0", "line 1"]


def test_what_a_metric_lacks_is_named_before_anything_is_measured(folder: Path, tmp_path: Path) -> None:
    pictures = read_folder(folder)
    with ScoreStore(tmp_path / "scores.sqlite") as store:
        with pytest.raises(EcadError, match=r"10 of 10 pictures have none, 0\.png first"):
            score(pictures, [Brightness(needs=["prompts"])], store)
        with pytest.raises(EcadError, match="--originals FOLDER"):
            score(pictures, [Brightness(needs=["originals"])], store)
        with pytest.raises(EcadError, match=r"9 of 10 pictures have no original of their name, 1\.png"):
            score(pictures, [Brightness(needs=["originals"])], store, {"0.png": pictures[0]})


@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.3, 0.6, 0.9])
def test_a_picture_cut_short_is_said_to_be_damaged_not_to_lack_a_prompt(tmp_path: Path, share: float) -> None:
    path, info = tmp_path / "cut.png", PngInfo()
    info.add_text("prompt", "a red circle " * 40)
    Image.effect_noise((16, 16), 80).save(path, pnginfo=info)
    (whole,) = read_folder(tmp_path)
    assert whole.prompt == "a red circle " * 40
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with (
        ScoreStore(tmp_path / "scores.sqlite") as store,
        pytest.raises(EcadError, match=r"cut\.png.*delete it or make"),
    ):
        score(read_folder(tmp_path), [Brightness(needs=["prompts"])], store)


def test_a_damaged_picture_or_list_or_store_is_named(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "4.png").read_bytes()
    (folder / "4.png").write_bytes(whole[:40])
    with ScoreStore(tmp_path / "scores.sqlite") as store, pytest.raises(EcadError, match=r"4\.png"):
        score(read_folder(folder), [Brightness()], store)
    (tmp_path / "list.txt").write_text("one line")
    with pytest.raises(EcadError, match="1 lines for 10 pictures"):
        read_folder(folder, tmp_path / "list.txt")
    (tmp_path / "list.jsonl").write_text('{"name": 3}')
    with pytest.raises(EcadError, match="'file_name' is missing"):
        read_folder(folder, tmp_path / "list.jsonl")
    (tmp_path / "not.sqlite").write_text("This is no database, and it is long enough to be seen as none." * 20)
    with pytest.raises(EcadError, match="--store"):
        ScoreStore(tmp_path / "not.sqlite")
    with pytest.raises(EcadError, match="there are no pictures"):
        read_folder(_empty(tmp_path))


def _empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"
