"""How close a predictive distribution is to that of the exact posterior: agreement and total variation.

Izmailov et al. 2021, arXiv 2104.14421, section 3: for a classification, *agreement* is the share of inputs for which both have
the same most probable class, and *total variation* is half the sum over classes of the absolute differences of their
probabilities, averaged over inputs. It is in [0, 1]. For a regression, the classes are intervals of the target.
"""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from bbh_bench.api import Arrays, Scores
from bbh_bench.errors import ContractError
from bbh_bench.evaluation.stored import StoredRegression, read_ood, read_test
from bbh_bench.records.record import Direction

DIRECTIONS: Mapping[str, Direction] = {
    "total_variation": "lower",
    "total_variation_floor": "neither",
    "agreement": "higher",
}
"""Which values are better, by the last part of a score's name. The floor is that of the reference, the same for all methods."""

ReferenceArrays: TypeAlias = Mapping[str, np.ndarray]
"""The predictive distribution of the exact posterior. Of a classification: probabilities ``[N, K]`` by the name of the set,
``test`` or ``ood/<set>``. Of a regression, for the sets ``inside`` and ``outside`` of the training range: probabilities
``[P, K]`` of intervals of the target, and ``<set>/x`` ``[P]``, points of the grid; ``edges`` ``[K - 1]`` between K intervals,
of which the first and the last are unbounded."""


def agreement(probs: np.ndarray, reference: np.ndarray) -> float:
    """Share of inputs for which both distributions, ``[N, K]`` each, have the same most probable class."""
    return float(np.mean(probs.argmax(axis=1) == reference.argmax(axis=1)))


def total_variation(probs: np.ndarray, reference: np.ndarray) -> float:
    """Mean over inputs of half the L1 distance between both distributions, ``[N, K]`` each: in [0, 1]."""
    return float(np.abs(probs - reference).sum(axis=1).mean() / 2)


def of_classification(arrays: Arrays, reference: ReferenceArrays) -> Scores:
    """``<set>/agreement`` and ``<set>/total_variation`` of every set that the reference has.

    Raises ``ContractError`` if a set is missing or has other inputs.
    """
    predictions = {"test": read_test(arrays)} | {f"ood/{name}": each for name, each in read_ood(arrays).items()}
    scores: Scores = {}
    for name, expected in reference.items():
        probs = predictions[name].probs if name in predictions else np.empty(0)
        if probs.shape != expected.shape:
            raise ContractError(
                f"the stored predictions of the set '{name}' have the shape {list(probs.shape)}, and the reference predictive "
                f"has {list(expected.shape)}: they belong to other data."
            )
        scores[f"{name}/agreement"] = agreement(probs, expected)
        scores[f"{name}/total_variation"] = total_variation(probs, expected)
    return scores


def of_regression(arrays: Arrays, reference: ReferenceArrays) -> Scores:
    """``inside/total_variation`` and ``outside/total_variation``: over points inside and outside the training range.

    Raises ``ContractError`` if a point of the reference is not on the stored grid.
    """
    stored = StoredRegression.read(arrays)
    scores: Scores = {}
    for name in ("inside", "outside"):
        x = reference[f"{name}/x"]
        index = np.abs(stored.grid[:, None] - x).argmin(axis=0)
        if not np.allclose(stored.grid[index], x, rtol=0, atol=1e-6):
            raise ContractError(
                "points of the reference predictive are not on the stored grid: it belongs to other data."
            )
        probs = interval_probabilities(stored.outputs[:, index], stored.noise, reference["edges"])
        scores[f"{name}/total_variation"] = total_variation(probs, reference[name])
    return scores


def interval_probabilities(outputs: np.ndarray, noise: float, edges: np.ndarray) -> np.ndarray:
    """Probabilities ``[P, K]`` of the K intervals between ``edges`` ``[K - 1]``, under an equal mixture of n normal densities.

    ``outputs`` ``[n, P]`` are their means at each of P points, ``noise`` is the standard deviation of each.
    """
    from scipy.stats import norm

    below = np.zeros((outputs.shape[1], len(edges)))
    for means in outputs:  # one by one: all at once would take gigabytes
        below += norm.cdf(edges, means[:, None], noise)
    below /= len(outputs)
    ends = np.zeros((len(below), 1)), np.ones((len(below), 1))
    return np.diff(np.concatenate([ends[0], below, ends[1]], axis=1), axis=1)
