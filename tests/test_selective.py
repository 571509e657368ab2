"""Selective prediction and calibration errors. Oracles: the definitions by brute force, torchmetrics, closed forms."""

import shutil
from itertools import permutations
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from bbh_bench.evaluation.calibration_errors import adaptive_ece, classwise_ece
from bbh_bench.evaluation.predictive import Predictions
from bbh_bench.evaluation.selective import aurc, eaurc
from bbh_bench.publishing.rescore import rescore
from bbh_bench.publishing.verify import verify_records
from bbh_bench.records.store import Store

PUBLISHED = Path(__file__).parents[1] / "leaderboard"
NEW = {"aurc", "eaurc", "adaptive_ece", "classwise_ece"}


def predictions(probs):
    probs = np.asarray(probs, dtype=np.float64)
    return Predictions(np.log(probs), np.zeros(len(probs)))


def binary(confidence, wrong):
    """Two classes, of which the first is predicted with these confidences; labels are the second where it is wrong."""
    confidence = np.asarray(confidence)
    return predictions(np.stack([confidence, 1 - confidence], 1)), np.asarray(wrong).astype(int)


def mean_risk(wrong):
    """The definition: the mean over n of the share of misclassified inputs among the first n."""
    return np.mean([np.mean(wrong[: n + 1]) for n in range(len(wrong))])


@pytest.fixture
def sample():
    rng = np.random.RandomState(0)
    probs = rng.dirichlet(np.ones(5) / 3, size=450) + 1e-9
    probs /= probs.sum(1, keepdims=True)
    labels = np.where(rng.rand(450) < 0.6, probs.argmax(1), rng.randint(0, 5, size=450))
    return predictions(probs), labels


def test_aurc_is_the_mean_risk_of_the_most_confident_inputs(sample):
    predicted, labels = sample
    order = np.argsort(-predicted.probs.max(1))
    wrong = (predicted.probs.argmax(1) != labels)[order]
    assert aurc(predicted, labels) == pytest.approx(mean_risk(wrong), rel=1e-12)
    assert eaurc(predicted, labels) == pytest.approx(mean_risk(wrong) - mean_risk(np.sort(wrong)), rel=1e-9)


def test_ties_have_the_mean_of_all_their_orders():
    confidence, wrong = [0.9, 0.8, 0.8, 0.8, 0.7, 0.7], np.array([0, 1, 0, 0, 1, 0])
    orders = [[0, *first, *second] for first in permutations((1, 2, 3)) for second in permutations((4, 5))]
    expected = np.mean([mean_risk(wrong[order]) for order in orders])
    assert aurc(*binary(confidence, wrong)) == pytest.approx(expected, rel=1e-12)


def test_values_do_not_depend_on_the_order_of_inputs_to_the_last_bit(sample):
    predicted, labels = sample
    rounded = predictions(np.round(predicted.probs, 1) + 0.01)  # with many ties
    order = np.random.RandomState(1).permutation(len(labels))
    for metric in (aurc, eaurc, adaptive_ece):
        assert metric(rounded, labels) == metric(predictions(rounded.probs[order]), labels[order])


def test_a_confidence_that_says_nothing_has_the_error_rate_and_a_perfect_one_no_excess():
    wrong = np.arange(40) % 4 == 0
    same = binary(np.full(40, 0.7), wrong)
    assert aurc(*same) == pytest.approx(0.25, rel=1e-12)
    perfect = binary(np.where(wrong, 0.6, 0.9) + np.arange(40) / 1000, wrong)
    assert eaurc(*perfect) == 0
    assert aurc(*perfect) == pytest.approx(sum((n - 30) / n for n in range(31, 41)) / 40, rel=1e-12)
    worst = binary(np.where(wrong, 0.9, 0.6) + np.arange(40) / 1000, wrong)
    assert eaurc(*worst) > eaurc(*same) > 0


def test_adaptive_ece_is_the_weighted_gap_of_bins_of_equal_mass(sample):
    predicted, labels = sample
    confidence, correct = predicted.probs.max(1), predicted.probs.argmax(1) == labels
    bins = np.split(np.argsort(confidence), 15)  # 30 inputs in each
    expected = np.mean([abs(confidence[own].mean() - correct[own].mean()) for own in bins])
    assert adaptive_ece(predicted, labels) == pytest.approx(expected, rel=1e-12)


def test_adaptive_ece_of_one_confidence_is_the_gap_of_all_inputs():
    assert adaptive_ece(*binary(np.full(37, 0.7), np.arange(37) < 20)) == pytest.approx(abs(0.7 - 17 / 37), rel=1e-12)


def test_classwise_ece_is_the_mean_over_classes_and_bins(sample):
    predicted, labels = sample
    expected = 0.0
    for k in range(5):
        p, truth = predicted.probs[:, k], labels == k
        bins = np.minimum((p * 15).astype(int), 14)
        expected += sum(np.mean(bins == b) * abs((p - truth)[bins == b].mean()) for b in np.unique(bins)) / 5
    assert classwise_ece(predicted, labels) == pytest.approx(expected, abs=1e-6)


def test_calibration_errors_of_calibrated_predictions_are_small_and_of_overconfident_ones_are_not():
    rng = np.random.RandomState(2)
    probs = rng.dirichlet(np.ones(3), size=30_000)
    labels = (rng.rand(30_000, 1) > probs.cumsum(1)).sum(1)
    sharp = probs**4 / (probs**4).sum(1, keepdims=True)
    for metric in (adaptive_ece, classwise_ece):
        assert metric(predictions(probs), labels) < 0.01
        assert metric(predictions(sharp), labels) > 0.05
    ece = multiclass_calibration_error(torch.from_numpy(sharp), torch.from_numpy(labels), 3, n_bins=15).item()
    assert adaptive_ece(predictions(sharp), labels) == pytest.approx(ece, abs=0.01)  # all gaps have one sign


def test_rescore_adds_them_to_a_published_record_and_changes_nothing_else(builtin, tmp_path):
    folder = tmp_path / "digits5/v3/dropout"
    folder.mkdir(parents=True)
    for file in (PUBLISHED / "digits5/v3/dropout").glob("seed0*"):
        shutil.copy(file, folder)
    store = Store(tmp_path)
    (published,) = store.records()
    before = msgspec.structs.replace(
        published,
        scores={name: value for name, value in published.scores.items() if name.rpartition("/")[2] not in NEW},
        directions={name: value for name, value in published.directions.items() if name not in NEW},
    )
    (store.root / published.path).write_text(before.to_json())
    arrays = {path.name: path.read_bytes() for path in folder.glob("*.npz")}
    assert rescore(store, builtin) == [published.path]
    (after,) = store.records()
    assert after.scores.keys() - before.scores.keys() == {f"test/{name}" for name in NEW}
    assert {name: after.scores[name] for name in before.scores} == before.scores
    assert after.curves == before.curves
    assert {path.name: path.read_bytes() for path in folder.glob("*.npz")} == arrays
    assert set(verify_records(store.records(), store, builtin).values()) == {""}
