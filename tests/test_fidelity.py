"""Distance from the exact posterior: definitions, closed forms, the reference files, and the prior that methods share."""

import hashlib
import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from bbh_bench.api import Categorical, Problem
from bbh_bench.errors import ContractError, DataError
from bbh_bench.evaluation import fidelity
from bbh_bench.evaluation.stored import StoredRegression
from bbh_bench.methods.bbb import Bbb
from bbh_bench.methods.bbh import Bbh
from bbh_bench.methods.map import Map
from bbh_bench.methods.mnf import Mnf
from bbh_bench.tasks import digits5, digits5_mlp, toy

REFERENCES = {"digits5-mlp": digits5_mlp.TASK, "toy": toy.TASK}


def test_agreement_and_total_variation_of_distributions_that_one_can_compute_by_hand():
    probs = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    reference = np.array([[0.2, 0.6, 0.2], [0.1, 0.8, 0.1]])
    assert fidelity.agreement(probs, reference) == 0.5
    assert fidelity.total_variation(probs, reference) == pytest.approx(0.15)
    assert fidelity.total_variation(np.eye(3), np.roll(np.eye(3), 1, axis=1)) == 1.0


def test_total_variation_of_two_normal_distributions_is_that_of_the_closed_form():
    """Of N(0, 1) and N(d, 1) it is 2 Phi(d / 2) - 1; intervals of width 1 / 4 leave an error below 1e-3."""
    edges = np.arange(-8, 10, 0.25)
    for distance in (0.1, 1.0, 3.0):
        pair = [fidelity.interval_probabilities(np.array([[mean]]), 1.0, edges) for mean in (0.0, distance)]
        assert [each.sum() for each in pair] == pytest.approx([1.0, 1.0])
        assert fidelity.total_variation(*pair) == pytest.approx(2 * stats.norm.cdf(distance / 2) - 1, abs=1e-3)


def test_the_intervals_of_a_mixture_have_the_probabilities_of_its_samples():
    rng = np.random.default_rng(0)
    outputs, edges = rng.normal(size=(50, 2)), np.array([-1.0, 0.5, 2.0])
    samples = outputs[rng.integers(50, size=200_000)] + 0.7 * rng.normal(size=(200_000, 2))
    shares = [np.bincount(np.searchsorted(edges, column), minlength=4) / len(samples) for column in samples.T]
    # Four standard errors of a share of 200,000 samples.
    np.testing.assert_allclose(
        fidelity.interval_probabilities(outputs, 0.7, edges), shares, atol=4 * 0.5 / 200_000**0.5
    )


def test_predictions_equal_to_the_reference_have_distance_zero():
    rng = np.random.default_rng(1)
    log_odds = rng.normal(size=(6, 3))
    log_odds -= log_odds.max(axis=1, keepdims=True)
    arrays = {
        "test/labels": np.zeros(6, np.uint8),
        "test/log_odds": log_odds.astype(np.float16),
        "test/mutual_information": np.zeros(6, np.float16),
    }
    probs = np.exp(log_odds) / np.exp(log_odds).sum(axis=1, keepdims=True)
    scores = fidelity.of_classification(arrays, {"test": probs})
    assert scores["test/agreement"] == 1
    assert scores["test/total_variation"] < 1e-3  # predictions are stored in half precision
    with pytest.raises(ContractError, match="'ood/x'"):
        fidelity.of_classification(arrays, {"ood/x": probs})
    with pytest.raises(ContractError, match="other data"):
        fidelity.of_classification(arrays, {"test": probs[:5]})


def test_a_regression_on_another_grid_is_refused():
    grid = np.linspace(0, 1, 5)
    stored = StoredRegression(grid, grid, grid, grid, grid[None], np.zeros((2, 5), np.float32), 1.0)
    reference = {"edges": np.zeros(1), "inside/x": np.array([0.1]), "outside/x": np.array([2.0])}
    with pytest.raises(ContractError, match="not on the stored grid"):
        fidelity.of_regression(stored.arrays(), reference)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_is_as_accurate_as_its_description_says(name):
    """R-hat, effective sample size, floor."""
    task = REFERENCES[name]
    arrays, description = task.reference.load(), task.reference.description()
    assert description["digest"] == task.reference.digest
    assert description["settings"]["chains"] == 20
    assert description["settings"]["prior_scale"] == task.prior_scale
    measured = description["diagnostics"]
    sets = [key for key in arrays if f"{key}/x" in arrays or "edges" not in arrays]
    assert set(sets) == set(task.reference.floor) == set(measured["total_variation_between_halves"])
    for key in sets:
        np.testing.assert_allclose(arrays[key].sum(axis=1), 1, atol=1e-5)
        assert measured["r_hat_max"][key] < 1.02
        assert measured["effective_sample_size_min"][key] > 1000
        assert task.reference.floor[key] == pytest.approx(measured["total_variation_between_halves"][key], rel=1e-2)
        assert task.reference.floor[key] <= 0.005


def test_a_reference_that_was_changed_is_refused():
    with pytest.raises(DataError, match="Install bbh-bench again"):
        replace(toy.TASK.reference, digest="0" * 64).load()
    with pytest.raises(DataError, match=r"references/nothing\.npz"):
        replace(toy.TASK.reference, name="nothing").load()


def test_digest_of_the_reference_and_prior_are_part_of_what_identifies_a_task():
    described = digits5_mlp.TASK.describe()
    content = (files("bbh_bench.tasks") / "references" / "digits5-mlp.npz").read_bytes()
    assert described.evaluation["reference"]["digest"] == hashlib.sha256(content).hexdigest()
    assert described.fit["prior"] == "normal, standard deviation 1, on every weight and bias"
    others = digits5.TASK.describe()
    assert "prior" not in others.fit
    assert "reference" not in others.evaluation


def problem(prior_scale):
    """Ten inputs of one class: without a prior, the bias would grow without limit."""
    torch.manual_seed(0)
    x, y = torch.zeros(10, 3), torch.zeros(10, dtype=torch.int64)
    return Problem(x, y, lambda: nn.Sequential(nn.Linear(3, 2)), Categorical(2), 1000, 10, prior_scale=prior_scale)


def test_map_finds_the_mode_under_the_prior_that_the_task_states():
    """By symmetry the biases are b and -b; the mode satisfies ``N (1 - p) = b / s^2`` with p = 1 / (1 + exp(-2 b))."""
    for scale in (1.0, 0.3):
        network = Map(lr=2e-2).fit(problem(scale)).network
        bias = network[0].bias[0].item()
        share = 1 / (1 + np.exp(-2 * bias))
        assert 10 * (1 - share) == pytest.approx(bias / scale**2, rel=1e-2)
        assert network[0].weight.abs().max() < 1e-3  # the inputs are zero: only the prior acts on it


def test_without_a_stated_prior_map_leaves_biases_free():
    assert Map(lr=2e-2).fit(problem(None)).network[0].bias[0].item() > 3


@pytest.mark.filterwarnings("ignore:method 'bbh'")  # it has not learned much in so few steps
@pytest.mark.parametrize("method", [Bbb(), Mnf(), Bbh(units=(16,), noise=2)], ids=lambda method: method.name)
def test_a_stated_prior_takes_the_place_of_the_method_s_own(method):
    """The same posterior, to the bit, as with that scale as a field of the method."""
    task = replace(problem(None), epochs=20)
    fits = []
    for chosen, scale in ((method, 0.3), (replace(method, prior_scale=0.3), None), (method, None)):
        torch.manual_seed(1)
        posterior = chosen.fit(replace(task, prior_scale=scale))
        torch.manual_seed(2)
        fits.append(posterior.sample(3)(torch.ones(2, 3)))
    assert torch.equal(fits[0], fits[1])
    assert not torch.equal(fits[0], fits[2])


DATA = Path(os.environ.get("BBH_BENCH_DATA", "."))
COMPETITION = DATA / "neurips-bdl" / "cifar10_probs.csv"
FIRST_CLASSES = [7, 0, 6, 9, 5, 1, 7, 0, 3, 2, 7, 2, 7, 9, 2, 8, 8, 8, 7, 9, 4, 2, 3, 5, 3, 8, 2, 8, 1, 8]
"""The most probable class in the first rows of ``data/cifar10/probs.csv`` of the NeurIPS 2021 competition on approximate
inference: HMC on CIFAR-10 by Izmailov et al., which reaches 91.44 % with an NLL of 0.277."""


def labels_of_the_competition():
    """Labels of CIFAR-10's test images in the order of the competition: by the MD5 of "test" and their index."""
    from torchvision.datasets import CIFAR10

    labels = CIFAR10(DATA, train=False).targets
    return np.array([labels[k] for k in sorted(range(10_000), key=lambda k: hashlib.md5(f"test{k}".encode()).digest())])


needs_cifar = pytest.mark.skipif(
    not (DATA / "cifar-10-batches-py" / "test_batch").is_file(), reason="needs CIFAR-10 in BBH_BENCH_DATA"
)


@needs_cifar
def test_the_order_of_the_competition_s_rows():
    """27 of 30 predictions are right; in the wrong order it would be 3 in the mean, and 12 with a probability of 1e-5."""
    assert np.sum(labels_of_the_competition()[:30] == FIRST_CLASSES) == 27


@needs_cifar
@pytest.mark.skipif(not COMPETITION.is_file(), reason=f"needs the competition's probs.csv as {COMPETITION}")
def test_the_hmc_predictive_of_the_competition_has_its_published_scores():
    """Agreement with the one-hot labels is the accuracy, and total variation the mean probability of all other classes."""
    probs, labels = np.loadtxt(COMPETITION, delimiter=","), labels_of_the_competition()
    right = probs[np.arange(len(labels)), labels]
    assert fidelity.agreement(probs, np.eye(10)[labels]) == pytest.approx(0.9144, abs=5e-5)
    assert fidelity.total_variation(probs, np.eye(10)[labels]) == pytest.approx(1 - right.mean(), abs=1e-6)
    assert -np.log(right).mean() == pytest.approx(0.277, abs=5e-4)
