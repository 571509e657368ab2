"""How far a calibrated method may be from the diagonal of the reliability diagram by chance (Bröcker and Smith 2007)."""

import math

from scipy.special import bdtr, bdtrik

SHARE = 0.95
"""Of the bins of a calibrated method that lie within their interval, at least."""


def consistency_interval(confidence: float, images: int) -> tuple[float, float]:
    """The accuracies between the 2.5 % and 97.5 % quantiles of a binomial variable over ``images``, of this success rate.

    Returns shares from 0 to 1.
    """
    rate = min(max(confidence, 0.0), 1.0)
    if rate in (0.0, 1.0):
        return rate, rate
    tail = (1 - SHARE) / 2
    return _quantile(tail, images, rate) / images, _quantile(1 - tail, images, rate) / images


def _quantile(p: float, images: int, rate: float) -> int:
    """The smallest k for which at most k successes have at least the probability p."""
    k = math.ceil(bdtrik(p, images, rate))
    return k - 1 if k > 0 and bdtr(k - 1, images, rate) >= p else k
