"""Oracles: scikit-learn and torchmetrics, and values worked out by hand where the metric itself calls a library."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, auc, log_loss
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from bbh_bench.evaluation import metrics
from bbh_bench.evaluation.predictive import Predictions


def predictions(probs) -> Predictions:
    probs = np.asarray(probs, dtype=np.float64)
    return Predictions(np.log(probs), np.zeros(len(probs)))


@pytest.fixture
def sample():
    rng = np.random.RandomState(0)
    return predictions(rng.dirichlet(np.ones(5) / 3, size=400) + 1e-9), rng.randint(0, 5, size=400)


def test_error_and_nll_agree_with_scikit_learn(sample):
    predicted, labels = sample
    assert metrics.error(predicted, labels) == pytest.approx(1 - accuracy_score(labels, predicted.probs.argmax(1)))
    probs = predicted.probs / predicted.probs.sum(1, keepdims=True)
    assert metrics.nll(predicted, labels) == pytest.approx(log_loss(labels, probs), rel=1e-6)


def test_brier_by_hand():
    predicted = predictions([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]])
    assert metrics.brier(predicted, np.array([0, 1])) == pytest.approx(
        (0.09 + 0.04 + 0.01 + 0.25 + 0.5625 + 0.0625) / 2
    )


def test_ece_by_hand():
    # Two inputs at confidence 0.9, one correct; two at 0.6, both correct: |0.5 - 0.9| / 2 + |1 - 0.6| / 2.
    predicted = predictions([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert metrics.ece(predicted, np.array([0, 1, 0, 0])) == pytest.approx(0.4, abs=1e-6)


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_signed_ece_is_the_weighted_sum_of_signed_gaps_of_any_bins(sample, bins):
    predicted, labels = sample
    probs = predicted.probs / predicted.probs.sum(1, keepdims=True)
    confidence, correct = probs.max(1), probs.argmax(1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [np.mean(bin_of == k) * (confidence - correct)[bin_of == k].mean() for k in np.unique(bin_of)]
    value = metrics.signed_ece(predictions(probs), labels)
    assert value == pytest.approx(sum(gaps), rel=1e-12)
    assert value == pytest.approx(confidence.mean() - accuracy_score(labels, probs.argmax(1)), rel=1e-12)


def test_signed_ece_agrees_with_torchmetrics_where_all_gaps_have_one_sign(sample):
    predicted, _ = sample
    right = predicted.log_probs.argmax(1)
    assert metrics.signed_ece(predicted, right) == pytest.approx(-metrics.ece(predicted, right), abs=1e-6)
    wrong = predicted.log_probs.argmin(1)
    assert metrics.signed_ece(predicted, wrong) == pytest.approx(metrics.ece(predicted, wrong), abs=1e-6)


def test_entropy_auc_is_the_area_under_the_empirical_distribution_function(sample):
    predicted, _ = sample
    h_max = np.log(5)
    points = np.sort(predicted.entropy)
    # The step function for scikit-learn's trapezoid rule: the lower and the upper end of each step.
    x = np.r_[0, np.repeat(points, 2), h_max]
    y = np.r_[0, np.stack([np.arange(400), np.arange(1, 401)], 1).ravel() / 400, 1]
    assert metrics.entropy_auc(predicted) == pytest.approx(auc(x, y) / h_max, abs=1e-9)


@pytest.mark.parametrize("classes", [5, 10])
def test_entropy_auc_at_the_ends(classes):
    certain = np.full((3, classes), 1e-300)
    certain[:, 0] = 1
    assert metrics.entropy_auc(predictions(certain)) == pytest.approx(1)
    assert metrics.entropy_auc(predictions(np.full((3, classes), 1 / classes))) == pytest.approx(0, abs=1e-12)


def test_detection_agrees_with_torchmetrics_and_counts_ties_as_half():
    rng = np.random.RandomState(1)
    test = predictions(rng.dirichlet(np.ones(4) / 4, size=150) + 1e-6)
    ood = predictions(rng.dirichlet(np.ones(4), size=90) + 1e-6)
    score = torch.from_numpy(np.r_[test.entropy, ood.entropy])
    truth = torch.cat([torch.zeros(150), torch.ones(90)]).long()
    assert metrics.auroc(test, ood) == pytest.approx(binary_auroc(score, truth).item(), abs=1e-6)
    assert metrics.aupr(test, ood) == pytest.approx(binary_average_precision(score, truth).item(), abs=1e-6)
    assert metrics.auroc(test, test) == pytest.approx(0.5)


def test_fpr95_by_hand():
    # Entropy grows with p up to 1/2. Of twenty OOD inputs, 19 must reach the threshold: it is their second lowest entropy.
    def binary(ps):
        return predictions([[p, 1 - p] for p in ps])

    ood = binary([0.01] + [0.2] * 19)
    test = binary([0.001] * 6 + [0.3] * 3 + [0.2])
    assert metrics.fpr95(test, ood) == pytest.approx(0.4)


def test_decomposition_adds_up(sample):
    predicted, _ = sample
    parts = Predictions(predicted.log_probs, predicted.entropy / 3)
    assert metrics.expected_entropy(parts) + metrics.mutual_information(parts) == pytest.approx(metrics.entropy(parts))
