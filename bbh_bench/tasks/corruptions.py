"""Corruptions of grey images at five severities, in the manner of MNIST-C (Mu and Gilmer 2019, arXiv 1906.02337), by code.

Images are corrupted in float64 and rounded to 256 grey values, so that the last bit of a number does not matter.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bbh_bench.data import stratified
from bbh_bench.tasks.shifts import Shifted

Kind = Literal["shot-noise", "impulse-noise", "blur", "brightness", "rotation", "shear", "scale", "translation"]
SEVERITY = "severity"
"""Axis of a corruption. Scores average over all shifts that have it."""
LEVELS = 256


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption at severities 1 to 5; severity 0 is the image itself. Labels are kept."""

    name: str
    kind: Kind
    strengths: tuple[float, float, float, float, float]
    """What the function of this kind takes at severities 1 to 5."""
    version: int = 1
    images: int = 500
    """Number of test images, stratified by class; the same for every corruption."""
    values: tuple[float, ...] = (0, 1, 2, 3, 4, 5)
    axis: str = SEVERITY

    def apply(self, x: Tensor, y: Tensor) -> Shifted:
        """Images ``[6, N, 1, H, W]`` in [0, 1], and labels ``[N]``."""
        chosen = stratified(y, self.images)
        clean = x[chosen, 0].numpy().astype(np.float64)
        corrupted = [clean, *(self._corrupted(clean, severity) for severity in range(1, 6))]
        rounded = np.round(np.stack(corrupted).clip(0, 1) * (LEVELS - 1)) / (LEVELS - 1)
        return Shifted(torch.from_numpy(rounded.astype(np.float32)).unsqueeze(2), y[chosen])

    def _corrupted(self, images: np.ndarray, severity: int) -> np.ndarray:
        """Each image ``[H, W]`` has random numbers of its own, the same at every severity: it moves to one side."""
        function, strength = FUNCTIONS[self.kind], self.strengths[severity - 1]
        kind = zlib.crc32(self.kind.encode())
        return np.stack(
            [function(image, strength, np.random.default_rng((kind, number))) for number, image in enumerate(images)]
        )


def shot_noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Poisson noise, as of a camera that counts ``1 / strength`` photons where the image is 1."""
    return rng.poisson(image / strength) * strength


def impulse_noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A share ``strength`` of the pixels, chosen independently, is 0 or 1 with equal probability."""
    changed, bright = rng.random(image.shape) < strength, rng.random(image.shape) < 0.5
    return np.where(changed, bright, image)


def blur(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Convolution with a Gaussian whose standard deviation is ``strength`` pixels; black outside of the image."""
    from scipy.ndimage import gaussian_filter

    blurred: np.ndarray = gaussian_filter(image, strength, mode="constant", truncate=4.0)
    return blurred


def brightness(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """``strength`` added to all pixels."""
    return image + strength


def rotation(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Rotation about the centre by ``strength`` degrees, to either side."""
    angle = np.deg2rad(strength) * _side(rng)
    return _transformed(image, np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]))


def shear(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A row moves by ``strength`` times its distance from the centre, to either side."""
    return _transformed(image, np.array([[1.0, 0.0], [strength * _side(rng), 1.0]]))


def scale(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The image is ``strength`` times as large, about its centre."""
    return _transformed(image, np.eye(2) / strength)


def translation(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Moved by ``strength`` pixels, rounded in each direction, at a random angle."""
    angle = rng.uniform(0, 2 * np.pi)
    offset = np.round(strength * np.array([np.sin(angle), np.cos(angle)]))
    return _transformed(image, np.eye(2), offset)


def _side(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _transformed(image: np.ndarray, matrix: np.ndarray, moved: np.ndarray | None = None) -> np.ndarray:
    """The pixel at an offset p from the centre has the value at ``matrix @ p - moved``: linear interpolation, black outside."""
    from scipy.ndimage import affine_transform

    centre = (np.array(image.shape) - 1) / 2
    offset = centre - matrix @ centre - (0 if moved is None else moved)
    transformed: np.ndarray = affine_transform(image, matrix, offset=offset, order=1, mode="constant")
    return transformed


FUNCTIONS: Mapping[Kind, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "shot-noise": shot_noise,
    "impulse-noise": impulse_noise,
    "blur": blur,
    "brightness": brightness,
    "rotation": rotation,
    "shear": shear,
    "scale": scale,
    "translation": translation,
}
CORRUPTIONS = (
    Corruption("shot-noise", "shot-noise", (0.1, 0.2, 0.35, 0.5, 0.8)),
    Corruption("impulse-noise", "impulse-noise", (0.03, 0.06, 0.1, 0.17, 0.27)),
    Corruption("blur", "blur", (0.6, 0.9, 1.2, 1.6, 2.0)),
    Corruption("brightness", "brightness", (0.1, 0.2, 0.3, 0.4, 0.5)),
    Corruption("corrupted-rotation", "rotation", (10, 20, 30, 40, 50)),
    Corruption("shear", "shear", (0.15, 0.3, 0.45, 0.6, 0.75)),
    Corruption("scale", "scale", (0.9, 0.8, 0.7, 0.6, 0.5)),
    Corruption("translation", "translation", (1, 2, 3, 4, 5)),
)
"""Half of the kinds of MNIST-C, those that need no drawing; its strengths are single, these are our own."""
