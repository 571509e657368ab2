"""Ascent on the log odds against the right class: the loss of gradient attacks, and one epsilon after the other."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bbh_bench.attacks.threat_model import stretched

Answer = tuple[None, list[Tensor], None]
"""As Foolbox's attacks answer: the second is the images, clipped to the ball, at each epsilon."""
CERTAIN = 2.0
"""Log odds against the right class, by the attacker's draws, at which an image is turned for fresh ones too: p is 0.12."""
AHEAD = 2.0
"""How many times as likely another class must be then: of many unlikely classes the right one may still be the likeliest."""


def log_odds_against(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Log odds against the right class ``[B]`` from log-probabilities ``[B, K]``: what gradient attacks raise.

    It rises and falls with the negative log-likelihood, and its gradient is that of the log mean softmax over 1 - p. The
    factor keeps confident networks from masking their gradients: where p rounds to 1, the likelihood's is zero.
    """
    right = F.one_hot(labels, log_probs.shape[1]).bool()
    others = log_probs.masked_fill(right, -torch.inf).logsumexp(1)
    return others - log_probs.gather(1, labels[:, None]).squeeze(1)


def raising_log_odds(attack: Any) -> Any:
    """A gradient attack of Foolbox's with that loss instead of cross-entropy."""

    def get_loss_fn(model: Any, labels: Any) -> Callable[[Any], Any]:
        return lambda x: type(x)(log_odds_against(model(x).raw, labels.raw).sum())

    attack.get_loss_fn = get_loss_fn
    return attack


@torch.no_grad()
def rising(
    attack: Any, restarts: int, model: Any, inputs: Tensor, labels: Tensor, *, epsilons: Sequence[float]
) -> Answer:
    """Attack at one epsilon after the other, each time only the images that aren't turned for certain.

    Those that a smaller epsilon turned are stretched to the larger ball first. Of all that was tried on an image, the one of
    the highest loss is kept.
    """
    log_probs = model(inputs)
    best, loss, certain = inputs.clone(), log_odds_against(log_probs, labels), _turned_for_certain(log_probs, labels)

    def offer(where: Tensor, candidates: Tensor) -> None:
        log_probs = model(candidates)
        value = log_odds_against(log_probs, labels[where])
        better = value > loss[where]
        taken = where.nonzero().squeeze(1)[better]
        best[taken], loss[taken] = candidates[better], value[better]
        certain[taken] = _turned_for_certain(log_probs, labels[where])[better]

    before, found = 0.0, []
    for epsilon in epsilons:
        if before:
            every = torch.ones_like(labels, dtype=torch.bool)
            offer(every, stretched(inputs, best, torch.full_like(loss, epsilon / before), model.bounds))
        for _ in range(restarts):
            left = ~certain
            if left.any():
                with torch.enable_grad():
                    _, (adversarial,), _ = attack(model, inputs[left], labels[left], epsilons=[epsilon])
                offer(left, adversarial)
        found.append(best.clone())
        before = epsilon
    return None, found, None


def _turned_for_certain(log_probs: Tensor, labels: Tensor) -> Tensor:
    right = log_probs.gather(1, labels[:, None]).squeeze(1)
    other = log_probs.scatter(1, labels[:, None], -torch.inf).amax(1)
    return (log_odds_against(log_probs, labels) >= CERTAIN) & (other - right >= math.log(AHEAD))
