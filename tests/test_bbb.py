"""Bayes by Backprop against posteriors that are known, and its two ways of sampling against each other."""

from dataclasses import replace

import pytest
import torch
from helpers import linear_regression
from torch import nn
from torch.distributions import Normal, kl_divergence

from bbh_bench.errors import ContractError
from bbh_bench.inference.training import annealing_weight
from bbh_bench.inference.weights import forward, sampled_layers, with_layers
from bbh_bench.methods.bbb import Bbb, Gaussians, LocalLayer
from bbh_bench.running.stages import seed_everything
from bbh_bench.testing import check_method, small_network, small_problem


@pytest.mark.parametrize("local", [False, True])
def test_recovers_the_best_factorised_gaussian_of_linear_regression(local):
    """Oracle: the posterior in closed form, whose best factorised Gaussian has its mean and the variances 1 / Lambda_ii."""
    regression = linear_regression()
    method = Bbb(lr=0.01, log_variance=-5, log_variance_lr=0.01, local=local, likelihood_samples=6)
    seed_everything(0)
    posterior = method.fit(regression.problem(epochs=400))
    mean, std = regression.by_weight(posterior.mean), regression.by_weight(posterior.std)
    best = regression.precision.diagonal() ** -0.5
    assert (
        (mean - regression.mean).abs() < 0.25 * best
    ).all()  # Adam at a constant rate keeps moving around the optimum
    assert torch.allclose(std, best, rtol=0.12)
    assert (
        regression.covariance.diagonal().sqrt() > 1.15 * best
    ).any()  # the true marginals are wider: not the same test


def test_contract_with_local_reparameterisation():
    check_method(Bbb(local=True))


def test_the_kl_is_that_of_torch_distributions_over_all_weights_and_biases():
    seed_everything(0)
    gaussians = Gaussians(sampled_layers(small_network(), "bbb"), log_variance=-3)
    expected = sum(
        kl_divergence(Normal(w, gaussians.std(k)), Normal(0.0, 0.7)).sum() for k, w in gaussians.mean.items()
    )
    assert gaussians.kl(0.7).item() == pytest.approx(expected.item(), rel=1e-5)
    assert set(gaussians.mean) == {name for name, _ in small_network().named_parameters()}


def test_samples_have_the_fitted_mean_and_std():
    """4,000 samples, five standard errors."""
    seed_everything(0)
    posterior = Bbb(log_variance=-2).fit(small_problem(epochs=2))
    for name, samples in posterior.sample_weights(4000).items():
        mean, std = posterior.mean[name], posterior.std[name]
        assert ((samples.mean(0) - mean).abs() < 5 * std / 4000**0.5).all()
        assert torch.allclose(samples.std(0), std, rtol=5 / 8000**0.5)
    assert posterior.parameters == 2 * sum(p.numel() for p in small_network().parameters())


class Nested(nn.Module):
    """Nested layers, one of them used twice, strides and padding, a bias only in the last layer, and a normalisation layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1, padding_mode="circular", bias=False), nn.ReLU()
        )
        self.norm = nn.GroupNorm(2, 4)
        self.twice = nn.Linear(36, 36, bias=False)
        self.head = nn.Linear(36, 3)

    def forward(self, x):
        x = self.norm(self.body(x)).flatten(1)
        return self.head(self.twice(self.twice(x).relu()).relu())


@pytest.mark.parametrize("local", [False, True])
def test_any_network_of_standard_layers(local):
    problem = replace(small_problem(epochs=60), network=Nested)
    seed_everything(0)
    posterior = Bbb(local=local, lr=3e-3).fit(problem)
    assert set(posterior.mean) == {"body.0.weight", "twice.weight", "head.weight", "head.bias"}
    assert not torch.allclose(posterior.network.norm.weight, torch.ones(4))  # a point estimate, and trained
    outputs = posterior.sample(8)(problem.x)
    assert (outputs.softmax(-1).mean(0).argmax(-1) == problem.y).float().mean() > 0.6


def test_a_network_without_weights_to_sample_is_rejected():
    problem = replace(small_problem(), network=lambda: nn.Sequential(nn.Flatten(), nn.LayerNorm(36)))
    with pytest.raises(ContractError, match=r"method 'bbb' needs a network with an nn.Linear"):
        Bbb().fit(problem)


@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv2d(2, 3, 3, stride=2, padding=1)])
def test_local_outputs_have_the_mean_and_variance_of_sampled_weights(layer):
    """Oracles: the layer with 20,000 samples of its weights, and both moments in closed form for the dense layer."""
    seed_everything(0)
    gaussians = Gaussians({"": layer}, log_variance=-2)
    x = torch.randn(1, 6) if isinstance(layer, nn.Linear) else torch.randn(1, 2, 4, 4)
    n = 20_000
    with torch.no_grad():
        sampled = forward(layer, gaussians.sample(n), x)[:, 0]
        local = LocalLayer(layer, gaussians, "")(x.expand(n, *x.shape[1:]))
        error = 5 * (2 * sampled.var(0) / n).sqrt()
        assert ((sampled.mean(0) - local.mean(0)).abs() < error).all()
        assert torch.allclose(sampled.var(0), local.var(0), rtol=5 * (4 / n) ** 0.5)
        if isinstance(layer, nn.Linear):
            variance = (x.square().sum() + 1) * torch.tensor(-2.0).exp()
            assert torch.allclose(local.var(0), variance.expand(4), rtol=0.05)


def test_local_outputs_are_sampled_for_every_image():
    seed_everything(0)
    layer = nn.Linear(6, 4)
    outputs = LocalLayer(layer, Gaussians({"": layer}, log_variance=-2), "")(torch.ones(50, 6))
    assert len(outputs.unique(dim=0)) == 50


def test_gradients_of_local_outputs_are_finite_where_all_inputs_are_zero():
    layer = nn.Linear(6, 4, bias=False)
    gaussians = Gaussians({"": layer}, log_variance=-9)
    x = torch.zeros(3, 6, requires_grad=True)
    LocalLayer(layer, gaussians, "")(x).sum().backward()
    assert x.grad.isfinite().all()
    assert gaussians.flat_log_variance.grad.isfinite().all()


def test_every_parameter_gets_a_gradient_from_the_kl_and_the_likelihood():
    seed_everything(0)
    network = small_network()
    gaussians = Gaussians(sampled_layers(network, "bbb"), log_variance=-3)
    parameters = [*gaussians.mean.values(), gaussians.flat_log_variance]
    with torch.no_grad():
        for weight in gaussians.mean.values():
            weight.add_(0.1)  # biases start at the prior's mean, where the KL has no gradient
    for value in (gaussians.kl(1.0), forward(network, gaussians.sample(2), small_problem().x).square().sum()):
        *means, log_variances = torch.autograd.grad(value, parameters)
        assert all(gradient.abs().sum() > 0 for gradient in means)
        assert (log_variances != 0).float().mean() > 0.9  # of the likelihood it is zero where a rectifier is at zero


def test_layers_are_replaced_wherever_they_occur_and_weights_are_shared():
    network = Nested()
    noisy = with_layers(network, {network.twice: nn.Identity()})
    assert isinstance(noisy.twice, nn.Identity)
    assert isinstance(network.twice, nn.Linear)
    assert noisy.head is not network.head
    assert noisy.head.weight is network.head.weight
    assert with_layers(network.head, {network.head: network.twice}) is network.twice


def test_log_variances_have_their_own_learning_rate():
    """Oracle: if the gradient keeps its sign, Adam changes a parameter by the learning rate times the number of steps."""
    problem = replace(small_problem(epochs=10), likelihood=lambda outputs, targets: 0 * outputs.sum())
    seed_everything(0)
    posterior = Bbb(log_variance_lr=0.02).fit(problem)
    increase = torch.cat([2 * std.log().flatten() for std in posterior.std.values()]) + 9
    assert torch.allclose(increase, torch.tensor(0.02 * problem.steps), rtol=0.02)


def test_the_kl_is_counted_once_per_example_and_annealed_from_zero():
    """Oracle: the losses at the first step, with the same samples, differ by KL / N of the initial Gaussians."""
    first = []
    for anneal in (0.0, 0.5):
        losses = []
        problem = replace(small_problem(epochs=1), progress=lambda fraction, loss, losses=losses: losses.append(loss))
        seed_everything(0)
        Bbb(anneal=anneal, prior_scale=0.5).fit(problem)
        first.append(losses[0])
    seed_everything(0)
    initial = Gaussians(sampled_layers(small_network(), "bbb"), log_variance=-9).kl(0.5).item()
    assert first[0] - first[1] == pytest.approx(initial / 60, rel=1e-4)


def test_annealing_is_linear():
    assert [annealing_weight(step, 100, 0.2) for step in (0, 5, 10, 20, 99)] == [0, 0.25, 0.5, 1, 1]
    assert annealing_weight(0, 100, 0) == 1
