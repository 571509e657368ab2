import pytest
import torch
import torch.nn.functional as F
from bbh_bench_last_layer import Vbll
from bbh_bench_last_layer.vbll import Head, jensen
from torch import nn

from bbh_bench.api import Gaussian, Problem
from bbh_bench.errors import ContractError
from bbh_bench.plugins import load_plugins
from bbh_bench.tasks.cifar import TASK as CIFAR5
from bbh_bench.testing import check_method, small_problem


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_it_satisfies_the_contract(kind):
    check_method(Vbll(), kind)


def test_the_suite_finds_it_through_its_entry_point():
    assert load_plugins().methods.registered("vbll").package == "bbh-bench-last-layer"


def test_on_fixed_features_it_is_bayesian_linear_regression():
    """Mean and covariance of the weights in closed form (Bishop 2006, eqs. 3.53 and 3.54), from 4,000 steps of Adam.

    The Gaussian family contains the posterior, so that the optimum of the bound is the posterior itself.
    """
    torch.manual_seed(0)
    x, std, scale = torch.randn(40, 3), 0.5, 2.0
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.3 + std * torch.randn(40)
    problem = Problem(x, y, lambda: nn.Sequential(nn.Linear(3, 1)), Gaussian(std), epochs=4000, batch_size=40)
    posterior = Vbll(lr=3e-3, prior_scale=scale).fit(problem)
    design = torch.cat([x, torch.ones(40, 1)], 1).double()
    covariance = torch.linalg.inv(torch.eye(4) / scale**2 + design.T @ design / std**2)
    mean = covariance @ design.T @ y.double() / std**2
    fitted = (posterior.factor @ posterior.factor.mT)[0].double()
    torch.testing.assert_close(posterior.mean[0].double(), mean, atol=2e-3, rtol=0)
    torch.testing.assert_close(fitted, covariance, atol=0.02 * covariance.max().item(), rtol=0)


def test_samples_have_the_mean_and_variance_of_the_head():
    """20,000 samples; tolerances are five standard errors."""
    torch.manual_seed(0)
    posterior = Vbll().fit(small_problem(epochs=5))
    x = small_problem().x[:6]
    features = posterior.features(x)
    outputs = posterior.sample(20_000)(x)
    variance = torch.einsum("bd,kde->bke", features, posterior.factor).square().sum(-1)
    assert ((outputs.mean(0) - features @ posterior.mean.T) / variance.sqrt()).abs().max() < 5 / 20_000**0.5
    assert (outputs.var(0) / variance - 1).abs().max() < 5 * (2 / 20_000) ** 0.5


def test_the_divergence_is_that_of_torch():
    torch.manual_seed(0)
    head = Head(nn.Linear(4, 3), 0.3)
    nn.init.normal_(head.below)
    normal = torch.distributions.MultivariateNormal(head.mean, scale_tril=head.factor())
    prior = torch.distributions.MultivariateNormal(torch.zeros(5), 4.0 * torch.eye(5))
    expected = torch.distributions.kl_divergence(normal, prior).sum()
    torch.testing.assert_close(head.kl(2.0), expected, rtol=1e-5, atol=0)


def test_the_bound_is_above_the_expected_cross_entropy_and_exact_without_variance():
    """The expectation from 200,000 samples, whose standard error is below 0.005 here."""
    torch.manual_seed(0)
    mean, variance, y = torch.randn(8, 4), torch.rand(8, 4), torch.arange(8) % 4
    logits = mean + variance.sqrt() * torch.randn(200_000, 8, 4)
    expected = -(logits.log_softmax(-1)[:, torch.arange(8), y]).mean()
    bound = jensen(mean, variance, y)
    assert expected + 0.01 < bound < expected + variance.max() / 2
    torch.testing.assert_close(jensen(mean, torch.zeros(8, 4), y), F.cross_entropy(mean, y))


def test_the_prior_of_the_task_takes_the_place_of_its_own():
    from dataclasses import replace

    problem = small_problem(epochs=2)
    stated = replace(problem, prior_scale=0.3)
    means = []
    for each, own in ((stated, 1.0), (stated, 5.0), (problem, 0.3), (problem, 1.0)):
        torch.manual_seed(0)
        means.append(Vbll(prior_scale=own).fit(each).mean)
    assert means[0].equal(means[1])
    assert not means[0].equal(means[3])


def test_a_residual_network_has_features_too():
    torch.manual_seed(0)
    problem = Problem(torch.rand(4, 3, 24, 24), torch.arange(4), CIFAR5.network.build, small_problem().likelihood, 1, 4)
    assert Vbll().fit(problem).sample(2)(problem.x).shape == (2, 4, 5)


@pytest.mark.parametrize("network", [nn.Linear(3, 1), nn.Sequential(nn.Linear(3, 1), nn.Tanh()), nn.Sequential()])
def test_other_networks_are_refused(network):
    with pytest.raises(ContractError, match=r"method 'vbll' needs an nn.Sequential whose last layer"):
        Vbll().fit(Problem(torch.rand(4, 3), torch.rand(4), lambda: network, Gaussian(1.0), 1, 4))


def test_other_likelihoods_are_refused():
    problem = Problem(torch.rand(4, 3), torch.rand(4), lambda: nn.Sequential(nn.Linear(3, 1)), F.mse_loss, 1, 4)
    with pytest.raises(ContractError, match="neither Categorical nor Gaussian"):
        Vbll().fit(problem)
