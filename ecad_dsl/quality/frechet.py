"""The Frechet distance between pictures and real ones (FID): of the normal distributions that fit their features.

Heusel et al., *GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium* (arXiv 1706.08500).
"""

from __future__ import annotations

import zipfile
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ecad_dsl.errors import EcadError
from ecad_dsl.files import write_beside
from ecad_dsl.quality.bootstrap import Array
from ecad_dsl.quality.inception import Inception
from ecad_dsl.quality.metric import Batch, Need, as_tensor, device_of, fingerprint


@dataclass(frozen=True)
class Statistics:
    """Of features: all that the distance asks of a set of pictures."""

    mean: Array
    """[features]"""
    covariance: Array
    """[features, features], of a sample."""
    pictures: int
    """How many were measured; 0 if the file does not say."""
    features: str = ""
    """What computed them, so that two networks are not compared; empty if the file does not say."""

    @classmethod
    def of(cls, numbers: Array, features: str = "") -> Statistics:
        """Of [pictures, features].

        Raises:
            EcadError: there are fewer than two pictures.
        """
        if len(numbers) < 2:
            raise EcadError(f"a distance between sets needs at least 2 pictures, and there is {len(numbers)}")
        numbers = np.asarray(numbers, dtype=np.float64)
        covariance = np.atleast_2d(np.cov(numbers, rowvar=False))
        return cls(numbers.mean(0), covariance, len(numbers), features)

    @classmethod
    def load(cls, path: Path) -> Statistics:
        """From an .npz with ``mu`` and ``sigma``, as :meth:`save` and other tools for FID write it.

        Raises:
            EcadError: the file is missing or holds something else.
        """
        if not Path(path).is_file():
            raise EcadError(f"there are no statistics at {path}; make them: ecad metrics stats FOLDER -o {path}")
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(
                    np.asarray(file["mu"], dtype=np.float64),
                    np.asarray(file["sigma"], dtype=np.float64),
                    int(file["pictures"]) if "pictures" in file else 0,
                    str(file["features"]) if "features" in file else "",
                )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise EcadError(f"{path} does not hold statistics (mu and sigma in an .npz): {error}") from error

    def save(self, path: Path) -> None:
        """Write an .npz that :meth:`load` and other tools for FID read."""

        def write(beside: Path) -> None:
            with beside.open("wb") as file:
                np.savez(
                    file,
                    mu=self.mean,
                    sigma=self.covariance,
                    pictures=np.array(self.pictures),
                    features=np.array(self.features),
                )

        write_beside(path, write)


def frechet_distance(one: Statistics, other: Statistics) -> float:
    """``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``.

    The product of the covariances has the eigenvalues of ``C1^(1/2) C2 C1^(1/2)``, which is symmetric: no imaginary
    parts to throw away, and singular covariances (fewer pictures than features) are nothing special.

    Raises:
        EcadError: the two have different numbers of features, or features of different networks.
    """
    if one.mean.shape != other.mean.shape:
        raise EcadError(
            f"statistics of {one.mean.size} and of {other.mean.size} features cannot be compared; make both with the"
            " same network"
        )
    if one.features and other.features and one.features != other.features:
        raise EcadError("the two statistics are of features of different networks; make both with the same weights")
    difference = one.mean - other.mean
    root = _root(torch.from_numpy(one.covariance))
    values = torch.linalg.eigvalsh(root @ torch.from_numpy(other.covariance) @ root)
    # What rounding leaves where there is nothing would count, since roots enlarge it.
    noise = values.max() * len(values) * torch.finfo(torch.float64).eps
    common = values[values > noise].sqrt().sum().item()
    return float(difference @ difference + np.trace(one.covariance) + np.trace(other.covariance) - 2 * common)


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


class FrechetDistance:
    """FID to reference pictures, of which only statistics are needed; less is better.

    With fewer than a few thousand pictures it is far too large, and only to be compared with another of as many.
    """

    name = "fid"
    needs: frozenset[Need] = frozenset()
    more_is_better = False

    def __init__(self, network: nn.Module, reference: Statistics | None = None) -> None:
        self._network = network
        self._reference = reference
        self.identity = fingerprint(network.state_dict())

    @classmethod
    def load(
        cls, reference: Path | None, weights: Path | None = None, device: torch.device | str = "cpu"
    ) -> FrechetDistance:
        """With the published network and the statistics in a file.

        Raises:
            EcadError: either is missing or does not fit.
        """
        statistics = None if reference is None else Statistics.load(reference)
        return cls(Inception.load(weights, device), statistics)

    def compared_with(self, reference: Statistics) -> FrechetDistance:
        """The same network, and the distance to other real pictures."""
        other = copy(self)
        other._reference = reference
        return other

    @torch.no_grad()
    def numbers(self, batch: Batch) -> Array:
        """The features, [pictures, 2048]. Pictures of different sizes are measured one by one."""
        sizes = {picture.size for picture in batch.pictures}
        groups = [batch.pictures] if len(sizes) == 1 else [[picture] for picture in batch.pictures]
        device = device_of(self._network)
        found = [self._network(as_tensor(group).to(device)).cpu().numpy() for group in groups]
        return np.concatenate(found)

    def statistics(self, numbers: Array) -> Statistics:
        return Statistics.of(numbers, self.identity)

    def total(self, numbers: Array) -> float:
        if self._reference is None:
            raise EcadError("the Frechet distance needs statistics of real pictures; name them: --reference FILE.npz")
        return frechet_distance(self.statistics(numbers), self._reference)
