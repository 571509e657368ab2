"""Which of two methods is better on a score: paired tests over seeds, and over seeds and test images together.

All tests take differences of two methods on the same seeds, because methods share what a seed decides: the order of the
batches, and ``map`` and ``ensemble`` even a network. Nothing is said of methods with fewer than three seeds in common.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL = 0.05
"""Of every claim: how often it may be wrong if nothing differs."""
FEWEST_SEEDS = 3
"""Below, a method is provisional: it gets no rank, and takes no part in comparisons."""


@dataclass(frozen=True)
class Test:
    """A paired difference, first less second, and how surprising it is if there is none."""

    difference: float
    p: float
    """Two-sided. 1 if nothing can be said."""
    seeds: int
    """In common."""
    images: int | None
    """Test images, where the test is over them as well."""


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % t interval of a mean. NaN for fewer than two values."""
    n = len(values)
    if n < 2:
        return float("nan")
    return float(stdtrit(n - 1, 1 - LEVEL / 2) * np.std(values, ddof=1) / n**0.5)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Test:
    """The paired t test over the seeds that both methods have; scores by seed.

    Where all differences are equal, their noise is unknown (a score may count few images): then nothing can be said.
    """
    seeds = sorted(first.keys() & second.keys())
    means, p, n = _paired_tests(np.array([[first[seed] - second[seed] for seed in seeds]]))
    return Test(float(means[0]), float(p[0]), int(n[0]), None)


def _paired_tests(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, values of p and numbers of seeds of each row of ``differences`` [pairs, seeds]; NaN where a seed is missing."""
    known = ~np.isnan(differences)
    n = known.sum(axis=1)
    means = np.divide(np.where(known, differences, 0).sum(axis=1), n, out=np.full(len(n), np.nan), where=n > 0)
    squares = np.where(known, differences - means[:, None], 0.0) ** 2
    largest = np.where(known, differences, -np.inf).max(axis=1, initial=-np.inf)
    smallest = np.where(known, differences, np.inf).min(axis=1, initial=np.inf)
    testable = (n >= FEWEST_SEEDS) & (largest > smallest)
    freedom = np.where(testable, n - 1, 1)
    errors = np.sqrt(squares.sum(axis=1) / freedom / np.maximum(n, 1))
    t = np.divide(means, errors, out=np.zeros(len(n)), where=testable)
    return means, np.where(testable, 2 * stdtr(freedom, -np.abs(t)), 1.0), n


def crossed(first: Mapping[int, np.ndarray], second: Mapping[int, np.ndarray]) -> Test:
    """The paired test over seeds and over images, so that the difference should be there with other seeds and other images.

    ``first`` and ``second`` have values ``[images]`` by seed, of the same images. ``p`` is the larger one of two tests. One is
    the paired test over seeds. The other takes seeds and images as crossed samples, as studies with several readers and cases
    do (Obuchowski and Rockette 1995): for differences d of S seeds and I images, the variance of their mean is at most
    (MS_seeds + MS_images) / (S I), with the mean squares of both, and Satterthwaite's degrees of freedom. Either one alone
    makes false claims where the variation that it treats badly dominates: the first where images vary (in simulations up to
    80 % of them), the second with three seeds where these vary (8 %).
    """
    seeds = sorted(first.keys() & second.keys())
    means = [{seed: float(values[seed].mean()) for seed in seeds} for values in (first, second)]
    over_seeds = paired(*means)
    if len(seeds) < FEWEST_SEEDS:
        return over_seeds
    d = np.stack([first[seed].astype(float) - second[seed] for seed in seeds])
    s, i = d.shape
    ms_seeds, ms_images = i * d.mean(1).var(ddof=1), s * d.mean(0).var(ddof=1)
    total = ms_seeds + ms_images
    if total == 0:
        return Test(float(d.mean()), 1.0, s, i)
    freedom = total**2 / (ms_seeds**2 / (s - 1) + ms_images**2 / (i - 1))
    over_both = _two_sided(float(d.mean()) / (total / (s * i)) ** 0.5, freedom)
    return Test(float(d.mean()), max(over_seeds.p, over_both), s, i)


def _two_sided(t: float, freedom: float) -> float:
    return float(2 * stdtr(freedom, -abs(t)))


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Values of p corrected for their number: any false claim among them has at most the probability ``LEVEL`` (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    corrected = np.minimum(1.0, np.maximum.accumulate(np.asarray(p, dtype=float)[order] * factors))
    result = np.empty(len(p))
    result[order] = corrected
    return result


@dataclass(frozen=True)
class Comparison:
    """All pairs of methods on one score, as arrays: there may be thousands."""

    methods: tuple[str, ...]
    """Those that can be compared."""
    better: Literal["lower", "higher"]
    first: np.ndarray
    """Index in ``methods`` of the first one of each pair."""
    second: np.ndarray
    difference: np.ndarray
    """First less second."""
    p: np.ndarray
    """Two-sided. 1 if nothing can be said."""

    @cached_property
    def _winners(self) -> np.ndarray:
        """Index of the better method of each pair."""
        first_is_better = (self.difference < 0) == (self.better == "lower")
        return np.where(first_is_better, self.first, self.second)

    @cached_property
    def _corrected(self) -> np.ndarray:
        return holm(self.p)

    def ranks(self) -> dict[str, int]:
        """1 and the number of methods that are better, by Holm's correction over all pairs. Ties share a rank."""
        sure = self._corrected <= LEVEL
        losers = (self.first + self.second - self._winners)[sure]
        lost = np.bincount(losers, minlength=len(self.methods))
        return {name: 1 + int(count) for name, count in zip(self.methods, lost, strict=True)}

    def best(self) -> str | None:
        """The method that is better than each other one, if there is one.

        Each pair is tested at ``LEVEL`` without correction: a wrong claim needs a wrong result of all pairs of its method, and
        so has at most this probability (intersection-union test, Berger 1982).
        """
        won = np.bincount(self._winners[self.p <= LEVEL], minlength=len(self.methods))
        ahead = np.flatnonzero(won == len(self.methods) - 1)
        return self.methods[ahead[0]] if len(ahead) and len(self.methods) > 1 else None

    def tied_with(self, name: str) -> list[str]:
        """The methods that cannot be told apart from one, by Holm's correction over all pairs."""
        own = self.methods.index(name)
        unsure = self._corrected > LEVEL
        pairs = zip(self.first[unsure].tolist(), self.second[unsure].tolist(), strict=True)
        tied = {a + b - own for a, b in pairs if own in (a, b)}
        return [self.methods[k] for k in sorted(tied)]


def compare(
    scores: Mapping[str, Mapping[int, float]],
    better: Literal["lower", "higher"],
    images: Mapping[str, Mapping[int, np.ndarray]] | None = None,
) -> Comparison:
    """Every pair of methods. ``scores``: by method, then by seed; ``images``: the values of single images, if known.

    Methods with fewer than ``FEWEST_SEEDS`` are left out.
    """
    methods = tuple(name for name, values in scores.items() if len(values) >= FEWEST_SEEDS)
    seeds = sorted({seed for name in methods for seed in scores[name]})
    table = np.array([[scores[name].get(seed, np.nan) for seed in seeds] for name in methods]).reshape(
        len(methods), len(seeds)
    )
    first, second = np.triu_indices(len(methods), 1)
    difference, p, _ = _paired_tests(table[first] - table[second])
    known = [(images or {}).get(name) for name in methods]
    for k, (one, other) in enumerate(zip(first, second, strict=True)) if images else ():
        values, other_values = known[one], known[other]
        if values is not None and other_values is not None:
            test = crossed(values, other_values)
            difference[k], p[k] = test.difference, test.p
    return Comparison(methods, better, first, second, difference, p)
