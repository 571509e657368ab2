"""Temperature-scaled negative log-likelihood of a classification, by cross-validation on its test images; NumPy only.

Without it, likelihoods compare methods at whatever temperature their training happened to end with, and their order can be
another one at the best temperature of each. This is the *calibrated log-likelihood* of Ashukha et al. 2020 (arXiv 2002.06470,
"test-time cross-validation"), with its sign changed.
"""

from dataclasses import dataclass

import numpy as np

SPLITS = 5
"""Random splits of the test images into halves, as in the paper."""
STEPS = 200
"""Of the search for a temperature. Each step is at most half as long as the one before the last: about ten are needed."""
CONVERGED = 1e-12
"""Largest last step in log temperature, above its rounding errors, and far below the 1e-9 that ``verify`` allows a score."""


def scaled_nll(log_probs: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood after temperature scaling, in nats.

    ``log_probs`` ``[N, K]`` are log-probabilities of each class, up to a constant of each row, and ``labels`` ``[N]`` the
    classes. The images are split into halves, the temperature is fitted on one half (see ``inverse_temperature``) and the
    likelihood is that of the other half, both ways; the result is the mean over ``SPLITS`` splits. They depend on N only.

    Raises ``ValueError`` if there are no images, or if a log-probability is not finite.
    """
    if len(labels) == 0:
        raise ValueError("the temperature-scaled likelihood needs at least one image.")
    images = _Images.of(log_probs, labels)
    orders = np.stack([shuffled(len(labels), seed) for seed in range(SPLITS)])
    first, second = (images.at(half) for half in np.split(orders, [len(labels) // 2], axis=1))
    held_out = [second.nll(_best(first)), first.nll(_best(second))]
    return float(np.mean(np.concatenate(held_out, axis=1)))


def inverse_temperature(log_probs: np.ndarray, labels: np.ndarray) -> float:
    """The inverse temperature b with the largest posterior density; probabilities are then proportional to p^b.

    It minimises the summed negative log-likelihood of all images plus the penalty of a weak prior of log b. The prior is
    needed because the likelihood alone may have no best temperature: if no image of a small half is misclassified, it grows
    up to the temperature zero, where one misclassified image of the other half has the likelihood zero.

    The prior is a standard normal one, (log b)^2 / 2 up to b = e, which weighs as much as about one image. From there on, the
    penalty goes on along its tangent, with the slope 1 / e in b: the sum is thereby convex in b, so that it has one minimum,
    which no rounding can change for another. ((log b)^2 itself bends down there, and predictions that are almost the same for
    all classes would have a second minimum.)

    See ``scaled_nll`` for the arguments and errors. Without images, the result is 1.
    """
    return float(_best(_Images.of(log_probs, labels).at(np.arange(len(labels))[None]))[0])


def shuffled(n: int, seed: int) -> np.ndarray:
    """A random order of 0 ... n - 1.

    It sorts raw output of the bit generator, which NumPy promises not to change; it makes no such promise about
    ``Generator.permutation`` (NEP 19).
    """
    return np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")


@dataclass(frozen=True)
class _Images:
    """Log-odds of classes against the most probable class of each image, zero or less; S sets of n images."""

    own: np.ndarray
    """Of the label, ``[S, n]``."""
    others: np.ndarray
    """Of all classes but the most probable one, ``[S, n, K - 1]``. Leaving out its zero keeps small likelihoods exact."""

    @classmethod
    def of(cls, log_probs: np.ndarray, labels: np.ndarray) -> "_Images":
        """One set without the axis S."""
        if not np.isfinite(log_probs).all():
            raise ValueError("the temperature-scaled likelihood needs finite log-probabilities.")
        log_odds = log_probs - log_probs.max(axis=1, keepdims=True)
        return cls(log_odds[np.arange(len(labels)), labels], np.sort(log_odds, axis=1)[:, :-1])

    def at(self, index: np.ndarray) -> "_Images":
        """The sets of images at the places ``index`` ``[S, n]``."""
        return _Images(self.own[index], self.others[index])

    def nll(self, b: np.ndarray) -> np.ndarray:
        """Negative log-likelihood of each image ``[S, n]`` at the inverse temperatures ``b`` ``[S]`` of the sets."""
        odds = np.exp(b[:, None, None] * self.others).sum(axis=2)
        return np.log1p(odds) - b[:, None] * self.own

    def derivatives(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and second derivative by b of the summed negative log-likelihood of each set, both ``[S]``."""
        odds = np.exp(b[:, None, None] * self.others)
        weighted = odds * self.others
        total = 1 + odds.sum(axis=2)
        mean = weighted.sum(axis=2) / total
        variance = (weighted * self.others).sum(axis=2) / total - mean**2
        return (mean - self.own).sum(axis=1), variance.sum(axis=1)


def _best(images: _Images) -> np.ndarray:
    """``inverse_temperature`` of each set, ``[S]``: Newton's method for t = log b, with bisection where it would be slow.

    The derivative by b of what is minimised increases with b; its zero is between bounds that follow from the log-odds.
    """
    sets, n, others = images.others.shape
    # For b < 1, the penalty's derivative is log(b) / b, and that of the likelihood is at most minus the sum of `own`.
    low = -1 - np.log1p(-images.own.sum(axis=1))
    # The likelihood's is at least -n (K - 1) / (e b), because x exp(-x) <= 1 / e; the penalty's is 1 / e for b > e.
    high = np.full(sets, 1 + np.log(max(1, n * others)))
    t = np.zeros(sets)
    before = last = high - low
    for _ in range(STEPS):
        slope, step = _newton(images, t)
        low, high = np.where(slope < 0, t, low), np.where(slope < 0, high, t)
        middle = (low + high) / 2 - t
        inside = (t + step >= low) & (t + step <= high) & (np.abs(step) <= before / 2)
        found = np.abs(step) <= CONVERGED
        step = np.where(found | inside, step, middle)
        before, last = last, np.where(found, np.inf, np.abs(step))
        t = t + step
        if found.all():
            break
    return np.exp(t)


def _newton(images: _Images, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The derivative by b of what is minimised, and Newton's step in t to its zero (infinite where it is flat), ``[S]``."""
    b = np.exp(t)
    first, second = images.derivatives(b)
    slope = first + np.where(t < 1, t / b, 1 / np.e)
    increase = b * second + np.where(t < 1, (1 - t) / b, 0.0)  # of the slope with t
    step = np.divide(-slope, increase, out=np.full_like(slope, np.inf), where=increase > 0)
    return slope, step
