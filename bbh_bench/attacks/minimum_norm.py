"""Attacks that search for the smallest L2 perturbation that changes the class.

The attacked model is the log mean softmax of the attacker's samples, as for gradient attacks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bbh_bench.api import AttackAlgorithm, Norm, RunAttack
from bbh_bench.attacks.threat_model import require_norm

HALVINGS = 10
"""Bisections between an image and one of another class, before the boundary walk starts."""


class MinimumNorm(AttackAlgorithm):
    """Base of the algorithms that minimise the size of the perturbation."""

    @property
    def minimises(self) -> bool:
        """True: there is no epsilon during the search."""
        return True


@dataclass(frozen=True)
class DeepFool(MinimumNorm):
    """DeepFool in L2: steps to the nearest face of the linearised decision boundary (Moosavi-Dezfooli et al. 2016).

    arXiv 1511.04599.
    """

    steps: int = 50

    def foolbox(self, norm: Norm) -> RunAttack:
        """Foolbox's attack, towards any class. Raises ``ContractError`` for another norm than L2."""
        from foolbox.attacks import L2DeepFoolAttack

        require_norm(self, norm, "l2")
        return L2DeepFoolAttack(steps=self.steps, candidates=None)


@dataclass(frozen=True)
class CarliniWagner(MinimumNorm):
    """Smallest L2 perturbation with a penalty on the margin of the logits (Carlini & Wagner 2017, arXiv 1608.04644)."""

    searches: int = 6
    """Number of weights of the penalty that are tried."""
    steps: int = 100
    """Steps of gradient descent for each weight."""
    stepsize: float = 0.02

    def foolbox(self, norm: Norm) -> RunAttack:
        """Foolbox's attack. Raises ``ContractError`` for another norm than L2."""
        from foolbox.attacks import L2CarliniWagnerAttack

        require_norm(self, norm, "l2")
        return L2CarliniWagnerAttack(
            binary_search_steps=self.searches, steps=self.steps, stepsize=self.stepsize, initial_const=1.0
        )


@dataclass(frozen=True)
class FastMinimumNorm(MinimumNorm):
    """Fast minimum-norm attack: a ball that shrinks to the decision boundary (Pintor et al. 2021, arXiv 2102.12827)."""

    steps: int = 100

    def foolbox(self, norm: Norm) -> RunAttack:
        """Foolbox's attack."""
        from foolbox.attacks import L2FMNAttack, LInfFMNAttack

        return (LInfFMNAttack if norm == "linf" else L2FMNAttack)(steps=self.steps)


@dataclass(frozen=True)
class Boundary(MinimumNorm):
    """Black box: a random walk along the L2 decision boundary, by predicted classes only (Brendel et al. 2018).

    arXiv 1712.04248. Foolbox's HopSkipJump needs fewer queries. But its search for a step does not end where rounding moves an
    image back to the correct side of the boundary.
    """

    steps: int = 1000
    stepsize: float = 0.1
    """Initial size of the steps along the boundary and towards the image, relative to the distance from the image. Foolbox's
    default of 0.01 needs 25,000 steps."""

    def foolbox(self, norm: Norm) -> RunAttack:
        """Foolbox's attack, started near the boundary towards the nearest image of the batch that gets another class.

        An image for which there is no such start stays as it is. Foolbox's own start, noise, raises if it fails for any image.
        Raises ``ContractError`` for another norm than L2.
        """
        from foolbox.attacks import BoundaryAttack

        require_norm(self, norm, "l2")
        walk = BoundaryAttack(steps=self.steps, spherical_step=self.stepsize, source_step=self.stepsize)
        return partial(_start_from_other_images, walk)


@torch.no_grad()
def _start_from_other_images(
    walk: RunAttack, model: Any, inputs: Tensor, labels: Tensor, *, epsilons: Sequence[float | None]
) -> tuple[None, list[Tensor], None]:
    distances = torch.cdist(inputs.flatten(1), inputs.flatten(1))
    distances[model(inputs).argmax(-1) == labels[:, None]] = torch.inf  # image j gets the class of image i: no start
    distance, nearest = distances.min(1)
    has_start = distance.isfinite()
    adversarial = [inputs.clone() for _ in epsilons]
    if has_start.any():
        y, inside, outside = labels[has_start], inputs[has_start], inputs[nearest[has_start]]
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            other_class = (model(middle).argmax(-1) != y).view(-1, *[1] * (middle.dim() - 1))
            inside, outside = torch.where(other_class, inside, middle), torch.where(other_class, middle, outside)
        _, clipped, _ = walk(model, inputs[has_start], y, epsilons=epsilons, starting_points=outside)
        for images, walked in zip(adversarial, clipped, strict=True):
            images[has_start] = walked
    return None, adversarial, None
