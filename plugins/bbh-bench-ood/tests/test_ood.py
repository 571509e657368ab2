"""The detectors: their contract, and their scores against SciPy and scikit-learn on features that torch alone computes."""

import io
from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from bbh_bench_ood import Ddu, Energy, Mahalanobis, MaxLogit, NearestNeighbours
from bbh_bench_ood.features import penultimate
from helpers import TINY, NoProgress, context, planned
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors as SklearnNeighbours
from torch import nn

from bbh_bench.errors import ContractError
from bbh_bench.methods.dropout import Dropout
from bbh_bench.methods.ensemble import Ensemble
from bbh_bench.methods.map import Map
from bbh_bench.plugins import load_plugins
from bbh_bench.running.runner import run_cell
from bbh_bench.running.stages import seed_everything
from bbh_bench.testing import check_method, small_problem, small_regression

BASE = Map(lr=0.01)
DETECTORS = [
    Energy(base=BASE),
    MaxLogit(base=BASE),
    Mahalanobis(base=BASE),
    Ddu(base=BASE),
    NearestNeighbours(base=BASE),
]
TWO = Ensemble(members=2, base=BASE)
named = pytest.mark.parametrize("method", DETECTORS, ids=lambda method: method.name)


def fit(method, problem, seed=0):
    seed_everything(seed, "fit")
    return method.fit(problem)


@pytest.fixture(scope="module")
def problem():
    """Fifty images, of which the classes have 20, 20 and 10."""
    whole = small_problem(epochs=20)
    some = torch.cat([torch.arange(60)[whole.y == c][:n] for c, n in enumerate((20, 20, 10))])
    return replace(whole, x=whole.x[some], y=whole.y[some])


@pytest.fixture(scope="module")
def network(problem):
    return fit(BASE, problem).network


@pytest.fixture(scope="module")
def images():
    return torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(1)) * 2


def scores(method, problem, images):
    return fit(method, problem).ood_score(images).double().numpy()


def features(network, x):
    """What the last layer of the small network gets, by layers of torch alone."""
    with torch.no_grad():
        return network[:-1](x).double().numpy()


@named
def test_detectors_satisfy_the_contract(method):
    check_method(method)


def test_a_detector_on_an_ensemble_satisfies_the_contract():
    check_method(Mahalanobis(base=TWO))


def test_the_suite_finds_them_through_their_entry_point():
    plugins = load_plugins()
    assert plugins.problems == ()
    for method in DETECTORS:
        assert plugins.methods.registered(method.name).package == "bbh-bench-ood"


@named
def test_predictions_are_those_of_the_base_with_the_same_seed(method, problem, network, images):
    posterior = fit(method, problem, seed=0)
    assert posterior.sample(3)(images).equal(network(images).unsqueeze(0))
    assert posterior.differentiable


def test_features_are_the_input_of_the_linear_layer_that_is_called_last(network, images):
    assert np.array_equal(penultimate(network, images).numpy(), features(network, images))

    class Reversed(nn.Module):
        """Its layers are called in another order than that of their definition."""

        def __init__(self):
            super().__init__()
            self.head, self.body = nn.Linear(4, 3), nn.Linear(36, 4)

        def forward(self, x):
            return self.head(self.body(x.flatten(1)).relu())

    other = Reversed()
    assert penultimate(other, images).equal(other.body(images.flatten(1)).relu().double())
    assert not any(layer._forward_pre_hooks for layer in other.modules())


def test_energy_and_largest_logit(problem, network, images):
    logits = network(images).numpy().astype(float)
    assert np.array_equal(scores(MaxLogit(base=BASE), problem, images), -logits.max(1))
    np.testing.assert_allclose(
        scores(Energy(base=BASE), problem, images), -scipy.special.logsumexp(logits, axis=1), rtol=1e-5, atol=1e-6
    )
    expected = -5 * scipy.special.logsumexp(logits / 5, axis=1)
    np.testing.assert_allclose(
        scores(Energy(base=BASE, temperature=5), problem, images), expected, rtol=1e-5, atol=1e-6
    )


def test_mahalanobis_is_that_of_scikit_learn(problem, network, images):
    """Which inverts a singular covariance in the same way: some features of a rectifier are always zero."""
    z, y, new = features(network, problem.x), problem.y.numpy(), features(network, images)
    means = np.stack([z[y == c].mean(0) for c in range(3)])
    covariance = EmpiricalCovariance(assume_centered=True).fit(z - means[y])
    expected = np.min([covariance.mahalanobis(new - mean) for mean in means], axis=0)
    np.testing.assert_allclose(scores(Mahalanobis(base=BASE), problem, images), expected, rtol=1e-6)


def test_ddu_is_the_density_that_scipy_gives(problem, network, images):
    """The class with ten images and sixteen features has a singular covariance; shares of classes differ."""
    z, y, new = features(network, problem.x), problem.y.numpy(), features(network, images)
    spread = np.mean([(z[y == c] - z[y == c].mean(0)) ** 2 for c in range(2)]) * 40 / 50
    spread += np.mean((z[y == 2] - z[y == 2].mean(0)) ** 2) * 10 / 50
    classes = [
        np.log(np.mean(y == c))
        + scipy.stats.multivariate_normal(z[y == c].mean(0), np.cov(z[y == c].T) + 0.1 * spread * np.eye(16)).logpdf(
            new
        )
        for c in range(3)
    ]
    expected = -scipy.special.logsumexp(classes, axis=0)
    np.testing.assert_allclose(scores(Ddu(base=BASE, ridge=0.1), problem, images), expected, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 7, 50])
def test_neighbours_are_those_of_scikit_learn(problem, network, images, k):
    def unit(z):
        return z / np.linalg.norm(z, axis=1, keepdims=True)

    neighbours = SklearnNeighbours(n_neighbors=k).fit(unit(features(network, problem.x)))
    expected = neighbours.kneighbors(unit(features(network, images)))[0][:, -1]
    np.testing.assert_allclose(scores(NearestNeighbours(base=BASE, k=k), problem, images), expected, atol=1e-5)


def test_training_images_are_their_own_nearest_neighbours(problem):
    """Also in single precision: the distance is not the root of a difference."""
    assert scores(NearestNeighbours(base=BASE, k=1), problem, problem.x).max() < 1e-6


@named
def test_the_score_of_an_ensemble_is_the_mean_over_its_members(method, problem, images):
    posterior = fit(replace(method, base=TWO), problem)
    assert len(posterior.sample(100)(images)) == 2
    members = [score(images) for score in posterior.scores]
    assert not members[0].equal(members[1])
    assert posterior.ood_score(images).equal((members[0] + members[1]) / 2)
    assert len(fit(replace(method, base=Ensemble(members=2, base=TWO)), problem).scores) == 4


@named
def test_parameters_include_what_is_stored(method, problem, network):
    """Sixteen features of three classes and fifty training images."""
    own = sum(weight.numel() for weight in network.parameters())
    stored = {"mahalanobis": 3 * 16 + 16**2, "ddu": 3 + 3 * 16 + 3 * 16**2, "knn": 50 * 16}
    assert fit(method, problem).parameters == own + stored.get(method.name, 0)


@named
def test_a_posterior_can_be_cached(method, problem, images):
    """Stored and read as ``run --posteriors`` does."""
    posterior, file = fit(method, problem), io.BytesIO()
    torch.save(posterior, file)
    file.seek(0)
    assert torch.load(file, weights_only=False).ood_score(images).equal(posterior.ood_score(images))


@named
def test_regression_is_refused(method):
    with pytest.raises(ContractError, match=f"'{method.name}' detects OOD inputs of a classification.*Gaussian"):
        method.fit(small_regression(epochs=1))


@named
def test_a_base_that_samples_its_weights_is_refused(method):
    base = Dropout(lr=0.01)
    with pytest.raises(ContractError, match=r"frozen networks; 'dropout' gives a \w+\. Use map"):
        replace(method, base=base).fit(small_problem(epochs=1))


@pytest.mark.parametrize("method", DETECTORS[2:], ids=lambda method: method.name)
def test_a_network_without_a_linear_layer_is_refused(method):
    def network():
        return nn.Sequential(nn.Conv2d(1, 3, 6), nn.Flatten())

    problem = replace(small_problem(epochs=1), network=network)
    with pytest.raises(ContractError, match=r"calls none\. Use a method that needs logits only"):
        method.fit(problem)
    assert Energy(base=BASE).fit(problem).ood_score(problem.x).shape == (60,)


@pytest.mark.parametrize("k", [0, 61])
def test_more_neighbours_than_training_images_are_refused(k):
    with pytest.raises(ContractError, match=f"k = {k} for 60 training inputs"):
        NearestNeighbours(base=BASE, k=k).fit(small_problem(epochs=1))


@named
def test_a_cell_has_the_score_in_its_record_and_the_other_scores_of_its_base(method, tmp_path):
    loaded = TINY.load(tmp_path)
    base = run_cell(context(), planned(TINY, BASE), lambda: loaded, NoProgress()).record
    result = run_cell(context(), planned(TINY, method), lambda: loaded, NoProgress())
    record = result.record
    assert TINY.faults(result.arrays) == []
    assert 0.5 < record.scores["ood/digits5-9/auroc_ood_score"] <= 1
    assert {name: record.scores[name] for name in base.scores} == base.scores
    assert record.warnings == []
