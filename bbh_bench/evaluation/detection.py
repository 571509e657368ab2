"""Detection metrics from scores alone: ROC curve, the area under it, and average precision.

The arithmetic of scikit-learn's ``roc_curve``, ``roc_auc_score`` and ``average_precision_score`` for two classes, with the same
operations in the same order, so that values have the same bits. Without scikit-learn's checks of its inputs, which take
ten times as long as the arithmetic for the few hundred images that an attack has at each epsilon.
"""

import numpy as np


def roc_curve(negative: np.ndarray, positive: np.ndarray, drop_intermediate: bool) -> tuple[np.ndarray, np.ndarray]:
    """False-positive and true-positive rates ``[T + 1]`` at each of T thresholds, decreasing, after the point (0, 0).

    ``negative`` ``[M]`` and ``positive`` ``[N]`` are scores, which are higher for what should be detected.
    ``drop_intermediate``: leave out points on a straight line between others. Raises ``ValueError`` if there are no scores of
    one class, or scores that are not finite.
    """
    false_positives, true_positives = _counts(negative, positive)
    if drop_intermediate and len(false_positives) > 2:
        corner = np.logical_or(np.diff(false_positives, 2), np.diff(true_positives, 2))
        chosen = np.where(np.r_[True, corner, True])[0]
        false_positives, true_positives = false_positives[chosen], true_positives[chosen]
    fpr, tpr = np.r_[0.0, false_positives], np.r_[0.0, true_positives]
    return fpr / fpr[-1], tpr / tpr[-1]


def area_under_roc(negative: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve, by the trapezoid rule. See ``roc_curve`` for the arguments and errors."""
    fpr, tpr = roc_curve(negative, positive, drop_intermediate=True)
    return float(np.trapezoid(tpr, fpr))


def average_precision(negative: np.ndarray, positive: np.ndarray) -> float:
    """Mean precision over the increases of recall, without interpolation. See ``roc_curve`` for the arguments and errors."""
    false_positives, true_positives = _counts(negative, positive)
    precision = true_positives / (true_positives + false_positives)
    recall = true_positives / true_positives[-1]
    steps = np.diff(np.r_[recall[::-1], 0.0])  # in scikit-learn's order, with decreasing recall
    return float(max(0.0, -np.sum(steps * precision[::-1])))


def _counts(negative: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of false and true positives ``[T]`` at each of the T different scores, decreasing."""
    if len(negative) == 0 or len(positive) == 0:
        raise ValueError("detection needs at least one input of each class.")
    scores = np.r_[negative, positive]
    if not np.isfinite(scores).all():
        raise ValueError("detection needs finite scores.")
    order = np.argsort(-scores, kind="stable")
    truth = np.r_[np.zeros(len(negative)), np.ones(len(positive))][order]
    last = np.r_[np.where(np.diff(scores[order]))[0], len(scores) - 1]  # of inputs with the same score
    true_positives = np.cumsum(truth)[last]
    return 1 + last.astype(np.float64) - true_positives, true_positives
