"""The reference reward: how well a picture fits its caption and how real it looks, as one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from ecad_dsl.reference import captions
from ecad_dsl.reference.pipeline import load_reader
from ecad_dsl.reference.scenes import SIZE

Reward = Callable[[Tensor, Sequence[str]], Tensor]
"""Pictures [batch, 3, height, width] in [0, 1] and their prompts to one number each, [batch]. More is better."""

_FLOOR = 0.01


@torch.no_grad()
def reference_reward(pictures: Tensor, prompts: Sequence[str]) -> Tensor:
    """``1 + log p(real) + mean over the stated attributes of log p(attribute)``, [batch].

    A picture that is surely real and surely shows all that its caption states has 1; each p is floored smoothly
    (0.99 p + 0.01), so that one hopeless picture costs 9.2 at most.

    Raises:
        EcadError: a prompt with a word that the reference model does not know.
    """
    read = _read(pictures)
    fits = [
        torch.stack([read[name][index, value] for name, value in stated.items()]).mean() if stated else torch.zeros(())
        for index, stated in enumerate(map(captions.read, prompts))
    ]
    return 1 + read["real"][:, 1] + torch.stack(fits)


def psnr(pictures: Tensor, originals: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of pictures in [0, 1] to their originals, in dB, [batch].

    ``-10 log10(mean squared error + 0.0001)``: no more than 40, so that pictures which nobody could tell from the
    original do not decide a mean.
    """
    return -10 * ((pictures - originals).square().mean((1, 2, 3)) + 1e-4).log10()


@torch.no_grad()
def attribute_accuracy(pictures: Tensor, prompts: Sequence[str]) -> float:
    """Share of all attributes that the prompts state which the reader finds in the pictures."""
    read = _read(pictures)
    found = [
        bool(read[name][index].argmax() == value)
        for index, prompt in enumerate(prompts)
        for name, value in captions.read(prompt).items()
    ]
    return sum(found) / max(1, len(found))


def _read(pictures: Tensor) -> dict[str, Tensor]:
    """Floored log-probabilities of the reader's heads."""
    small = F.interpolate(pictures.float(), (SIZE, SIZE), mode="area")
    return {name: (0.99 * head.exp() + _FLOOR).log() for name, head in load_reader()(small).items()}
