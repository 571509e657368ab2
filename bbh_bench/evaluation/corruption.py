"""Scores on corrupted test images, averaged over the kinds of corruption, from stored arrays only.

A corruption is a shift whose axis is ``severity``, and that keeps the labels. Hendrycks and Dietterich 2019, arXiv 1903.12261,
divide the error of each corruption by that of a reference network before they average; here it is not divided.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from bbh_bench.api import Curves, Metric, Scores
from bbh_bench.errors import ContractError
from bbh_bench.evaluation.predictive import Predictions
from bbh_bench.evaluation.stored import StoredShift

AXIS = "severity"
CURVE = "corrupted/severity"


def corruptions(shifts: Mapping[str, StoredShift]) -> dict[str, StoredShift]:
    """Those of the shifts that are corruptions. Raises ``ContractError`` if they have different severities."""
    chosen = {name: shift for name, shift in shifts.items() if shift.axis == AXIS and shift.labels is not None}
    if len({tuple(shift.values) for shift in chosen.values()}) > 1:
        raise ContractError("corruptions of one task have the same severities; these have different ones.")
    return chosen


def corruption_scores(shifts: Mapping[str, StoredShift], metrics: Iterable[Metric]) -> tuple[Scores, Curves]:
    """``corrupted/<metric>``, the mean over corruptions and positive severities, and its curve along the severity.

    ``metrics`` take predictions and labels. Those that fail or are not finite on corrupted images are left out. Both are empty
    without corruptions.
    """
    chosen = list(corruptions(shifts).values())
    if not chosen:
        return {}, {}
    severities = chosen[0].values
    positive = [k for k, severity in enumerate(severities) if severity > 0]
    scores: Scores = {}
    curve: dict[str, list[float]] = {AXIS: severities}
    for metric in metrics:
        means = [_mean([_value(metric, shift, k) for shift in chosen]) for k in range(len(severities))]
        if positive and all(map(math.isfinite, means)):
            scores[f"corrupted/{metric.name}"] = _mean([means[k] for k in positive])
            curve[metric.name] = means
    return scores, {CURVE: curve}


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _value(metric: Metric, shift: StoredShift, k: int) -> float:
    """A metric at the k-th severity; NaN if it fails there."""
    assert shift.labels is not None
    images = len(shift.labels)
    own = slice(k * images, (k + 1) * images)
    predictions = Predictions(shift.predictions.log_probs[own], shift.predictions.mutual_information[own])
    try:
        return float(metric.compute(predictions, np.asarray(shift.labels)))
    except Exception:  # a third party's metric must not cost the cell its other scores
        return math.nan
