"""The reference predictive: both samplers have the same density, and NUTS the posterior of the closed form."""

from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from bbh_bench_hmc.independent import Nuts, log_density, sample_with_nuts
from bbh_bench_hmc.posterior import log_posterior
from bbh_bench_hmc.predictive import Draws, of_classification, of_regression
from torch import nn
from torch.func import functional_call

from bbh_bench.api import Gaussian, Problem
from bbh_bench.tasks import digits5_mlp, toy

CPU = torch.device("cpu")


@pytest.mark.parametrize("task", [digits5_mlp.TASK, toy.TASK], ids=lambda task: task.name)
def test_both_samplers_have_the_same_density_and_the_same_gradient(task):
    """One is JAX in float32, the other is torch in float64; densities are known up to a constant."""
    problem = task.load(Path()).problem(CPU)
    torch.manual_seed(0)
    with_jax = jax.value_and_grad(log_posterior(problem.network(), problem, task.prior_scale))
    network, with_torch = log_density(problem)
    rng, values = np.random.default_rng(0), []
    for _ in range(3):
        flat = rng.normal(0, 0.3, sum(w.numel() for w in network.parameters()))
        parts = torch.from_numpy(flat).split([w.numel() for w in network.parameters()])
        weights = [part.view_as(w).float().numpy() for part, w in zip(parts, network.parameters(), strict=True)]
        value, gradients = with_jax(weights)
        expected, gradient = with_torch(flat)
        values.append(float(value) - expected)
        computed = np.concatenate([np.asarray(each).ravel() for each in gradients])
        np.testing.assert_allclose(computed, gradient, atol=1e-3 * np.abs(gradient).max())
    np.testing.assert_allclose(values, values[0], atol=1e-2)


def test_nuts_samples_the_posterior_of_a_linear_model():
    """Mean and standard deviation in closed form (Bishop 2006, eq. 3.50); five standard errors of 4,000 draws, seed 0."""
    torch.manual_seed(0)
    x, std = torch.randn(30, 2), 0.5
    y = x @ torch.tensor([1.0, -2.0]) + std * torch.randn(30)
    problem = Problem(x, y, lambda: nn.Sequential(nn.Linear(2, 1, bias=False)), Gaussian(std), 1, 30)
    _, draws = sample_with_nuts(Nuts(chains=4, warmup=300, draws=1000), problem, seed=0)
    samples = draws["0.weight"].flatten(0, 2)
    covariance = torch.linalg.inv(torch.eye(2) + x.T @ x / std**2).double()
    mean, deviation = covariance @ (x.T @ y / std**2).double(), covariance.diagonal().sqrt()
    assert ((samples.mean(0) - mean) / deviation).abs().max() < 5 / 4000**0.5
    assert (samples.std(0) / deviation - 1).abs().max() < 5 / 8000**0.5


def draws_of(task, chains=2, number=3):
    torch.manual_seed(0)
    network = task.network.build().requires_grad_(False)
    return Draws(network, {name: torch.randn(chains, number, *w.shape) for name, w in network.named_parameters()})


def test_the_predictive_of_a_classification_is_the_mean_over_all_networks():
    loaded, draws = digits5_mlp.TASK.load(Path()), draws_of(digits5_mlp.TASK)
    predictive = of_classification(draws, loaded)
    x = loaded.data.test[0]
    networks = [{name: w[c, d] for name, w in draws.weights.items()} for c in range(2) for d in range(3)]
    expected = torch.stack([functional_call(draws.network, each, (x,)).softmax(-1) for each in networks]).mean(0)
    np.testing.assert_allclose(predictive.arrays()["test"], expected, atol=1e-6)
    assert predictive.arrays().keys() == {"test", "ood/digits5-9"}
    assert predictive.traces["test"].shape == (2, 3, 500)


def test_the_predictive_of_a_regression_sums_to_one_at_every_point():
    arrays = of_regression(draws_of(toy.TASK), toy.TASK.load(Path())).arrays()
    assert arrays.keys() == {"inside", "outside", "inside/x", "outside/x", "edges"}
    assert len(arrays["inside/x"]) + len(arrays["outside/x"]) == 50
    for name in ("inside", "outside"):
        assert arrays[name].shape == (len(arrays[f"{name}/x"]), len(arrays["edges"]) + 1)
        np.testing.assert_allclose(arrays[name].sum(axis=1), 1)
