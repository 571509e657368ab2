"""The predictive distribution: the probabilities of n frozen networks, averaged, in bounded memory."""

import math
import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from bbh_bench.api import Arrays, PredictFn
from bbh_bench.errors import BenchWarning, ContractError

STORED = ("log_odds", "mutual_information")
"""Names of the arrays that ``predict`` returns and ``decode`` reads."""
OOD_SCORE = "ood_score"
"""Name of the array that ``ood_scores.scored`` returns and ``decode`` reads, too."""
PROBABILITIES = (
    "the posterior's outputs look like probabilities: none is negative, and those of each input sum to one. Its networks must "
    "return logits: for probabilities p, return log(p)."
)
"""Text of the warning that ``predict`` issues."""


@dataclass(frozen=True)
class Predictions:
    """The predictive distribution of N inputs, as it was stored. All scores are computed from it."""

    log_probs: np.ndarray
    """Log of the mean probability of each class, ``[N, K]``, float64, normalised."""
    mutual_information: np.ndarray
    """Of class and network ``[N]``, in nats: the epistemic part of the entropy (Houlsby et al. 2011, eq. 2)."""
    ood_score: np.ndarray | None = None
    """The method's own score ``[N]``, float64, higher for OOD: see ``api.OodDetector``. None for a method without one, and for
    images other than those of the test set and the OOD sets."""

    @cached_property
    def probs(self) -> np.ndarray:
        """Mean probabilities ``[N, K]``."""
        return np.exp(self.log_probs)

    @cached_property
    def entropy(self) -> np.ndarray:
        """Entropy of the mean probabilities ``[N]``, in nats: total uncertainty."""
        return -np.sum(self.probs * self.log_probs, axis=1)

    @property
    def max_entropy(self) -> float:
        """The largest possible entropy, log K, in nats."""
        return float(np.log(self.log_probs.shape[1]))


def log_mean_softmax(logits: Tensor) -> Tensor:
    """Logits of n networks ``[n, B, K]`` -> log of their mean probabilities ``[B, K]``, without underflow."""
    return torch.log_softmax(logits, -1).logsumexp(0) - float(np.log(len(logits)))


def looks_like_probabilities(outputs: Tensor) -> bool:
    """Whether all outputs ``[n, B, K]`` could be probabilities: not negative, and each row sums to one within 1e-3.

    False for a single class, K = 1, and for no outputs at all.
    """
    if outputs.shape[-1] < 2 or outputs.numel() == 0:
        return False
    return bool((outputs >= 0).all() and ((outputs.sum(-1) - 1).abs() <= 1e-3).all())


def chunk_size(device: torch.device, x: Tensor) -> int:
    """How many of the inputs ``x`` ``[N, ...]`` n networks should predict at once: 100 of MNIST's 784 pixels on a CPU.

    The activations should fit into a core's cache, or fill a GPU. They grow with the number of pixels.
    """
    pixels = max(1, math.prod(x.shape[1:]))
    return max(1, (2000 if device.type == "cuda" else 100) * 784 // pixels)


@torch.no_grad()
def predict(networks: PredictFn, x: Tensor, device: torch.device, classes: int) -> Arrays:
    """Average n frozen networks over inputs ``x`` ``[N, ...]``, for K ``classes``.

    Returns ``log_odds`` ``[N, K]``, the log mean probabilities minus the largest of each row, and ``mutual_information``
    ``[N]``, both float16. The relative error of half precision is 0.05 %, here of the log-ratio of two probabilities, and
    the files of hundreds of cells stay small enough for git. ``decode`` reads the arrays back.

    Raises ``ContractError`` if outputs do not have the shape ``[n, N, K]`` with n of at least 1, or are not finite. Issues a
    ``BenchWarning`` if the outputs for the first inputs look like probabilities.
    """
    log_odds, information = [], []
    for k, part in enumerate(x.split(chunk_size(device, x))):
        logits = networks(part.to(device, copy=True))  # a method may change its copy
        _check_outputs(logits, len(part), classes)
        if k == 0 and looks_like_probabilities(logits):
            warnings.warn(PROBABILITIES, BenchWarning, stacklevel=3)  # the caller; 2 is torch's no_grad
        each = torch.log_softmax(logits.double(), -1)
        mean = log_mean_softmax(logits.double())
        total = -(mean.exp() * mean).sum(-1)
        aleatoric = -(each.exp() * each).sum(-1).mean(0)
        log_odds.append((mean - mean.amax(-1, keepdim=True)).clamp(min=-60000.0).cpu())
        information.append((total - aleatoric).clamp(min=0.0).cpu())  # below zero only by rounding
    return {
        "log_odds": torch.cat(log_odds).numpy().astype(np.float16),
        "mutual_information": torch.cat(information).numpy().astype(np.float16),
    }


def _check_outputs(logits: Tensor, inputs: int, classes: int) -> None:
    shape = list(logits.shape)
    if len(shape) != 3 or shape[0] == 0 or shape[1:] != [inputs, classes]:
        raise ContractError(
            f"the posterior's networks returned the shape {shape} for {inputs} inputs; "
            f"it must be [n, {inputs}, {classes}]: networks, inputs, classes."
        )
    if not logits.isfinite().all():
        bad = int((~logits.isfinite()).any(-1).any(0).sum())
        raise ContractError(
            f"the posterior's networks returned values that are not finite for {bad} of {inputs} inputs: "
            "the training has diverged, or the logarithm of zero was taken."
        )


def decode(arrays: Arrays, prefix: str) -> Predictions:
    """Read back what ``predict`` returned and the task stored as ``<prefix>/log_odds`` and ``<prefix>/mutual_information``.

    ``<prefix>/ood_score`` is read if it is there (``bbh_bench.evaluation.ood_scores``).
    """
    log_odds = arrays[f"{prefix}/log_odds"].astype(np.float64)
    log_probs = log_odds - np.log(np.exp(log_odds).sum(axis=1, keepdims=True))  # the largest log-odds are 0
    score = arrays.get(f"{prefix}/{OOD_SCORE}")
    return Predictions(
        log_probs,
        arrays[f"{prefix}/mutual_information"].astype(np.float64),
        None if score is None else score.astype(np.float64),
    )
