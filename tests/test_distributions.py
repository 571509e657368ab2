"""Distributions over the images of a classification, as the site draws them: calibration, risk against coverage, entropy."""

from pathlib import Path

import numpy as np
import pytest
from record_factory import record
from scipy import stats

from bbh_bench.evaluation.predictive import Predictions
from bbh_bench.evaluation.selective import aurc
from bbh_bench.leaderboard.consistency import consistency_interval
from bbh_bench.leaderboard.distributions import COVERAGES, POINTS, distributions
from bbh_bench.records.store import Store

PUBLISHED = Path(__file__).parent.parent / "leaderboard"


def test_distributions_over_images_are_those_of_the_stored_predictions():
    store = Store(PUBLISHED)
    chosen = [each for each in store.records() if each.task.name == "digits5" and each.method.name == "bbh"][:2]
    known = distributions(chosen, store.arrays)["bbh"]
    images = sum(each.images for each in known.reliability)
    assert images == sum(len(store.arrays(each)["test/labels"]) for each in chosen)
    accuracy = sum(each.accuracy * each.images for each in known.reliability) / images
    assert accuracy == pytest.approx(1 - sum(each.scores["test/error"] for each in chosen) / 2)
    mean_entropy = sum(1 - share for share in known.entropy["test"][:-1]) / (POINTS - 1)  # the area above the curve
    expected = 1 - sum(each.scores["test/entropy_auc"] for each in chosen) / 2
    assert mean_entropy == pytest.approx(expected, abs=1 / (POINTS - 1))
    assert known.entropy["digits5-9"][-1] == 1.0


def test_the_interval_of_a_calibrated_method_is_that_of_the_quantiles_of_scipy():
    for images in (1, 2, 7, 40, 1000):
        for rate in (0.0, 1e-9, 0.2, 0.5, 0.93, 1 - 1e-9, 1.0):
            expected = stats.binom.ppf([0.025, 0.975], images, rate) / images
            assert consistency_interval(rate, images) == pytest.approx(tuple(expected))


def test_a_calibrated_method_lies_within_its_interval_in_95_percent_of_the_cases():
    """2,000 bins of 50 images; the interval is wider than 95 % because shares are discrete. Four standard errors."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, size=2000)
    accuracy = rng.binomial(50, confidence) / 50
    intervals = np.array([consistency_interval(each, 50) for each in confidence])
    inside = np.mean((intervals[:, 0] <= accuracy) & (accuracy <= intervals[:, 1]))
    assert 0.95 - 4 * (0.95 * 0.05 / 2000) ** 0.5 < inside < 0.985


def stored(seed, shift):
    """Log odds ``[200, 3]`` in half precision, some of which are equal, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=200)
    logits = rng.normal(size=(200, 3)) + shift * np.eye(3)[labels]
    log_odds = np.round(logits - logits.max(axis=1, keepdims=True), 1).astype(np.float16)
    return {"test/labels": labels.astype(np.uint8), "test/log_odds": log_odds}


def test_the_area_below_the_curve_of_risk_is_the_aurc():
    arrays = {0: stored(0, 1.0), 1: stored(1, 2.0)}

    def read(each, names):
        """OOD images are the test images."""
        return {name: arrays[each.seed].get(name, arrays[each.seed]["test/log_odds"]) for name in names}

    known = distributions([record("m", 0), record("m", 1)], read)["m"]
    assert len(COVERAGES) == 200  # one for each image
    expected = []
    for each in arrays.values():
        log_odds = each["test/log_odds"].astype(float)
        log_probs = log_odds - np.log(np.exp(log_odds).sum(axis=1, keepdims=True))
        expected.append(aurc(Predictions(log_probs, np.zeros(200)), each["test/labels"]))
    assert np.mean(known.risk) == pytest.approx(
        np.mean(expected), abs=2e-3
    )  # confidences of equal images may round apart
    errors = [np.mean(each["test/log_odds"].argmax(axis=1) != each["test/labels"]) for each in arrays.values()]
    assert known.risk[-1] == pytest.approx(np.mean(errors))
