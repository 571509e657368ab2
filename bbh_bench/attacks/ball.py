"""The set of images that an attack may choose from: within a distance of the clean image, with pixels within their range.

Distances are in units of pixel values, in the L-infinity or L2 norm. ``bounds`` are the smallest and largest pixel value.
"""

import torch
from torch import Tensor

from bbh_bench.api import Norm

SMALL = 1e-12
"""Perturbations shorter than this have no direction."""


def distance(a: Tensor, b: Tensor, norm: Norm) -> Tensor:
    """Distances ``[N]`` between images ``[N, ...]``."""
    return (a - b).flatten(1).norm(p=float("inf") if norm == "linf" else 2.0, dim=1)


def lengths(x: Tensor) -> Tensor:
    """L2 norms of ``[N, ...]``, in a shape ``[N, 1, ...]`` that multiplies them."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1).view(-1, *[1] * (x.dim() - 1))


def projected(images: Tensor, clean: Tensor, epsilon: float, norm: Norm, bounds: tuple[float, float]) -> Tensor:
    """The images ``[N, ...]``, moved towards the clean ones until they are within ``epsilon``, and clipped to the bounds."""
    if norm == "linf":
        return torch.clamp(images, clean - epsilon, clean + epsilon).clamp(*bounds)
    moved = images - clean
    return (clean + moved * (epsilon / lengths(moved).clamp_min(epsilon))).clamp(*bounds)


def random_points(clean: Tensor, epsilon: float, norm: Norm, bounds: tuple[float, float]) -> Tensor:
    """One image for each clean one ``[N, ...]``: uniform in the ball in L-infinity; at a uniform distance in L2.

    Uses the global random generators.
    """
    if norm == "linf":
        return (clean + epsilon * (2 * torch.rand_like(clean) - 1)).clamp(*bounds)
    moved = torch.randn_like(clean)
    length = lengths(moved)
    size = epsilon * torch.rand(len(clean), device=clean.device, dtype=clean.dtype).view_as(length)
    return (clean + moved * (size / length.clamp_min(SMALL))).clamp(*bounds)


def scaled(clean: Tensor, adversarial: Tensor, factor: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Images with perturbations times ``factor`` ``[N]``, one for each image, clipped to the bounds."""
    factor = factor.view(-1, *[1] * (clean.dim() - 1))
    return (clean + factor * (adversarial - clean)).clamp(*bounds)


def scaled_to(clean: Tensor, adversarial: Tensor, epsilon: float, norm: Norm, bounds: tuple[float, float]) -> Tensor:
    """Images whose perturbations have the same direction and the size ``epsilon``, clipped to the bounds.

    An image without perturbation stays as it is. The attacker uses all of epsilon: a perturbation that ends at the decision
    boundary of its own samples decides at random on fresh samples.
    """
    size = distance(adversarial, clean, norm)
    factor = torch.where(size > 0, epsilon / size.clamp_min(SMALL), 0.0)
    return scaled(clean, adversarial, factor, bounds)
