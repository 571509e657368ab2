"""Detection metrics have the bits of scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from bbh_bench.evaluation.detection import area_under_roc, average_precision, roc_curve


def scores(rng, kind):
    """Scores of both classes: all different, with ties, with few values, separable, or all equal."""
    sizes = rng.integers(1, 400, 2)
    negative, positive = rng.normal(size=sizes[0]), rng.normal(rng.uniform(-1, 1), size=sizes[1])
    if kind == "half precision":
        negative, positive = (each.astype(np.float16).astype(np.float64) for each in (negative, positive))
    if kind == "few values":
        negative, positive = negative.round(), positive.round()
    if kind == "separable":
        positive = positive + 20
    if kind == "equal":
        negative, positive = np.zeros_like(negative), np.zeros_like(positive)
    return negative, positive


@pytest.mark.parametrize("kind", ["different", "half precision", "few values", "separable", "equal"])
def test_values_have_the_bits_of_scikit_learn(kind):
    rng = np.random.default_rng(0)
    for _ in range(40):
        negative, positive = scores(rng, kind)
        truth, both = np.r_[np.zeros(len(negative)), np.ones(len(positive))], np.r_[negative, positive]
        assert area_under_roc(negative, positive) == roc_auc_score(truth, both)
        assert average_precision(negative, positive) == average_precision_score(truth, both)
        for drop in (False, True):
            fpr, tpr, _ = sklearn_roc_curve(truth, both, drop_intermediate=drop)
            ours = roc_curve(negative, positive, drop)
            assert np.array_equal(ours[0], fpr)
            assert np.array_equal(ours[1], tpr)


def test_scores_that_are_missing_or_not_finite_are_refused():
    some = np.ones(3)
    for empty in ((some, some[:0]), (some[:0], some)):
        with pytest.raises(ValueError, match="at least one input of each class"):
            area_under_roc(*empty)
    with pytest.raises(ValueError, match="finite"):
        average_precision(some, np.array([1.0, np.nan]))
