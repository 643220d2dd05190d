"""The metrics by name, and what each needs to be had from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ecad_dsl.errors import EcadError
from ecad_dsl.quality.bootstrap import Array
from ecad_dsl.quality.metric import Batch, Metric, Need, as_tensor, mean
from ecad_dsl.quality.reward import reference_reward


@dataclass(frozen=True)
class Asked:
    """What a metric is loaded with."""

    source: str | None = None
    """Its weights: a file, a folder or a name on the hub; None for the published ones."""
    device: str = "cpu"
    reference: Path | None = None
    """Statistics of real pictures, for ``fid``."""

    @property
    def file(self) -> Path | None:
        return None if self.source is None else Path(self.source)


@dataclass(frozen=True)
class Known:
    """A metric that the command line knows."""

    meaning: str
    weights: str
    """What has to be fetched once, and how large it is."""
    load: Callable[[Asked], Metric]
    is_reward: bool = False
    """Whether a picture and its prompt are all that it takes, so that a search can go by it."""


class ReferenceReward:
    """The reference model's own reward, for its pictures."""

    name = "reference"
    needs: frozenset[Need] = frozenset({"prompts"})
    more_is_better = True
    identity = "1"

    def numbers(self, batch: Batch) -> Array:
        rewards = [
            reference_reward(as_tensor([picture]) / 255, [prompt])
            for picture, prompt in zip(batch.pictures, batch.prompts, strict=True)
        ]
        numbers: Array = torch.stack(rewards).double().numpy()
        return numbers

    def total(self, numbers: Array) -> float:
        return mean(numbers)


def _image_reward(asked: Asked) -> Metric:
    from ecad_dsl.quality.image_reward import ImageReward

    return ImageReward.load(asked.source, asked.device)


def _clip(asked: Asked) -> Metric:
    from ecad_dsl.quality.clip_score import ClipScore

    return ClipScore.load(asked.source, asked.device)


def _fid(asked: Asked) -> Metric:
    from ecad_dsl.quality.frechet import FrechetDistance

    return FrechetDistance.load(asked.reference, asked.file, asked.device)


def _lpips(asked: Asked) -> Metric:
    from ecad_dsl.quality.fidelity import Lpips

    return Lpips.load(asked.file, asked.device)


def _psnr(_: Asked) -> Metric:
    from ecad_dsl.quality.fidelity import Psnr

    return Psnr()


METRICS: Mapping[str, Known] = {
    "image-reward": Known(
        "how much people would like a picture for its prompt",
        "ImageReward.pt, 1.8 GB, and med_config.json of THUDM/ImageReward; vocab.txt of google-bert/bert-base-uncased",
        _image_reward,
        is_reward=True,
    ),
    "clip": Known(
        "100 cos between picture and prompt in CLIP", "openai/clip-vit-large-patch14, 1.7 GB", _clip, is_reward=True
    ),
    "fid": Known("Frechet distance to real pictures", "Inception v3 of torch-fidelity, 96 MB", _fid),
    "psnr": Known("dB to the uncached picture, 40 at most", "none", _psnr),
    "lpips": Known("distance to the uncached picture as people see it", "torchvision's AlexNet, 233 MB", _lpips),
    "reference": Known(
        "the reference model's own reward", "none, they ship", lambda _: ReferenceReward(), is_reward=True
    ),
}


def load_metric(name: str, asked: Asked | None = None) -> Metric:
    """A metric by name.

    Raises:
        EcadError: there is none of this name, or its weights cannot be had; the message says what to do.
    """
    if name not in METRICS:
        raise EcadError(f"unknown metric {name!r}; there are: {', '.join(METRICS)}")
    return METRICS[name].load(asked or Asked())
