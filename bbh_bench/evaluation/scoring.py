"""Scores and curves from a cell's stored arrays alone: anyone can recompute them to the last digit.

The arrays of a classification: ``test/labels``; ``log_odds`` and ``mutual_information`` (see ``predictive.predict``) under
``test`` and under ``outlier/<set>``; those of its attacks are in ``adversarial``.

Those of a regression on a line: ``train/x`` and ``train/y`` ``[N]``; ``grid/x`` and ``grid/truth`` ``[G]``, ``grid/targets``
``[R, G]``, R noisy observations at each point, and ``grid/outputs`` ``[n, G]``, the means that n networks predict; ``noise``.
"""

import math
import warnings
from collections.abc import Iterable, Mapping

import numpy as np

from bbh_bench.api import Arrays, Curves, Metric, Scores
from bbh_bench.attacks.robustness import robustness
from bbh_bench.evaluation.predictive import Predictions, decode

CDF_POINTS = 101
BETTER = {
    "accuracy_area": "higher",
    "median_distance": "higher",
    "rmse": "lower",
    "nll": "lower",
}
"""Which way the scores made here are better; a metric says so itself."""


def classification(arrays: Arrays, metrics: Iterable[Metric]) -> tuple[Scores, Curves]:
    """Every metric on every set of its scope, the entropy's distribution on each set, and each attack's curves."""
    labels = arrays["test/labels"].astype(np.int64)
    test = decode(arrays, "test")
    outliers = {name: decode(arrays, f"outlier/{name}") for name in _names(arrays, "outlier")}
    scores: Scores = {}
    for metric in metrics:
        if metric.scope == "labelled":
            scores |= _values(metric, {"test": (test, labels)})
        if metric.scope == "inputs":
            sets = {f"outlier/{name}": (outside,) for name, outside in outliers.items()}
            scores |= _values(metric, {"test": (test,), **sets})
        if metric.scope == "outliers":
            scores |= _values(metric, {f"outlier/{name}": (test, outside) for name, outside in outliers.items()})
    curves: Curves = {"test/entropy_cdf": entropy_cdf(test)}
    curves |= {f"outlier/{name}/entropy_cdf": entropy_cdf(outside) for name, outside in outliers.items()}
    curves |= {f"shift/{name}": shift_curve(arrays, f"shift/{name}") for name in _names(arrays, "shift")}
    under_attack, lines = robustness(arrays)
    return scores | under_attack, curves | lines


def _values(metric: Metric, sets: Mapping[str, tuple[object, ...]]) -> Scores:
    """One metric on several sets. A broken one, a plugin's say, is left out with a warning: it must not cost a cell."""
    try:
        values = {f"{name}/{metric.name}": float(metric.compute(*given)) for name, given in sets.items()}
    except Exception as error:
        warnings.warn(f"metric '{metric.name}' is left out: {type(error).__name__}: {error}", stacklevel=2)
        return {}
    odd = [name for name, value in values.items() if not math.isfinite(value)]
    if odd:
        warnings.warn(f"metric '{metric.name}' is left out: not finite for {', '.join(odd)}", stacklevel=2)
        return {}
    return values


def _names(arrays: Arrays, group: str) -> list[str]:
    """The sets of a group, in the order they were stored."""
    return list(dict.fromkeys(key.split("/")[1] for key in arrays if key.startswith(f"{group}/")))


def entropy_cdf(predictions: Predictions) -> dict[str, list[float]]:
    """Empirical distribution function of the entropy, in units of log K, at 101 points of [0, 1]."""
    points = np.linspace(0, 1, CDF_POINTS)
    share = predictions.entropy / predictions.max_entropy
    share = np.clip(share, 0, 1)  # a uniform predictive exceeds log K by rounding
    return {
        "entropy": points.tolist(),
        "share": (np.searchsorted(np.sort(share), points, side="right") / len(share)).tolist(),
    }


def shift_curve(arrays: Arrays, prefix: str) -> dict[str, list[float]]:
    """Mean entropy and mutual information at each value, in nats, and accuracy where the images keep their labels.

    The first column is the axis. Of a single image, the probability of each class too.
    """
    axis = next(key for key in arrays if key.startswith(f"{prefix}/axis/"))
    values = arrays[axis].tolist()
    shifted = decode(arrays, prefix)
    curve = {axis.removeprefix(f"{prefix}/axis/"): values}
    columns = {"entropy": shifted.entropy, "mutual_information": shifted.mutual_information}
    images = len(shifted.log_probs) // len(values)
    if f"{prefix}/labels" in arrays:
        labels = np.tile(arrays[f"{prefix}/labels"], len(values))
        columns["accuracy"] = shifted.log_probs.argmax(axis=1) == labels
    if images == 1:
        columns |= {f"p({c})": shifted.probs[:, c] for c in range(shifted.probs.shape[1])}
    return curve | {name: column.reshape(-1, images).mean(axis=1).tolist() for name, column in columns.items()}


LEVELS = (50, 90, 95)  # per cent, of central predictive intervals


def regression(arrays: Arrays) -> tuple[Scores, Curves]:
    """Fit inside the range of the training inputs, spread outside it, and the predictive along the grid.

    The predictive density at a point is the mixture of the n networks' normals. ``inside/rmse`` is that of its mean to the
    truth; ``nll`` is minus its log-density at the noisy targets, inside and on the whole grid; ``coverage`` is the share of
    targets inside its central intervals; ``outside/width`` is the mean width, outside the range, of the central 95 % of the
    networks' means: what the noise has no part in.
    """
    outputs, truth, x = (arrays[f"grid/{name}"].astype(np.float64) for name in ("outputs", "truth", "x"))
    inside = (x >= arrays["train/x"].min()) & (x <= arrays["train/x"].max())
    mean = outputs.mean(axis=0)
    nll, distribution = _mixture(outputs, arrays["grid/targets"].astype(np.float64), float(arrays["noise"]))
    low, high = np.quantile(outputs, [0.025, 0.975], axis=0)
    scores = {
        "inside/rmse": float(np.sqrt(np.mean((mean - truth)[inside] ** 2))),
        "inside/nll": float(nll[:, inside].mean()),
        "grid/nll": float(nll.mean()),
        "outside/width": float((high - low)[~inside].mean()),
    }
    # A target lies in the central interval of a level where the distribution function is within half of it of 1/2.
    central = np.abs(2 * distribution[:, inside] - 1)
    scores |= {f"inside/coverage{level}": float(np.mean(central <= level / 100)) for level in LEVELS}
    curves = {
        "grid/prediction": {
            "x": x.tolist(),
            "truth": truth.tolist(),
            "mean": mean.tolist(),
            "std": outputs.std(axis=0).tolist(),
        },
        "train/data": {"x": arrays["train/x"].tolist(), "y": arrays["train/y"].tolist()},
    }
    return scores, curves


def _mixture(outputs: np.ndarray, targets: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Minus the log-density, and the distribution function, of an equal mixture of normals at targets ``[R, G]``."""
    from scipy.special import logsumexp  # noqa: PLC0415  (scoring a classification needs neither)
    from scipy.stats import norm  # noqa: PLC0415

    log_density = [logsumexp(norm.logpdf(row, outputs, noise), axis=0) - np.log(len(outputs)) for row in targets]
    distribution = [norm.cdf(row, outputs, noise).mean(axis=0) for row in targets]
    return -np.stack(log_density), np.stack(distribution)
