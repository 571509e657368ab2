"""The threat model: what an attacker knows and may do to an image, and the check that no attack did more.

White box, of which an attack may use less; the attacker has the posterior and draws networks from it, but not the draws by
which the attack is judged. Perturbations are made in pixel space, within the attack's norm, clipped to the data's bounds.
What Foolbox returns is checked, not trusted. ``docs/threat-model.md`` says why.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bbh_bench.api import Attack, Predict, Terms
from bbh_bench.errors import ContractError
from bbh_bench.evaluation.predictive import chunk_size, log_mean_softmax

TOLERANCE = 1e-5  # float32 rounding of a sum and a difference of pixels in [0, 1]
VERSION = 1  # goes up when the attacker may do something else


def threat_model(bounds: tuple[float, float], draws: int) -> dict[str, Any]:
    """What every attack of a cell obeys, for its record."""
    return {
        "version": VERSION,
        "access": "white box on the predictive: the mean softmax of the posterior's networks",
        "gradient": "of the log mean softmax of frozen networks drawn by the attacker (each attack's `draws`)",
        "perturbation": "of the pixels, within an L-infinity or L2 ball (each attack's `norm`), clipped to the bounds",
        "bounds": list(bounds),
        "judged": f"by the predictive of {draws} fresh networks, which the attacker hasn't seen; beside it by its own",
        "goal": "untargeted: any class but the label",
    }


class _Predictive(nn.Module):
    """Frozen networks as one classifier: its logits are the log mean probabilities ``[B, K]``.

    Foolbox's cross-entropy is then the negative log-likelihood of the predictive itself.
    """

    def __init__(self, networks: Predict) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, x: Tensor) -> Tensor:
        return log_mean_softmax(self.networks(x))


@dataclass(frozen=True)
class Crafted:
    """What an attack made of N images, on the CPU."""

    images: list[Tensor]
    """For each epsilon, ``[N, ...]``."""
    smallest: Tensor | None
    """Of an attack that minimises: the images with the perturbations that it found, of whatever size."""


def craft(
    attack: Attack, networks: Predict, x: Tensor, y: Tensor, bounds: tuple[float, float], device: torch.device
) -> Crafted:
    """Attack images ``x`` ``[N, ...]`` of classes ``y`` ``[N]``.

    Raises ``ContractError`` where what comes back has another shape, isn't finite, leaves the bounds, or is farther from
    ``x`` than epsilon.
    """
    import foolbox  # noqa: PLC0415

    model = foolbox.PyTorchModel(_Predictive(networks).eval(), bounds=bounds, device=device)
    model.networks = networks  # for an attack that looks at single draws
    run: Any = attack.foolbox()
    positive = [epsilon for epsilon in attack.epsilons if epsilon > 0]
    minimises = Terms.of(attack).minimises
    parts: list[list[Tensor]] = []
    size = chunk_size(device, x)
    for images, labels in zip(x.split(size), y.split(size), strict=True):
        images, labels = images.to(device, copy=True), labels.to(device)  # noqa: PLW2901
        _, clipped, _ = run(model, images, labels, epsilons=[None] if minimises else positive)
        if minimises:
            verify(attack, images, clipped[0], math.inf, bounds)
            clipped = [*(resized(images, clipped[0], epsilon, attack.norm, bounds) for epsilon in positive), clipped[0]]
        for epsilon, adversarial in zip(positive, clipped, strict=False):
            verify(attack, images, adversarial, epsilon, bounds)
        parts.append([image.detach().cpu() for image in clipped])
    made = [torch.cat(part) for part in zip(*parts, strict=True)]
    smallest = made.pop() if minimises else None
    crafted = iter(made)
    return Crafted([next(crafted) if epsilon > 0 else x for epsilon in attack.epsilons], smallest)


def resized(clean: Tensor, adversarial: Tensor, epsilon: float, norm: str, bounds: tuple[float, float]) -> Tensor:
    """The same direction at size epsilon, clipped to the bounds; an image that wasn't moved stays.

    An attacker with a budget spends it: what ends at the boundary of its own draws is a coin's toss for fresh ones.
    """
    size = distance(adversarial, clean, norm)
    factor = torch.where(size > 0, epsilon / size.clamp_min(1e-12), 0.0)
    return stretched(clean, adversarial, factor, bounds)


def stretched(clean: Tensor, adversarial: Tensor, factor: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Perturbations times ``factor``, a number for each of the images ``[N]``, clipped to the bounds."""
    factor = factor.view(-1, *[1] * (clean.dim() - 1))
    return (clean + factor * (adversarial - clean)).clamp(*bounds)


def distance(a: Tensor, b: Tensor, norm: str) -> Tensor:
    """Distance between images ``[N, ...]`` in the norm ``linf`` or ``l2``, ``[N]``, in units of the pixels."""
    return (a - b).flatten(1).norm(p=float("inf") if norm == "linf" else 2.0, dim=1)


def verify(attack: Attack, clean: Tensor, adversarial: Tensor, epsilon: float, bounds: tuple[float, float]) -> None:
    """Raise ``ContractError`` unless ``adversarial`` obeys the threat model."""
    if adversarial.shape != clean.shape or not adversarial.isfinite().all():
        raise ContractError(
            f"attack '{attack.name}' returned images of another shape or with values that aren't finite."
        )
    low, high = adversarial.min().item(), adversarial.max().item()
    if low < bounds[0] - TOLERANCE or high > bounds[1] + TOLERANCE:
        raise ContractError(f"attack '{attack.name}' returned pixels in [{low}, {high}], outside {list(bounds)}.")
    farthest = distance(adversarial, clean, attack.norm).max().item()
    if farthest > epsilon + TOLERANCE:
        raise ContractError(
            f"attack '{attack.name}' returned an image at {attack.norm} distance {farthest}, beyond epsilon {epsilon}."
        )
