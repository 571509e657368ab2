"""Scores and curves of a classification from its stored arrays only: anyone can compute them again, to the last digit."""

import math
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress

import numpy as np

from bbh_bench.api import Arrays, Curves, Metric, Scores
from bbh_bench.errors import BenchWarning, NotApplicable
from bbh_bench.evaluation.corruption import corruption_scores
from bbh_bench.evaluation.predictive import Predictions
from bbh_bench.evaluation.stored import StoredShift, read_labels, read_ood, read_shifts, read_test

CDF_POINTS = 101


def score(arrays: Arrays, metrics: Iterable[Metric]) -> tuple[Scores, Curves]:
    """Every metric on every set of its scope, the distribution of the entropy on each set, and a curve for each shift.

    ``stored`` documents the arrays. Scores are named ``test/<metric>`` and ``ood/<set>/<metric>``, curves
    ``test/entropy_cdf``, ``ood/<set>/entropy_cdf`` and ``shift/<name>``; ``corruption`` adds those of corrupted images. A
    metric that raises, or whose value is not finite, is left out with a ``BenchWarning``; one that raises ``NotApplicable``,
    without. Attacks are scored by ``bbh_bench.attacks.robustness``.
    """
    metrics = list(metrics)
    labels, test, ood = read_labels(arrays), read_test(arrays), read_ood(arrays)
    scores: Scores = {}
    for metric in metrics:
        if metric.scope == "labelled":
            scores |= _values(metric, {"test": (test, labels)})
        if metric.scope == "inputs":
            sets = {f"ood/{name}": (predictions,) for name, predictions in ood.items()}
            scores |= _values(metric, {"test": (test,), **sets})
        if metric.scope == "ood":
            scores |= _values(metric, {f"ood/{name}": (test, predictions) for name, predictions in ood.items()})
    curves: Curves = {"test/entropy_cdf": entropy_cdf(test)}
    curves |= {f"ood/{name}/entropy_cdf": entropy_cdf(predictions) for name, predictions in ood.items()}
    shifts = read_shifts(arrays)
    curves |= {f"shift/{name}": shift_curve(shift) for name, shift in shifts.items()}
    on_corrupted, along_severity = corruption_scores(
        shifts, [metric for metric in metrics if metric.scope == "labelled" and f"test/{metric.name}" in scores]
    )
    return scores | on_corrupted, curves | along_severity


def _values(metric: Metric, sets: Mapping[str, tuple[object, ...]]) -> Scores:
    """One metric on several sets. A third-party metric that does not work must not cost the cell its other scores."""
    values: Scores = {}
    try:
        for name, inputs in sets.items():
            with suppress(NotApplicable):
                values[f"{name}/{metric.name}"] = float(metric.compute(*inputs))
    except Exception as error:
        _warn(metric, f"{type(error).__name__}: {error}")
        return {}
    not_finite = [name for name, value in values.items() if not math.isfinite(value)]
    if not_finite:
        _warn(metric, f"not finite for {', '.join(not_finite)}")
        return {}
    return values


def _warn(metric: Metric, reason: str) -> None:
    warnings.warn(f"metric '{metric.name}' is left out: {reason}", BenchWarning, stacklevel=4)  # the caller of `score`


def entropy_cdf(predictions: Predictions) -> dict[str, list[float]]:
    """Empirical distribution function of the entropy, in units of log K, at 101 points of [0, 1]."""
    points = np.linspace(0, 1, CDF_POINTS)
    share = predictions.entropy / predictions.max_entropy
    share = np.clip(share, 0, 1)  # the entropy of a uniform predictive exceeds log K by rounding
    return {
        "entropy": points.tolist(),
        "share": (np.searchsorted(np.sort(share), points, side="right") / len(share)).tolist(),
    }


def shift_curve(shift: StoredShift) -> dict[str, list[float]]:
    """Mean entropy and mutual information at each value of a shift, in nats, and accuracy if the images keep their labels.

    The first column holds the values. If there is a single image, the columns ``p(<class>)`` hold the probability of each
    class.
    """
    shifted = shift.predictions
    columns = {"entropy": shifted.entropy, "mutual_information": shifted.mutual_information}
    images = len(shifted.log_probs) // len(shift.values)
    if shift.labels is not None:
        labels = np.tile(shift.labels, len(shift.values))
        columns["accuracy"] = shifted.log_probs.argmax(axis=1) == labels
    if images == 1:
        columns |= {f"p({c})": shifted.probs[:, c] for c in range(shifted.probs.shape[1])}
    means = {name: column.reshape(-1, images).mean(axis=1).tolist() for name, column in columns.items()}
    return {shift.axis: shift.values} | means
