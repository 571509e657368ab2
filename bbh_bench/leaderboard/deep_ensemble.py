"""The deep-ensemble equivalent: how many independent networks, averaged, have the same likelihood as a method.

Ashukha et al. 2020 (arXiv 2002.06470, "deep ensemble equivalent"). Both sides have the best temperature each
(``bbh_bench.calibration``). The seeds of ``map`` are independent networks, so that ensembles of up to as many members as there
are seeds are formed from stored predictions, without another fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Literal

import numpy as np

from bbh_bench.calibration import scaled_nll, shuffled
from bbh_bench.leaderboard.images import TEST_SET, UNREADABLE, ReadArrays, read_test_set
from bbh_bench.records.record import Record

SINGLE = "map"
"""The method whose seeds are the members."""
SUBSETS = 20
"""Of the networks, at most, over which the score of an ensemble of each size is averaged."""
LARGEST = 20
"""Members of an ensemble at most: the curve is flat long before."""
SAME = 1e-9
"""Relative difference of scores that counts as none, as in ``verify``."""


@dataclass(frozen=True)
class Equivalent:
    """A number of members, or a bound of it."""

    members: float
    bound: Literal["", "<", ">"] = ""
    """``<``: worse than a single network, whose ``members`` is 1. ``>``: better than the largest ensemble that there is."""

    def __str__(self) -> str:
        return f"{self.bound} {self.members:.0f}" if self.bound else f"{self.members:.1f}"


def read_curve(records: Sequence[Record], read: ReadArrays) -> list[float]:
    """``ensemble_curve`` of the records of ``map`` among those of one task; empty if there are none to read.

    Records whose predictions are missing or damaged, or of other images than the first one's, are left out.
    """
    log_probs: list[np.ndarray] = []
    labels: np.ndarray | None = None
    own = sorted((r for r in records if r.finished and r.method.name == SINGLE), key=lambda record: record.seed)
    for record in own if own and own[0].task.kind == "classification" else ():
        try:
            its_labels, its_log_probs = read_test_set(read(record, TEST_SET))
        except UNREADABLE:
            continue
        labels = its_labels if labels is None else labels
        same_images = np.array_equal(labels, its_labels)
        if same_images and its_log_probs.shape == (log_probs[0].shape if log_probs else its_log_probs.shape):
            log_probs.append(its_log_probs)
    return [] if labels is None else ensemble_curve(log_probs, labels)


def ensemble_curve(log_probs: Sequence[np.ndarray], labels: np.ndarray) -> list[float]:
    """``nll_scaled`` of ensembles of k = 1, 2, ... of n networks, in nats: as many values as networks, or ``LARGEST``.

    ``log_probs``: normalised log-probabilities ``[N, K]`` of each network; ``labels`` ``[N]``. An ensemble averages the
    probabilities of its members. Each value is the mean over ``subsets``. Those of large k share most of their members and
    vary less than those of other networks would: the last value is that of a single ensemble.
    """
    networks = np.stack(log_probs)
    sizes = range(1, min(len(networks), LARGEST) + 1)
    return [float(np.mean([_score(networks[list(each)], labels) for each in subsets(len(networks), k)])) for k in sizes]


def _score(members: np.ndarray, labels: np.ndarray) -> float:
    """``nll_scaled`` of the mean probabilities of some networks, whose log-probabilities are ``[k, N, K]``."""
    return scaled_nll(np.logaddexp.reduce(members, axis=0), labels)


def subsets(n: int, k: int) -> list[tuple[int, ...]]:
    """All subsets of k of n networks if there are at most ``SUBSETS``, else so many different ones; the same on each call.

    The latter are neighbours in random rings of all networks, so that each network is in about as many subsets as the others.
    """
    if comb(n, k) <= SUBSETS:
        return list(combinations(range(n), k))
    chosen: dict[tuple[int, ...], None] = {}
    seed = 0
    while len(chosen) < SUBSETS:
        ring = np.tile(shuffled(n, seed), 2)
        chosen |= {tuple(sorted(ring[start : start + k].tolist())): None for start in range(n)}
        seed += 1
    return list(chosen)[:SUBSETS]


def equivalent(curve: Sequence[float], nll_scaled: float) -> Equivalent | None:
    """The smallest number of members whose ensemble is at least as good, between two sizes by linear interpolation.

    ``curve``: ``ensemble_curve``, made monotone by its running minimum, since chance can make a larger ensemble worse.
    ``nll_scaled``: of the method. None if the curve is empty or the score is not a number.
    """
    if len(curve) == 0 or np.isnan(nll_scaled):
        return None
    best = np.minimum.accumulate(curve)
    slack = SAME * abs(nll_scaled)
    if nll_scaled > best[0] + slack:
        return Equivalent(1.0, "<")
    reached = np.flatnonzero(best <= nll_scaled + slack)
    if len(reached) == 0:
        return Equivalent(float(len(curve)), ">")
    last = int(reached[0])
    if last == 0:
        return Equivalent(1.0)
    share = min(1.0, (best[last - 1] - nll_scaled) / (best[last - 1] - best[last]))
    return Equivalent(float(last + share))
