"""The threat model: what an attacker knows and may do to an image, and the check that no attack does more.

White box, of which an attack may use less. The attacker has the posterior and samples networks from it, but it does not know
the samples on which the attack is evaluated. Perturbations are in pixel space, within the attack's norm, clipped to the
range of pixel values. The results of Foolbox are checked, not trusted. ``docs/threat-model.md`` explains why.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bbh_bench.api import Attack, AttackAlgorithm, Norm, PredictFn, RunAttack
from bbh_bench.attacks.ball import distance, scaled_to
from bbh_bench.attacks.networks import AttackerNetworks
from bbh_bench.errors import ContractError
from bbh_bench.evaluation.predictive import chunk_size, log_mean_softmax

TOLERANCE = 1e-5  # float32 rounding of a sum and a difference of pixels in [0, 1]
VERSION = 2
"""Raise it when the attacker may do something else."""


def threat_model(bounds: tuple[float, float], samples: int) -> dict[str, Any]:
    """What all attacks of a cell have in common, for its record. ``samples``: number of fresh samples."""
    return {
        "version": VERSION,
        "access": "white box: the attacker knows the posterior and can sample networks from it",
        "gradient": "of functions of the mean softmax of networks that the attacker samples (each attack's `samples`)",
        "perturbation": "of the pixels, within an L-infinity or L2 ball (each attack's `norm`), clipped to the bounds",
        "bounds": list(bounds),
        "evaluated": (
            f"on {samples} fresh samples, which the attacker does not know; adaptive attacks also attack {samples} known "
            "samples and are evaluated on these"
        ),
        "goal": "untargeted: any class other than the label",
    }


class _Predictive(nn.Module):
    """Frozen networks as one classifier: its logits are the log mean probabilities ``[B, K]``.

    The cross-entropy of an attack is then the negative log-likelihood of the predictive distribution.
    """

    def __init__(self, networks: PredictFn) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, x: Tensor) -> Tensor:
        if not x.requires_grad:
            x = x.clone()  # networks without gradients could change their inputs, and with them the attacked images
        return log_mean_softmax(self.networks(x))


@dataclass(frozen=True)
class AdversarialExamples:
    """The result of an attack on N images, on the CPU."""

    images: list[Tensor]
    """For each epsilon, ``[N, ...]``."""
    smallest: Tensor | None
    """If the attack minimises: the images with the perturbations that it found, of any size, ``[N, ...]``."""


def craft(
    attack: Attack,
    networks: PredictFn,
    x: Tensor,
    y: Tensor,
    bounds: tuple[float, float],
    device: torch.device,
    starts: Sequence[Tensor] | None = None,
) -> AdversarialExamples:
    """Attack images ``x`` ``[N, ...]`` with labels ``y`` ``[N]``; ``networks`` are the attacker's samples.

    ``starts``, for algorithms with ``checks``: images ``[N, ...]`` for each epsilon that the attack tries first. Raises
    ``ContractError`` if a result is missing, has another shape, is not finite, leaves the bounds, or is farther from ``x``
    than epsilon.
    """
    import foolbox

    model = foolbox.PyTorchModel(_Predictive(networks).eval(), bounds=bounds, device=device)
    model.networks = AttackerNetworks.of(networks)  # for an attack that looks at single samples or groups of them
    run = attack.algorithm.foolbox(attack.norm)
    size = chunk_size(device, x)
    chunks = []
    for part in torch.arange(len(x)).split(size):
        images, labels = x[part].to(device, copy=True), y[part].to(device)
        points = None if starts is None else [start[part].to(device) for start in starts]
        adversarial = _run(attack, run, model, images, labels, points)
        chunks.append([perturbed.detach().cpu() for perturbed in adversarial])
    crafted = [torch.cat(parts) for parts in zip(*chunks, strict=True)]
    smallest = crafted.pop() if attack.algorithm.minimises else None
    at_positive = iter(crafted)
    return AdversarialExamples([next(at_positive) if epsilon > 0 else x for epsilon in attack.epsilons], smallest)


def _run(
    attack: Attack, run: RunAttack, model: Any, images: Tensor, labels: Tensor, starts: list[Tensor] | None
) -> list[Tensor]:
    """Verified images for each positive epsilon, and those with the smallest perturbations if the attack minimises.

    The attack gets a copy of the clean images: one that writes into them would else be compared with its own result.
    """
    at_positive = [k for k, epsilon in enumerate(attack.epsilons) if epsilon > 0]
    positive = [attack.epsilons[k] for k in at_positive]
    epsilons = [None] if attack.algorithm.minimises else positive
    if starts is None:
        _, adversarial, _ = run(model, images.clone(), labels, epsilons=epsilons)
    else:
        points = [starts[k] for k in at_positive]
        _, adversarial, _ = run(model, images.clone(), labels, epsilons=epsilons, starting_points=points)
    if len(adversarial) != len(epsilons):
        raise ContractError(
            f"attack '{attack.name}' returned images for {len(adversarial)} epsilons instead of {len(epsilons)}."
        )
    if attack.algorithm.minimises:
        (smallest,) = adversarial
        verify_perturbation(attack, images, smallest, math.inf, model.bounds)
        sized = [scaled_to(images, smallest, epsilon, attack.norm, model.bounds) for epsilon in positive]
        adversarial = [*sized, smallest]
    for epsilon, perturbed in zip(positive, adversarial, strict=False):
        verify_perturbation(attack, images, perturbed, epsilon, model.bounds)
    return adversarial


def require_norm(algorithm: AttackAlgorithm, norm: Norm, supported: Norm) -> None:
    """Raise ``ContractError`` unless ``norm`` is the one that the algorithm supports."""
    if norm != supported:
        raise ContractError(
            f"the attack algorithm {type(algorithm).__name__} supports the norm '{supported}', not '{norm}'."
        )


def verify_perturbation(
    attack: Attack, clean: Tensor, adversarial: Tensor, epsilon: float, bounds: tuple[float, float]
) -> None:
    """Raise ``ContractError`` unless images ``adversarial`` ``[N, ...]`` obey the threat model."""
    if adversarial.shape != clean.shape or not adversarial.isfinite().all():
        raise ContractError(
            f"attack '{attack.name}' returned images of another shape or with values that are not finite."
        )
    low, high = adversarial.min().item(), adversarial.max().item()
    if low < bounds[0] - TOLERANCE or high > bounds[1] + TOLERANCE:
        raise ContractError(f"attack '{attack.name}' returned pixels in [{low}, {high}], outside {list(bounds)}.")
    farthest = distance(adversarial, clean, attack.norm).max().item()
    if farthest > epsilon + TOLERANCE:
        raise ContractError(
            f"attack '{attack.name}' returned an image at {attack.norm} distance {farthest}, beyond epsilon {epsilon}."
        )
