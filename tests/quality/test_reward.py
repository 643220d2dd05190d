"""The reference reward falls with every kind of damage."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ecad_dsl import EcadError
from ecad_dsl.quality.reward import attribute_accuracy, psnr, reference_reward
from ecad_dsl.reference import captions, scenes


@pytest.fixture(scope="module")
def drawn() -> tuple[Tensor, list[str]]:
    """True scenes with their captions: as good as pictures get."""
    generator = torch.Generator().manual_seed(5)
    batch = scenes.sample(128, generator, held_out=None)
    return scenes.render(batch, generator), captions.write(batch, generator)


def test_true_scenes_have_nearly_the_highest_reward(drawn: tuple[Tensor, list[str]]) -> None:
    rewards = reference_reward(*drawn)
    assert rewards.shape == (128,)
    assert rewards.mean() > 0.8
    assert rewards.max() <= 1
    assert attribute_accuracy(*drawn) > 0.99


def test_pictures_of_256_pixels_are_read_like_their_latents(drawn: tuple[Tensor, list[str]]) -> None:
    pictures, prompts = drawn
    enlarged = F.interpolate(pictures, scale_factor=16, mode="nearest")
    assert torch.allclose(reference_reward(pictures, prompts), reference_reward(enlarged, prompts), atol=1e-4)


@pytest.mark.parametrize("damage", ["noise", "blank", "blur", "other captions"])
def test_damage_costs_far_more_than_chance(drawn: tuple[Tensor, list[str]], damage: str) -> None:
    pictures, prompts = drawn
    generator = torch.Generator().manual_seed(6)
    if damage == "noise":
        pictures = torch.rand(pictures.shape, generator=generator)
    elif damage == "blank":
        pictures = torch.full_like(pictures, 0.5)
    elif damage == "blur":
        pictures = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    else:
        prompts = prompts[1:] + prompts[:1]
    assert reference_reward(pictures, prompts).mean() < reference_reward(*drawn).mean() - 0.8


def test_more_noise_means_less_reward(drawn: tuple[Tensor, list[str]]) -> None:
    pictures, prompts = drawn
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(7))
    means = [
        float(reference_reward((pictures + sigma * noise).clamp(0, 1), prompts).mean())
        for sigma in (0, 0.03, 0.06, 0.12, 0.25)
    ]
    assert means == sorted(means, reverse=True)


def test_an_empty_caption_is_judged_by_realness_alone(drawn: tuple[Tensor, list[str]]) -> None:
    pictures, _ = drawn
    assert reference_reward(pictures, [""] * len(pictures)).mean() > 0.7


def test_a_word_that_the_model_does_not_know_is_an_error(drawn: tuple[Tensor, list[str]]) -> None:
    with pytest.raises(EcadError, match="does not know 'unicorn'"):
        reference_reward(drawn[0][:1], ["a red unicorn"])


def test_psnr_is_that_of_the_mean_squared_error_and_ends_at_40_db() -> None:
    originals = torch.full((3, 3, 4, 4), 0.5)
    pictures = originals + torch.tensor([0.0, 0.1, 0.5]).reshape(3, 1, 1, 1)
    assert psnr(pictures, originals).tolist() == pytest.approx([40.0, 19.957, 6.019], abs=1e-3)
