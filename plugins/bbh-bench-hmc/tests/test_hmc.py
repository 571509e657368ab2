import pytest
import torch
from bbh_bench_hmc import Hmc
from bbh_bench_hmc.translate import as_jax, translate
from torch import nn

from bbh_bench.api import Gaussian, Problem
from bbh_bench.errors import ContractError
from bbh_bench.plugins import load_plugins
from bbh_bench.tasks.networks import small_lenet
from bbh_bench.testing import check_method

QUICK = Hmc(chains=2, warmup=60, draws=40, leapfrog=16)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_it_satisfies_the_contract(kind):
    check_method(QUICK, kind)


def test_the_suite_finds_it_through_its_entry_point():
    assert load_plugins().methods.registered("hmc").package == "bbh-bench-hmc"


def test_a_linear_model_has_the_posterior_of_the_closed_form():
    """The predictive mean and variance of Bayesian linear regression (Bishop 2006, eqs. 3.58 and 3.59), at seed 0.

    Tolerances are five standard errors: of the mean, of 4,000 draws, which are nearly independent; of the variance, of 2,000,
    since squares of successive draws are correlated.
    """
    torch.manual_seed(0)
    x, std = torch.randn(30, 3), 0.5
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.3 + std * torch.randn(30)
    problem = Problem(x, y, lambda: nn.Sequential(nn.Linear(3, 1)), Gaussian(std), epochs=1, batch_size=30)
    posterior = Hmc(warmup=500, draws=1000, leapfrog=8).fit(problem)
    points = torch.randn(20, 3)
    outputs = posterior.sample(4000)(points).squeeze(-1).double()

    design, at_points = (torch.cat([v, torch.ones(len(v), 1)], 1).double() for v in (x, points))
    covariance = torch.linalg.inv(torch.eye(4) + design.T @ design / std**2)
    mean = at_points @ covariance @ design.T @ y.double() / std**2
    variance = (at_points @ covariance * at_points).sum(1)
    assert ((outputs.mean(0) - mean) / variance.sqrt()).abs().max() < 5 / 4000**0.5
    assert (outputs.var(0) / variance - 1).abs().max() < 5 * (2 / 2000) ** 0.5


def test_a_translated_network_has_the_same_outputs():
    torch.manual_seed(0)
    network, x = small_lenet(5), torch.rand(9, 1, 8, 8)
    outputs = translate(network, x)([as_jax(w) for w in network.parameters()], as_jax(x))
    torch.testing.assert_close(torch.tensor(outputs.tolist()), network(x).detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("network", [nn.Sequential(nn.GELU()), nn.Linear(3, 1), nn.Sequential(nn.Dropout(0.5))])
def test_an_unknown_network_is_refused_by_name(network):
    with pytest.raises(ContractError, match=r"hmc: the (layer|network)"):
        translate(network, torch.zeros(2, 3))
