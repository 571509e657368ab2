"""Scores and curves of a classification cell, from its stored arrays alone: anyone can recompute them to the last digit.

The arrays: ``test/labels``; ``log_odds`` and ``mutual_information`` (see ``predictive.predict``) under ``test``, under
``outlier/<set>`` and under ``attack/<name>/<k>`` for the k-th epsilon; ``attack/<name>/epsilons``, and
``attack/<name>/labels`` of the images attacked.
"""

from collections.abc import Iterable

import numpy as np

from bbh_bench.api import Arrays, Curves, Metric, Scores
from bbh_bench.metrics import entropy, entropy_auc, error
from bbh_bench.predictive import Predictions, decode

CDF_POINTS = 101
BETTER = {"accuracy_area": "higher"}  # which way the scores made here are better; a metric's own says its


def classification(arrays: Arrays, metrics: Iterable[Metric]) -> tuple[Scores, Curves]:
    """Every metric on every set of its scope, the entropy's distribution on each set, and each attack's curves."""
    labels = arrays["test/labels"].astype(np.int64)
    test = decode(arrays, "test")
    outliers = {name: decode(arrays, f"outlier/{name}") for name in _names(arrays, "outlier")}
    scores: Scores = {}
    for metric in metrics:
        if metric.scope == "labelled":
            scores[f"test/{metric.name}"] = metric.compute(test, labels)
        if metric.scope == "inputs":
            scores[f"test/{metric.name}"] = metric.compute(test)
            scores |= {f"outlier/{name}/{metric.name}": metric.compute(outside) for name, outside in outliers.items()}
        if metric.scope == "outliers":
            scores |= {
                f"outlier/{name}/{metric.name}": metric.compute(test, outside) for name, outside in outliers.items()
            }
    curves: Curves = {"test/entropy_cdf": entropy_cdf(test)}
    curves |= {f"outlier/{name}/entropy_cdf": entropy_cdf(outside) for name, outside in outliers.items()}
    for name in _names(arrays, "attack"):
        curve = attack_curve(arrays, f"attack/{name}")
        curves[f"attack/{name}"] = curve
        scores[f"attack/{name}/accuracy_area"] = accuracy_area(curve["epsilon"], curve["accuracy"])
    return scores, curves


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


def attack_curve(arrays: Arrays, prefix: str) -> dict[str, list[float]]:
    """Accuracy, mean entropy and entropy AUC at each epsilon, judged on draws that the attacker didn't see."""
    labels = arrays[f"{prefix}/labels"].astype(np.int64)
    epsilons = arrays[f"{prefix}/epsilons"].tolist()
    judged = [decode(arrays, f"{prefix}/{k}") for k in range(len(epsilons))]
    return {
        "epsilon": epsilons,
        "accuracy": [1 - error(predictions, labels) for predictions in judged],
        "entropy": [entropy(predictions) for predictions in judged],
        "entropy_auc": [entropy_auc(predictions) for predictions in judged],
    }


def accuracy_area(epsilons: list[float], accuracy: list[float]) -> float:
    """Area under the accuracy curve over its range of epsilon, by the trapezoid rule: 1 is unharmed, 0 never right.

    The suite's one number for attack degradation.
    """
    if len(epsilons) == 1:
        return accuracy[0]
    return float(np.trapezoid(accuracy, epsilons) / (epsilons[-1] - epsilons[0]))
