"""Gradient attacks through Foolbox, and the loss that they increase: the log odds against the label.

The attacked model is the log mean softmax of the attacker's samples, which stay the same for all steps. Its gradient is
therefore that of the posterior's own predictions (expectation over transformation: Athalye et al. 2018, arXiv 1802.00420).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bbh_bench.api import AttackAlgorithm, Norm, RunAttack
from bbh_bench.attacks.ball import scaled
from bbh_bench.attacks.losses import log_odds_against, margin
from bbh_bench.attacks.threat_model import require_norm

CERTAIN_LOG_ODDS = 2.0
"""Log odds against the label, on the attacker's samples, from which on an image is certainly misclassified on fresh samples
too: the label then has the probability 0.12."""
CERTAIN_RATIO = 2.0
"""How many times as likely as the label another class must be as well: among many unlikely classes the label may still be the
likeliest."""


@dataclass(frozen=True)
class Fgsm(AttackAlgorithm):
    """Fast gradient sign method, one step in L-infinity (Goodfellow et al. 2015, arXiv 1412.6572)."""

    def foolbox(self, norm: Norm) -> RunAttack:
        """Foolbox's attack, from the clean image: no random start. Raises ``ContractError`` for L2."""
        from foolbox.attacks import LinfFastGradientAttack

        require_norm(self, norm, "linf")
        return increasing_log_odds(LinfFastGradientAttack(random_start=False))


@dataclass(frozen=True)
class Pgd(AttackAlgorithm):
    """Projected gradient descent in L-infinity or L2 (Madry et al. 2018, arXiv 1706.06083).

    It takes the epsilons in increasing order, and attacks an image again only if it is not certainly misclassified yet.
    """

    steps: int = 40
    rel_stepsize: float = 0.1
    """Step size relative to epsilon. Foolbox's default suits its own number of steps and does not follow ``steps``."""
    restarts: int = 1
    """Runs from random points of the ball. An image that one of them misclassifies for certain is not attacked again."""

    def foolbox(self, norm: Norm) -> RunAttack:
        """Foolbox's attack with random starts, inside ``epsilon_sweep``."""
        return partial(epsilon_sweep, _pgd(norm, self.steps, self.rel_stepsize), self.restarts)

    def stronger(self) -> Mapping[str, "Pgd"]:
        """2.5 times the steps, of half the size; and twice the restarts."""
        return {
            "iterations": replace(self, steps=self.steps * 5 // 2, rel_stepsize=self.rel_stepsize / 2),
            "restarts": replace(self, restarts=2 * self.restarts),
        }


@dataclass(frozen=True)
class PlainPgd(AttackAlgorithm):
    """Projected gradient descent from one random start, for every image at every epsilon (Madry et al. 2018)."""

    steps: int = 40
    rel_stepsize: float = 0.1
    """Step size relative to epsilon."""

    def foolbox(self, norm: Norm) -> RunAttack:
        """Foolbox's attack."""
        return _pgd(norm, self.steps, self.rel_stepsize)


def _pgd(norm: Norm, steps: int, rel_stepsize: float) -> RunAttack:
    from foolbox.attacks import L2PGD, LinfPGD

    pgd = LinfPGD if norm == "linf" else L2PGD
    return increasing_log_odds(pgd(rel_stepsize=rel_stepsize, steps=steps, random_start=True))


def increasing_log_odds(attack: Any) -> Any:
    """The same gradient attack of Foolbox with the log odds against the label as its loss, in place of cross-entropy."""

    def get_loss_fn(model: Any, labels: Any) -> Callable[[Any], Any]:
        return lambda x: type(x)(log_odds_against(model(x).raw, labels.raw).sum())

    attack.get_loss_fn = get_loss_fn
    return attack


@torch.no_grad()
def epsilon_sweep(
    attack: RunAttack, restarts: int, model: Any, inputs: Tensor, labels: Tensor, *, epsilons: Sequence[float]
) -> tuple[None, list[Tensor], None]:
    """Attack at increasing ``epsilons``, each time only the images that are not certainly misclassified yet.

    The perturbations of the previous epsilon are first scaled to the larger ball. Of all candidates for an image, the one with
    the highest loss is kept. Called as a Foolbox attack: see ``api.RunAttack``.
    """
    log_probs = model(inputs)
    best, loss, certain = inputs.clone(), log_odds_against(log_probs, labels), _certain(log_probs, labels)

    def keep_best(where: Tensor, candidates: Tensor) -> None:
        log_probs = model(candidates)
        value = log_odds_against(log_probs, labels[where])
        better = value > loss[where]
        improved = where.nonzero().squeeze(1)[better]
        best[improved], loss[improved] = candidates[better], value[better]
        certain[improved] = _certain(log_probs, labels[where])[better]

    previous, adversarial = 0.0, []
    for epsilon in epsilons:
        if previous:
            all_images = torch.ones_like(labels, dtype=torch.bool)
            keep_best(all_images, scaled(inputs, best, torch.full_like(loss, epsilon / previous), model.bounds))
        for _ in range(restarts):
            remaining = ~certain
            if remaining.any():
                with torch.enable_grad():
                    _, (candidates,), _ = attack(model, inputs[remaining], labels[remaining], epsilons=[epsilon])
                keep_best(remaining, candidates)
        adversarial.append(best.clone())
        previous = epsilon
    return None, adversarial, None


def _certain(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Whether images are certainly misclassified ``[B]``."""
    twice_as_likely = margin(log_probs, labels) >= math.log(CERTAIN_RATIO)
    return (log_odds_against(log_probs, labels) >= CERTAIN_LOG_ODDS) & twice_as_likely
