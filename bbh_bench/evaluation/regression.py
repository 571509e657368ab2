"""Scores and curves of a regression on a line, from its stored arrays only."""

from collections.abc import Mapping

import numpy as np

from bbh_bench.api import Arrays, Curves, Scores
from bbh_bench.evaluation.stored import StoredRegression
from bbh_bench.records.record import Direction

LEVELS = (50, 90, 95)
"""Of the central predictive intervals, in per cent."""
DIRECTIONS: Mapping[str, Direction] = {"rmse": "lower", "nll": "lower"}
"""Which values are better, by the last part of a score's name. The other scores have no better direction."""


def score(arrays: Arrays) -> tuple[Scores, Curves]:
    """The fit inside the range of the training inputs, the spread outside it, and the predictive distribution along the grid.

    ``stored`` documents the arrays. The predictive density at a point is the equal mixture of n normal densities, one for
    each network, whose standard deviation is that of the noise. Scores:

    - ``inside/rmse``: root mean squared error of the predictive mean with respect to the true function.
    - ``inside/nll`` and ``grid/nll``: mean negative log-density of the noisy targets, in nats, inside the range and on the
      whole grid.
    - ``inside/coverage<level>``: share of the targets inside the central predictive interval of that level, in per cent.
    - ``outside/width``: outside the range, the mean width of the interval that contains the central 95 % of the means that
      the networks predict. The noise does not contribute to it.
    """
    stored = StoredRegression.read(arrays)
    outputs, truth, x = stored.outputs, stored.truth, stored.grid
    inside = (x >= stored.train_x.min()) & (x <= stored.train_x.max())
    mean = outputs.mean(axis=0)
    nll, cdf = mixture(outputs, stored.targets, stored.noise)
    low, high = np.quantile(outputs, [0.025, 0.975], axis=0)
    scores = {
        "inside/rmse": float(np.sqrt(np.mean((mean - truth)[inside] ** 2))),
        "inside/nll": float(nll[:, inside].mean()),
        "grid/nll": float(nll.mean()),
        "outside/width": float((high - low)[~inside].mean()),
    }
    # A target is inside the central interval of a level if its distribution function is within half the level of 1/2.
    central = np.abs(2 * cdf[:, inside] - 1)
    scores |= {f"inside/coverage{level}": float(np.mean(central <= level / 100)) for level in LEVELS}
    curves = {
        "grid/prediction": {
            "x": x.tolist(),
            "truth": truth.tolist(),
            "mean": mean.tolist(),
            "std": outputs.std(axis=0).tolist(),
        },
        "train/data": {"x": stored.train_x.tolist(), "y": stored.train_y.tolist()},
    }
    return scores, curves


def mixture(outputs: np.ndarray, targets: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Negative log-density and distribution function of an equal mixture of normal distributions, both ``[R, G]``.

    ``outputs`` ``[n, G]`` are the means of its n parts at each of G points, ``noise`` is the standard deviation of each part;
    both functions are evaluated at the ``targets`` ``[R, G]``.
    """
    from scipy.special import logsumexp
    from scipy.stats import norm

    log_density = [logsumexp(norm.logpdf(row, outputs, noise), axis=0) - np.log(len(outputs)) for row in targets]
    cdf = [norm.cdf(row, outputs, noise).mean(axis=0) for row in targets]
    return -np.stack(log_density), np.stack(cdf)
