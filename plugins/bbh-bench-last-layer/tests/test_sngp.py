"""SNGP: the kernel of its features, the bound of its norms, and its Laplace posterior, each against another computation."""

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bbh_bench_last_layer import Sngp
from bbh_bench_last_layer.sngp import FourierFeatures, factor_of, precision
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from torch import nn

from bbh_bench.api import Gaussian, Problem
from bbh_bench.errors import ContractError
from bbh_bench.plugins import load_plugins
from bbh_bench.testing import check_method, small_problem


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_it_satisfies_the_contract(kind):
    check_method(Sngp(features=128), kind)


def test_the_suite_finds_it_through_its_entry_point():
    assert load_plugins().methods.registered("sngp").package == "bbh-bench-last-layer"


def test_the_features_have_the_kernel_of_scikit_learn():
    """20,000 features; five standard errors of a mean of products, whose standard deviation is below 1."""
    torch.manual_seed(0)
    h = torch.randn(6, 3)
    features = FourierFeatures(3, 20_000, lengthscale=1.7)(h)
    np.testing.assert_allclose((features @ features.T).numpy(), RBF(1.7)(h.numpy()), atol=5 / 20_000**0.5)


@pytest.mark.parametrize("norm", [0.5, 1.0])
def test_no_kernel_exceeds_the_norm_after_training(norm):
    torch.manual_seed(0)
    posterior = Sngp(features=64, norm=norm).fit(small_problem(epochs=20))
    layers = [layer for layer in posterior.features.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    norms = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in layers]
    assert len(norms) == 2
    assert max(norms) <= norm * (1 + 1e-3)


def test_a_kernel_below_the_norm_stays_as_it_is():
    networks = []
    for norm in (1e3, 1e6):
        torch.manual_seed(0)
        networks.append(Sngp(features=64, norm=norm).fit(small_problem(epochs=1)).features)
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        assert one.equal(other)


def test_with_the_features_fixed_it_is_a_gaussian_process():
    """Predictive mean and standard deviation of scikit-learn's exact process, from 2,500 features and their closed form.

    The mode is that of ridge regression on the features, so that only the number of features separates the two.
    """
    torch.manual_seed(0)
    x, std = 4 * torch.rand(15, 1) - 2, 0.3
    y = torch.sin(2 * x[:, 0]) + std * torch.randn(15)
    problem = Problem(x, y, lambda: nn.Sequential(nn.Linear(1, 1)), Gaussian(std), 1, 15)
    features = FourierFeatures(1, 2500, lengthscale=0.8)
    design = features(x).double()
    mode = design.T @ torch.linalg.solve(design @ design.T + std**2 * torch.eye(15), y.double())
    factor = factor_of(precision(features, mode.float().unsqueeze(0), problem, prior_scale=1.0))[0]
    grid = torch.linspace(-3, 3, 13).unsqueeze(1)
    deviation = (features(grid) @ factor).norm(dim=1)
    process = GaussianProcessRegressor(RBF(0.8, "fixed"), alpha=std**2).fit(x.numpy(), y.numpy())
    mean, expected = process.predict(grid.numpy(), return_std=True)
    np.testing.assert_allclose((features(grid).double() @ mode).numpy(), mean, atol=0.05)
    np.testing.assert_allclose(deviation.numpy(), expected, atol=0.05)


def test_the_precision_is_the_hessian_of_the_negative_log_posterior():
    """By autograd, each output by itself."""
    torch.manual_seed(0)
    problem = small_problem()
    features = nn.Sequential(nn.Flatten(), FourierFeatures(36, 10, 2.0))
    weight, scale = torch.randn(3, 10), 0.7

    def negative_log_posterior(flat):
        weights = flat.view(3, 10)
        loss = F.cross_entropy(features(problem.x) @ weights.T, problem.y, reduction="sum")
        return loss + weights.square().sum() / (2 * scale**2)

    hessian = torch.autograd.functional.hessian(negative_log_posterior, weight.flatten()).view(3, 10, 3, 10)
    computed = precision(features, weight, problem, scale).float()
    for k in range(3):
        torch.testing.assert_close(computed[k], hessian[k, :, k], rtol=1e-4, atol=1e-4)
        factor = factor_of(computed[k : k + 1].double())[0]
        torch.testing.assert_close(factor @ factor.T, torch.linalg.inv(computed[k]), rtol=1e-3, atol=1e-5)


def test_it_is_uncertain_far_from_the_data():
    """On the moons-like problem of two inputs: the entropy far away is larger than on the training inputs."""
    torch.manual_seed(0)
    x = torch.cat([torch.randn(60, 2) / 4 + 1, torch.randn(60, 2) / 4 - 1])
    y = torch.arange(2).repeat_interleave(60)

    def network():
        return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))

    posterior = Sngp(features=256).fit(Problem(x, y, network, small_problem().likelihood, 60, 20))

    def entropy(inputs):
        probs = posterior.sample(100)(inputs).softmax(-1).mean(0)
        return -(probs * probs.log()).sum(-1).mean()

    assert entropy(torch.tensor([[6.0, -6.0], [-6.0, 6.0]])) > entropy(x) + 0.2


def test_its_posterior_can_be_saved():
    torch.manual_seed(0)
    posterior = Sngp(features=32).fit(small_problem(epochs=2))
    loaded = pickle.loads(pickle.dumps(posterior))
    x = small_problem().x[:3]
    outputs = []
    for each in (posterior, loaded):
        torch.manual_seed(1)
        outputs.append(each.sample(4)(x))
    assert outputs[0].equal(outputs[1])


def test_other_networks_and_likelihoods_are_refused():
    data = torch.rand(4, 3), torch.rand(4)
    with pytest.raises(ContractError, match=r"method 'sngp' needs an nn.Sequential whose last layer"):
        Sngp().fit(Problem(*data, lambda: nn.Linear(3, 1), Gaussian(1.0), 1, 4))
    with pytest.raises(ContractError, match=r"method 'sngp': .* neither Categorical nor Gaussian"):
        Sngp().fit(Problem(*data, lambda: nn.Sequential(nn.Linear(3, 1)), F.mse_loss, 1, 4))
