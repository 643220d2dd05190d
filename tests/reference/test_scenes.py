"""Scenes and captions: what is drawn is what is said."""

import pytest
import torch

from ecad_dsl import EcadError
from ecad_dsl.reference import captions, scenes
from ecad_dsl.reference.spoil import spoil
from ecad_dsl.reference.training import attributes


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_complete_caption_states_every_attribute_of_its_scene() -> None:
    batch = scenes.sample(300, seeded(), held_out=None)
    truth = attributes(batch)
    for index, caption in enumerate(captions.write(batch, seeded(1), complete=True)):
        stated = captions.read(caption)
        objects = int(batch.objects[index].sum())
        assert set(stated) == {"ground", "layout"} | {
            f"{name}{i}" for i in range(objects) for name in ("shape", "colour", "size")
        }
        assert all(int(truth[name][index]) == value for name, value in stated.items())


def test_an_open_caption_states_nothing_wrong_and_leaves_something_open() -> None:
    batch = scenes.sample(300, seeded(), held_out=None)
    truth = attributes(batch)
    texts = captions.write(batch, seeded(1))
    for index, caption in enumerate(texts):
        assert all(int(truth[name][index]) == value for name, value in captions.read(caption).items())
    complete = captions.write(batch, seeded(1), complete=True)
    assert sum(a != b for a, b in zip(texts, complete, strict=True)) > 150
    assert max(len(text.split()) for text in complete) < captions.TOKENS


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("a red dog", "does not know 'dog'; it knows: a, in"),
        ("a red circle left of a red circle left of a red circle on sand", "the reference model reads 13"),
    ],
)
def test_a_caption_that_the_model_cannot_read_is_refused_with_the_reason(caption: str, message: str) -> None:
    with pytest.raises(EcadError, match=message):
        captions.read(caption)


def test_training_scenes_have_no_held_out_pair_and_held_out_scenes_have_one() -> None:
    assert not scenes.sample(500, seeded()).held_out.any()
    assert scenes.sample(500, seeded(), held_out=True).held_out.all()
    assert len(scenes.sample(500, seeded(), held_out=True)) == 500


def test_equal_seeds_draw_equal_pictures() -> None:
    batch = scenes.sample(16, seeded())
    assert torch.equal(scenes.render(batch, seeded(3)), scenes.render(batch, seeded(3)))
    assert not torch.equal(scenes.render(batch, seeded(3)), scenes.render(batch, seeded(4)))


def test_objects_stay_in_their_halves_and_in_the_picture() -> None:
    batch = scenes.sample(1000, seeded(), held_out=None)
    diameter, left, top = scenes._boxes(batch, seeded(1))
    assert (left >= 0).all()
    assert (left + diameter <= scenes.SIZE).all()
    assert (top >= 0).all()
    assert (top + diameter <= scenes.SIZE).all()
    beside, stacked = batch.layout == 1, batch.layout == 2
    assert ((left + diameter)[beside, 0] <= left[beside, 1]).all()
    assert ((top + diameter)[stacked, 0] <= top[stacked, 1]).all()


def test_spoiling_changes_every_picture() -> None:
    pictures = scenes.render(scenes.sample(200, seeded()), seeded(1))
    spoilt = spoil(pictures, seeded(2))
    assert spoilt.shape == pictures.shape
    assert spoilt.min() >= 0
    assert spoilt.max() <= 1
    assert ((spoilt - pictures).abs().amax((1, 2, 3)) > 0).all()
