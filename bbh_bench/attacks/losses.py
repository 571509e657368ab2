"""Losses that attacks increase: from the logits ``[n, B, K]`` of n networks and labels ``[B]`` to a value per image ``[B]``.

An attack is on the predictive distribution, the mean of the networks' probabilities. Most losses here are therefore functions
of the log mean probabilities ``[B, K]``.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from bbh_bench.evaluation.predictive import log_mean_softmax

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits ``[n, B, K]`` and labels ``[B]`` -> the loss of each image ``[B]``."""

SATURATED = 0.999
"""Probability of the label above which differences of probabilities lose their gradient in single precision."""


def log_odds_against(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Log odds against the label ``[B]``, log(1 - p) - log p, from log-probabilities ``[B, K]`` and labels ``[B]``.

    They increase with the negative log-likelihood, and their gradient is that of -log p times 1 / (1 - p). The factor keeps
    confident networks from masking their gradients: where p rounds to 1, the gradient of the likelihood is zero.
    """
    others = log_probs.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    return others - log_probs.gather(1, labels[:, None]).squeeze(1)


def margin(values: Tensor, labels: Tensor) -> Tensor:
    """Largest value of another class minus that of the label ``[B]``, from values ``[B, K]``: positive if misclassified."""
    other = values.scatter(1, labels[:, None], -torch.inf).amax(1)
    return other - values.gather(1, labels[:, None]).squeeze(1)


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Log odds against the label, of the mean probabilities."""
    return log_odds_against(log_mean_softmax(logits), labels)


def probability_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Margin of the mean probabilities; the log odds where the label's probability rounds to 1.

    A mean over networks of their probabilities has an unbiased gradient from any sample of the networks. The gradient of its
    logarithm is biased towards the networks that have the label's probability already low.
    """
    log_probs = log_mean_softmax(logits)
    saturated = log_probs.gather(1, labels[:, None]).squeeze(1).exp() > SATURATED
    return torch.where(saturated, log_odds_against(log_probs, labels), margin(log_probs.exp(), labels))


def log_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Margin of the log mean probabilities: of two logits, for a single network."""
    return margin(log_mean_softmax(logits), labels)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood of the mean probabilities."""
    return F.nll_loss(log_mean_softmax(logits), labels, reduction="none")


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over networks of their negative log-likelihoods: the loss of a network instead of the loss of the mean."""
    return -torch.log_softmax(logits, -1).mean(0).gather(1, labels[:, None]).squeeze(1)


def towards(targets: Tensor) -> Loss:
    """Mean probability of the classes ``targets`` ``[B]`` minus that of the label; log-probabilities where it rounds to 1."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        log_probs = log_mean_softmax(logits)
        label, target = (log_probs.gather(1, classes[:, None]).squeeze(1) for classes in (labels, targets))
        return torch.where(label.exp() > SATURATED, target - label, target.exp() - label.exp())

    return loss


LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        "log-odds": log_odds,
        "margin": probability_margin,
        "log-margin": log_margin,
        "cross-entropy": cross_entropy,
        "mean-cross-entropy": mean_cross_entropy,
    }
)
"""By the names that attacks use in their fields."""
