"""Baselines: random noise, which is no attack, and the attack of the paper's code, which is weaker than it looks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bbh_bench.api import AttackAlgorithm, Norm, RunAttack
from bbh_bench.attacks.threat_model import require_norm


@dataclass(frozen=True)
class Noise(AttackAlgorithm):
    """Random signs of size epsilon in L-infinity: a baseline that every attack should beat."""

    def foolbox(self, norm: Norm) -> RunAttack:
        """Does not call the model. Raises ``ContractError`` for L2."""
        require_norm(self, norm, "linf")
        return _random_signs


@dataclass(frozen=True)
class PaperFgsm(AttackAlgorithm):
    """The attack of the paper's code: the mean over samples of the FGSM image of each sample, in L-infinity.

    Pawlowski et al. 2017, arXiv 1711.01297. It does not attack the predictive distribution: where samples disagree, the mean
    of their signs is shorter than epsilon. The more the samples of a method differ, the weaker is the attack on it. It is
    here to show by how much. The paper does not clip the images; this attack does.
    """

    def foolbox(self, norm: Norm) -> RunAttack:
        """Computes one gradient for each sample. Raises ``ContractError`` for L2."""
        require_norm(self, norm, "linf")
        return _mean_of_signs


def _random_signs(
    model: Any, inputs: Tensor, labels: Tensor, *, epsilons: Sequence[float]
) -> tuple[None, list[Tensor], None]:
    return None, _step(model, inputs, torch.randn_like(inputs).sign(), epsilons), None


def _mean_of_signs(
    model: Any, inputs: Tensor, labels: Tensor, *, epsilons: Sequence[float]
) -> tuple[None, list[Tensor], None]:
    x = inputs.clone().requires_grad_()
    signs = torch.zeros_like(x)
    logits = model.networks(x)
    for sample in logits:
        (gradient,) = torch.autograd.grad(F.cross_entropy(sample, labels, reduction="sum"), x, retain_graph=True)
        signs += gradient.sign() / len(logits)
    return None, _step(model, inputs, signs, epsilons), None


def _step(model: Any, inputs: Tensor, direction: Tensor, epsilons: Sequence[float]) -> list[Tensor]:
    return [(inputs + epsilon * direction).clamp(*model.bounds) for epsilon in epsilons]
