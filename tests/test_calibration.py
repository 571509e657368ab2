"""Temperature-scaled likelihood. Oracles: SciPy's optimisers on the textbook formula, and closed forms for two classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_softmax

from bbh_bench.calibration import inverse_temperature, scaled_nll, shuffled
from bbh_bench.evaluation import metrics
from bbh_bench.evaluation.predictive import Predictions


def nll(log_probs, labels):
    return -log_softmax(log_probs, axis=1)[np.arange(len(labels)), labels]


def penalty(b):
    return np.log(b) ** 2 / 2 if b < np.e else 0.5 + (b - np.e) / np.e


def objective(t, log_probs, labels):
    b = np.exp(t)
    return nll(b * log_probs, labels).sum() + penalty(b)


def by_scipy(log_probs, labels):
    """The inverse temperature: a grid over 16 powers of ten, and Brent's method around its best point."""
    grid = np.arange(-24.0, 14.0, 0.25)
    best = grid[np.argmin([objective(t, log_probs, labels) for t in grid])]
    found = minimize_scalar(
        objective, (best - 0.25, best, best + 0.25), args=(log_probs, labels), method="brent", tol=1e-12
    )
    return np.exp(found.x)


def sample(seed, images=300, classes=5, scale=2.0):
    """Predictions of which the labels are drawn, so that they are calibrated."""
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(scale * rng.normal(size=(images, classes)), axis=1)
    return log_probs, (np.exp(log_probs).cumsum(1) > rng.random((images, 1))).argmax(1)


def test_the_score_is_the_textbook_formula_with_scipys_temperatures():
    log_probs, labels = sample(0, images=151)
    log_probs *= 2.5
    held_out = []
    for seed in range(5):
        order = shuffled(151, seed)
        halves = order[:75], order[75:]
        for fit, test in (halves, halves[::-1]):
            held_out.append(nll(by_scipy(log_probs[fit], labels[fit]) * log_probs[test], labels[test]))
    assert scaled_nll(log_probs, labels) == pytest.approx(np.concatenate(held_out).mean(), rel=1e-7)
    assert scaled_nll(log_probs, labels) == metrics.nll_scaled(Predictions(log_probs, np.zeros(151)), labels)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6),
    st.integers(1, 120),
    st.integers(1, 10),
    st.floats(-9, 4.7),
    st.sampled_from([0.0, 0.5, 0.97, 1.0]),
)
def test_the_temperature_has_the_smallest_objective_that_scipy_finds(seed, images, classes, power, accuracy):
    """Log-odds from 1e-9 to 60,000, no image or every image correct."""
    rng = np.random.default_rng(seed)
    log_probs = np.clip(10**power * rng.normal(size=(images, classes)), -60000, 60000)
    correct = rng.random(images) < accuracy
    labels = np.where(correct, log_probs.argmax(1), rng.integers(0, classes, images))
    ours, scipys = inverse_temperature(log_probs, labels), by_scipy(log_probs, labels)
    found = objective(np.log(ours), log_probs, labels)
    assert found <= objective(np.log(scipys), log_probs, labels) + 1e-11 * max(1, found)


def test_the_temperature_in_closed_form_for_two_classes_with_the_same_log_odds():
    """n images with log-odds m, c of them correct: the derivative is -m (c - n s(b m)) + log(b) / b, with the logistic s.

    With many images the prior does not count, and b m is the log-odds of the accuracy.
    """
    n, c, m = 40, 31, 2.0
    log_probs, labels = np.tile([0.0, -m], (n, 1)), np.r_[np.zeros(c, int), np.ones(n - c, int)]
    root = brentq(lambda b: -m * (c - n / (1 + np.exp(-b * m))) + np.log(b) / b, 1e-3, np.e, xtol=1e-15)
    assert inverse_temperature(log_probs, labels) == pytest.approx(root, rel=1e-12)
    many = inverse_temperature(np.repeat(log_probs, 10**4, axis=0), np.repeat(labels, 10**4))
    assert many == pytest.approx(np.log(31 / 9) / m, rel=1e-5)


def test_the_temperature_in_closed_form_where_every_image_is_correct():
    """The likelihood alone has none. With its penalty's tangent, n m / (1 + exp(b m)) = 1 / e for b > e."""
    n, m = 50, 0.5
    b = inverse_temperature(np.tile([0.0, -m], (n, 1)), np.zeros(n, int))
    assert b == pytest.approx(np.log(n * m * np.e - 1) / m, rel=1e-12)
    assert b > np.e


def test_a_factor_of_the_logits_hardly_matters_with_many_images():
    log_probs, labels = sample(1, images=4000)
    score = scaled_nll(log_probs, labels)
    for factor in (1 / 3, 3.0, 30.0):
        assert scaled_nll(factor * log_probs, labels) == pytest.approx(score, rel=3e-3)
    assert scaled_nll(log_probs, labels) == pytest.approx(nll(log_probs, labels).mean(), rel=3e-3)  # it was calibrated


@pytest.mark.parametrize("images", [100, 270])
def test_calibrated_predictions_lose_little_and_overconfident_ones_gain(images):
    """Over 40 samples: the temperature costs about half a nat for each half of the images, as a fitted parameter does."""
    losses, gains = [], []
    for seed in range(40):
        log_probs, labels = sample(seed, images)
        before = nll(log_probs, labels).mean()
        losses.append(scaled_nll(log_probs, labels) - before)
        gains.append(nll(4 * log_probs, labels).mean() - scaled_nll(4 * log_probs, labels))
    assert 0 < np.mean(losses) < 2 / images
    assert min(gains) > 0


def test_half_a_test_set_without_errors_has_no_temperature_of_zero():
    """One misclassified image of 100: fitted on the half without it, the temperature zero would give it no probability."""
    log_probs = np.tile([0.0, -3.0, -4.0], (100, 1))
    labels = np.zeros(100, int)
    assert scaled_nll(log_probs, labels) < nll(log_probs, labels).mean() / 3  # all correct: more confidence is better
    labels[17] = 1
    assert scaled_nll(log_probs, labels) < 2 * nll(log_probs, labels).mean()


def test_no_log_probability_is_too_low_and_constant_predictions_have_log_k():
    log_probs = np.tile([0.0, -60000.0, -1.0], (60, 1))
    labels = np.arange(60) % 3
    assert np.log(2) < scaled_nll(log_probs, labels) < 1.5  # best for two thirds of the images: a high temperature
    for constant in (np.zeros((60, 3)), np.full((60, 3), -np.log(3))):
        assert scaled_nll(constant, labels) == pytest.approx(np.log(3), rel=1e-12)
        assert inverse_temperature(constant, labels) == pytest.approx(1, abs=1e-12)
    assert scaled_nll(np.zeros((4, 1)), np.zeros(4, int)) == 0
    one = np.array([[0.0, -2.0]])  # one half is empty, so that the temperature of the other is 1
    assert scaled_nll(one, np.array([1])) == pytest.approx(nll(one, [1])[0], rel=1e-12)


def test_small_likelihoods_keep_their_digits():
    """The likelihood of certain and correct predictions is far below the rounding of one."""
    log_probs = np.tile([0.0, -50.0], (100, 1))
    b = inverse_temperature(log_probs[:50], np.zeros(50, int))
    assert scaled_nll(log_probs, np.zeros(100, int)) == pytest.approx(np.exp(-50 * b), rel=1e-9)


def test_the_order_of_classes_and_constants_of_rows_do_not_count():
    log_probs, labels = sample(2)
    order = np.array([3, 1, 4, 0, 2])
    moved = np.empty_like(log_probs)
    moved[:, order] = log_probs + np.linspace(-50, 50, 300)[:, None]
    assert scaled_nll(moved, order[labels]) == pytest.approx(scaled_nll(log_probs, labels), rel=1e-11)


def test_the_splits_are_those_of_the_published_scores():
    """They are part of the score: the order of the first numbers that NumPy's documentation shows for ``default_rng(0)``."""
    documented = [0.6369616873, 0.2697867138, 0.0409735239, 0.0165276355, 0.8132702392, 0.9127555773, 0.6066357758]
    assert shuffled(7, 0).tolist() == np.argsort(documented).tolist()
    assert sorted(shuffled(100, 3)) == list(range(100))


def test_what_cannot_be_scored_says_why():
    with pytest.raises(ValueError, match="at least one image"):
        scaled_nll(np.zeros((0, 3)), np.zeros(0, int))
    with pytest.raises(ValueError, match="finite"):
        scaled_nll(np.array([[0.0, -np.inf], [0.0, -1.0]]), np.array([0, 0]))
