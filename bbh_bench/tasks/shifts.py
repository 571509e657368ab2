"""Test images changed by degrees: rotated, mixed, swollen. On the way a method should grow uncertain, not sure and wrong.

The side studies of Pawlowski et al. 2017, arXiv 1711.01297, for images ``[N, 1, H, W]`` of one channel in [0, 1].
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
    """The same N images at each of S values: ``[S, N, C, H, W]``; labels ``[N]``, or None where the class is in question."""

    images: Tensor
    labels: Tensor | None


class Shift(Protocol):
    """A way of changing images, and how far to go. Write it as a frozen dataclass."""

    @property
    def name(self) -> str:
        """Lower-case letters, digits and hyphens."""
        ...

    @property
    def version(self) -> int:
        """Goes up when the same test set could give other images."""
        ...

    @property
    def axis(self) -> str:
        """What ``values`` are, with their unit: a figure's label."""
        ...

    @property
    def values(self) -> tuple[float, ...]:
        """How far, in order."""
        ...

    def apply(self, x: Tensor, y: Tensor) -> Shifted:
        """Test images ``[N, C, H, W]`` and labels ``[N]`` -> some of them, changed."""
        ...


Chosen = int | tuple[int, ...]
"""Which test images: so many, stratified, or these."""


def _chosen(images: Chosen, y: Tensor) -> Tensor:
    return stratified(y, images) if isinstance(images, int) else torch.tensor(images)


@dataclass(frozen=True)
class Rotation:
    """Images turned about their centre, anticlockwise; a 6 that has become a 9 still counts as a 6.

    Cubic splines and black corners, not clipped to [0, 1], as in the paper.
    """

    name: str = "rotation"
    version: int = 1
    images: Chosen = 200
    values: tuple[float, ...] = tuple(range(0, 181, 10))
    axis: str = "angle, degrees"

    def apply(self, x: Tensor, y: Tensor) -> Shifted:
        """Images ``[S, N, 1, H, W]``."""
        from scipy.ndimage import rotate  # noqa: PLC0415

        chosen = _chosen(self.images, y)
        turned = [rotate(x[chosen].numpy(), angle, axes=(3, 2), reshape=False) for angle in self.values]
        return Shifted(torch.from_numpy(np.stack(turned)), y[chosen])


@dataclass(frozen=True)
class Mixup:
    """Each image blended into one of another class: ``(1 - share) * first + share * second``."""

    name: str = "mixup"
    version: int = 1
    images: int | tuple[tuple[int, int], ...] = 200
    """So many pairs, stratified: the images in the order of their classes, each with the one half way round. Or these."""
    values: tuple[float, ...] = tuple(k / 10 for k in range(11))
    axis: str = "share of the second image"

    def apply(self, x: Tensor, y: Tensor) -> Shifted:
        """Images ``[S, N, 1, H, W]``, without labels."""
        if isinstance(self.images, int):
            first = stratified(y, self.images)
            first = first[y[first].argsort(stable=True)]
            second = first.roll(len(first) // 2)
            if (y[first] == y[second]).any():
                raise ContractError("mixup needs test images of which no class has more than half.")
        else:
            first, second = torch.tensor(self.images).T
        share = torch.tensor(self.values).view(-1, 1, 1, 1, 1)
        return Shifted((1 - share) * x[first] + share * x[second], None)


@dataclass(frozen=True)
class Swelling:
    """A bulge at a point of the stroke: Morpho-MNIST, Castro et al. 2019, arXiv 1809.10780, section 3.2.

    The image is enlarged and made black and white. Within ``radius * sqrt(thickness) / 2`` pixels of a random point of the
    skeleton, what lies at a share d of that radius comes from the share ``d ** strength``; then it is reduced again. An
    image's point is the same at every radius. At 0 it is only made black and white.
    """

    name: str = "swelling"
    version: int = 1
    images: Chosen = 200
    values: tuple[float, ...] = (0, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    strength: float = 3.0
    scale: int = 4
    axis: str = "radius, in units of √thickness / 2"

    def apply(self, x: Tensor, y: Tensor) -> Shifted:
        """Images ``[S, N, 1, H, W]``."""
        chosen = _chosen(self.images, y)
        swollen = np.stack([self._swell(x[k, 0].numpy(), seed) for seed, k in enumerate(chosen.tolist())], axis=1)
        return Shifted(torch.from_numpy(swollen).unsqueeze(2), y[chosen])

    def _swell(self, image: np.ndarray, seed: int) -> np.ndarray:
        """One image ``[H, W]`` at every radius: ``[S, H, W]``."""
        from skimage.morphology import medial_axis  # noqa: PLC0415  (half a second)
        from skimage.transform import pyramid_expand, pyramid_reduce  # noqa: PLC0415

        large = pyramid_expand(image, upscale=self.scale, order=3)
        ink = large >= (large.min() + large.max()) / 2
        skeleton, distance = medial_axis(ink, return_distance=True, rng=seed)
        points = np.argwhere(skeleton)
        centre = points[np.random.RandomState(seed).randint(len(points))]
        thickness = 2 * distance[skeleton].mean() / self.scale
        radii = [value * np.sqrt(thickness) / 2 * self.scale for value in self.values]
        reduced = [pyramid_reduce(bulge(ink, centre, r, self.strength), self.scale, order=3) for r in radii]
        return np.stack(reduced).clip(0, 1).astype(np.float32)


def bulge(image: np.ndarray, centre: Sequence[float], radius: float, strength: float) -> np.ndarray:
    """An image ``[H, W]`` with the surroundings of ``centre`` (row, column) magnified out to ``radius`` pixels."""
    from scipy.ndimage import map_coordinates  # noqa: PLC0415

    offset = np.indices(image.shape) - np.reshape(centre, (2, 1, 1))
    distance = np.hypot(*offset)
    share = np.where(distance < radius, distance / max(radius, 1e-9), 1) ** (strength - 1)
    source = np.reshape(centre, (2, 1, 1)) + share * offset
    return map_coordinates(image.astype(np.float64), source, order=1)
