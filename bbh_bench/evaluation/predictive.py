"""The predictive distribution: n frozen networks averaged in probability space, in bounded memory."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bbh_bench.api import Arrays, Predict
from bbh_bench.errors import ContractError

STORED = ("log_odds", "mutual_information")
"""The arrays that ``predict`` makes and ``decode`` reads."""


@dataclass(frozen=True)
class Predictions:
    """The predictive of N inputs, as stored: everything that is scored comes from here."""

    log_probs: np.ndarray
    """Log of the mean probability of each class, ``[N, K]``, float64, normalised."""
    mutual_information: np.ndarray
    """Between class and network ``[N]``, in nats: the epistemic part of the entropy (Houlsby et al. 2011, eq. 2)."""

    @property
    def probs(self) -> np.ndarray:
        """Mean probabilities ``[N, K]``."""
        return np.exp(self.log_probs)

    @property
    def entropy(self) -> np.ndarray:
        """Of the mean probabilities ``[N]``, in nats: total uncertainty."""
        return -np.sum(self.probs * self.log_probs, axis=1)

    @property
    def max_entropy(self) -> float:
        """Log K, in nats."""
        return float(np.log(self.log_probs.shape[1]))


def log_mean_softmax(logits: Tensor) -> Tensor:
    """Logits of n networks ``[n, B, K]`` -> log of their mean probabilities ``[B, K]``, with no underflow."""
    return torch.log_softmax(logits, -1).logsumexp(0) - float(np.log(len(logits)))


def chunk_size(device: torch.device, x: Tensor) -> int:
    """How many of the inputs ``x`` ``[N, ...]`` to send through n networks at once: 100 of MNIST's 784 pixels on a CPU.

    Activations should fit a core's cache, or fill a GPU; they grow with the number of pixels.
    """
    pixels = max(1, math.prod(x.shape[1:]))
    return max(1, (2000 if device.type == "cuda" else 100) * 784 // pixels)


@torch.no_grad()
def predict(networks: Predict, x: Tensor, device: torch.device, classes: int) -> Arrays:
    """Average n frozen networks over inputs ``x`` ``[N, ...]``, K ``classes``.

    Returns ``log_odds`` ``[N, K]``, the log mean probabilities less each row's largest, and ``mutual_information``
    ``[N]``, both float16: the range of logarithms makes half precision exact to 0.05 % of every log-ratio, and a board of
    hundreds of cells fits in git. ``decode`` reads them back.

    Raises ``ContractError`` for outputs of another shape than ``[n, N, K]``, n at least 1, and for those that aren't finite.
    """
    log_odds, information = [], []
    for part in x.split(chunk_size(device, x)):
        logits = networks(part.to(device, copy=True))  # a method may spoil its copy
        shape = list(logits.shape)
        if len(shape) != 3 or shape[0] == 0 or shape[1:] != [len(part), classes]:
            raise ContractError(
                f"the posterior's networks answered {len(part)} inputs with shape {shape}; "
                f"it must be [n, {len(part)}, {classes}]: networks, inputs, classes."
            )
        if not logits.isfinite().all():
            bad = int((~logits.isfinite()).any(-1).any(0).sum())
            raise ContractError(
                f"the posterior's networks gave outputs that aren't finite for {bad} of {len(part)} inputs: "
                "the training has diverged, or a logarithm of zero was taken."
            )
        each = torch.log_softmax(logits.double(), -1)
        mean = log_mean_softmax(logits.double())
        total = -(mean.exp() * mean).sum(-1)
        aleatoric = -(each.exp() * each).sum(-1).mean(0)
        log_odds.append((mean - mean.amax(-1, keepdim=True)).clamp(min=-60000.0).cpu())
        information.append((total - aleatoric).clamp(min=0.0).cpu())  # below zero by rounding alone
    return {
        "log_odds": torch.cat(log_odds).numpy().astype(np.float16),
        "mutual_information": torch.cat(information).numpy().astype(np.float16),
    }


def decode(arrays: Arrays, prefix: str) -> Predictions:
    """Read back what ``predict`` made and the task stored under ``prefix``."""
    log_odds = arrays[f"{prefix}/log_odds"].astype(np.float64)
    log_probs = log_odds - np.log(np.exp(log_odds).sum(axis=1, keepdims=True))  # the largest log-odds are 0
    return Predictions(log_probs, arrays[f"{prefix}/mutual_information"].astype(np.float64))
