"""Gaussians over weights, as laplace-torch fits them, in what sampling needs of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class FullGaussian:
    """N(mean, scale scale^T), with P weights in a row."""

    shapes: Mapping[str, torch.Size]
    """Of the weights, by name, in the order of the row."""
    mean: Tensor
    """``[P]``"""
    scale: Tensor
    """``[P, P]``"""

    def __call__(self, n: int) -> dict[str, Tensor]:
        """Samples ``[n, *shape]`` of the weights, by name."""
        return by_name(self.mean + noise(n, self.mean) @ self.scale.T, self.shapes)


@dataclass(frozen=True)
class KroneckerGaussian:
    """N(mean, precision^-1), with P weights in a row and the precision in Kronecker factors."""

    shapes: Mapping[str, torch.Size]
    """Of the weights, by name, in the order of the row."""
    mean: Tensor
    """``[P]``"""
    precision: Any
    """``laplace.utils.matrix.KronDecomposed``"""

    def __call__(self, n: int) -> dict[str, Tensor]:
        """Samples ``[n, *shape]`` of the weights, by name."""
        deviations = self.precision.bmm(noise(n, self.mean), exponent=-0.5)
        return by_name(self.mean + deviations.reshape(n, -1), self.shapes)


def noise(n: int, mean: Tensor) -> Tensor:
    """Standard normal variables ``[n, P]`` for a mean ``[P]``."""
    return torch.randn(n, len(mean), device=mean.device, dtype=mean.dtype)


def by_name(rows: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Rows ``[n, P]`` of all weights -> ``[n, *shape]`` of each."""
    parts = rows.split([shape.numel() for shape in shapes.values()], dim=1)
    return {name: part.reshape(-1, *shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
