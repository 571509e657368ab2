"""Shifts: test images changed with increasing severity, by rotation, mixup or swelling.

A good method becomes uncertain as the severity increases; it does not make confident errors. These are the side studies of
Pawlowski et al. 2017, arXiv 1711.01297, for images ``[N, 1, H, W]`` of one channel in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bbh_bench.data import stratified
from bbh_bench.errors import ContractError


@dataclass(frozen=True)
class Shifted:
    """The same N images at each of S values, ``[S, N, C, H, W]``; labels ``[N]``, or None if the shift changes the class."""

    images: Tensor
    labels: Tensor | None


class Shift(Protocol):
    """A change of images and the severities at which it is applied. Write it as a frozen dataclass: its fields are recorded."""

    @property
    def name(self) -> str:
        """Lower-case letters, digits and hyphens."""
        ...

    @property
    def version(self) -> int:
        """Raise it when the same test set could give other images."""
        ...

    @property
    def axis(self) -> str:
        """What ``values`` are, with their unit: the label of the axis in a figure."""
        ...

    @property
    def values(self) -> tuple[float, ...]:
        """Severities, in the order of the curve."""
        ...

    def apply(self, x: Tensor, y: Tensor) -> Shifted:
        """Test images ``[M, C, H, W]`` and labels ``[M]`` -> N of them, changed."""
        ...


Selection = int | tuple[int, ...]
"""Which test images: their number, stratified by class, or their indices."""


def _indices(images: Selection, y: Tensor) -> Tensor:
    return stratified(y, images) if isinstance(images, int) else torch.tensor(images)


@dataclass(frozen=True)
class Rotation:
    """Rotation about the centre, anticlockwise. Labels are kept: a 6 that looks like a 9 still counts as a 6.

    As in the paper, interpolation is by cubic splines, corners are black, and values are not clipped to [0, 1].
    """

    name: str = "rotation"
    version: int = 1
    images: Selection = 200
    values: tuple[float, ...] = tuple(range(0, 181, 10))
    axis: str = "angle, degrees"

    def apply(self, x: Tensor, y: Tensor) -> Shifted:
        """Images ``[S, N, 1, H, W]``."""
        from scipy.ndimage import rotate

        chosen = _indices(self.images, y)
        rotated = [rotate(x[chosen].numpy(), angle, axes=(3, 2), reshape=False) for angle in self.values]
        return Shifted(torch.from_numpy(np.stack(rotated)), y[chosen])


@dataclass(frozen=True)
class Mixup:
    """Mixture of two images of different classes: ``(1 - share) * first + share * second``.

    Zhang et al. 2018, arXiv 1710.09412.
    """

    name: str = "mixup"
    version: int = 1
    images: int | tuple[tuple[int, int], ...] = 200
    """Number of pairs, or the indices of each pair.

    For a number N, stratified images are sorted by class, and image i is paired with image i - N // 2, modulo N.
    """
    values: tuple[float, ...] = tuple(k / 10 for k in range(11))
    axis: str = "share of the second image"

    def apply(self, x: Tensor, y: Tensor) -> Shifted:
        """Images ``[S, N, 1, H, W]``, without labels."""
        if isinstance(self.images, int):
            first = stratified(y, self.images)
            first = first[y[first].argsort(stable=True)]
            second = first.roll(len(first) // 2)
            if (y[first] == y[second]).any():
                raise ContractError(
                    "mixup pairs images of different classes: no class may have more than half of them."
                )
        else:
            first, second = torch.tensor(self.images).T
        share = torch.tensor(self.values).view(-1, 1, 1, 1, 1)
        return Shifted((1 - share) * x[first] + share * x[second], None)


@dataclass(frozen=True)
class Swelling:
    """A swelling at one point of the stroke: Morpho-MNIST, Castro et al. 2019, arXiv 1809.10780, section 3.2.

    The image is enlarged and binarised. Within R = ``radius * sqrt(thickness) / 2`` pixels of a random point of the skeleton,
    the value at the distance d * R from that point is taken from the distance ``d ** strength * R``. Then the image is reduced
    to its size. An image has the same point at every radius. At radius 0 the image is only binarised.
    """

    name: str = "swelling"
    version: int = 1
    images: Selection = 200
    values: tuple[float, ...] = (0, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    strength: float = 3.0
    """Exponent of the magnification; 1 changes nothing."""
    scale: int = 4
    """Factor of the enlargement."""
    axis: str = "radius, in units of √thickness / 2"

    def apply(self, x: Tensor, y: Tensor) -> Shifted:
        """Images ``[S, N, 1, H, W]``."""
        chosen = _indices(self.images, y)
        swollen = np.stack([self._swell(x[k, 0].numpy(), seed) for seed, k in enumerate(chosen.tolist())], axis=1)
        return Shifted(torch.from_numpy(swollen).unsqueeze(2), y[chosen])

    def _swell(self, image: np.ndarray, seed: int) -> np.ndarray:
        """One image ``[H, W]`` at every radius: ``[S, H, W]``."""
        from skimage.morphology import medial_axis
        from skimage.transform import pyramid_expand, pyramid_reduce

        large = pyramid_expand(image, upscale=self.scale, order=3)
        stroke = large >= (large.min() + large.max()) / 2
        skeleton, distance = medial_axis(stroke, return_distance=True, rng=seed)
        points = np.argwhere(skeleton)
        centre = points[np.random.RandomState(seed).randint(len(points))]
        thickness = 2 * distance[skeleton].mean() / self.scale
        radii = [value * np.sqrt(thickness) / 2 * self.scale for value in self.values]
        reduced = [pyramid_reduce(bulge(stroke, centre, r, self.strength), self.scale, order=3) for r in radii]
        return np.stack(reduced).clip(0, 1).astype(np.float32)


def bulge(image: np.ndarray, centre: Sequence[float], radius: float, strength: float) -> np.ndarray:
    """An image ``[H, W]`` in which the disc of ``radius`` pixels around ``centre`` (row, column) is magnified at its centre."""
    from scipy.ndimage import map_coordinates

    offset = np.indices(image.shape) - np.reshape(centre, (2, 1, 1))
    distance = np.hypot(*offset)
    share = np.where(distance < radius, distance / max(radius, 1e-9), 1) ** (strength - 1)
    source = np.reshape(centre, (2, 1, 1)) + share * offset
    return map_coordinates(image.astype(np.float64), source, order=1)
