import math
from dataclasses import replace

import pytest
import torch
from bbh_bench_laplace import LaplaceKfac, LaplaceLastLayer
from bbh_bench_laplace.linearised import linearised
from bbh_bench_laplace.mode import train_to_mode
from torch import nn
from torch.func import functional_call, jacrev

from bbh_bench.api import Categorical, Gaussian, Problem
from bbh_bench.errors import ContractError
from bbh_bench.plugins import load_plugins
from bbh_bench.tasks.networks import initialise, small_lenet
from bbh_bench.testing import check_method, small_problem

METHODS = [LaplaceLastLayer(), LaplaceKfac(), LaplaceKfac(linearised=False)]
STD = 0.5


def linear_regression(bias=True, n=30):
    """Of three inputs, in one batch. The budget is long enough that Adam reaches the mode."""
    torch.manual_seed(0)
    x = torch.randn(n, 3)
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.3 * bias + STD * torch.randn(n)
    return Problem(x, y, lambda: nn.Sequential(nn.Linear(3, 1, bias)), Gaussian(STD), epochs=4000, batch_size=n)


def closed_form(problem, bias, prior_scale=1.0):
    """Mean and covariance of the weights (Bishop 2006, eqs. 3.53 and 3.54), the bias last; float64."""
    x, y = problem.x.double(), problem.y.double()
    design = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1) if bias else x
    precision = torch.eye(design.shape[1], dtype=x.dtype) / prior_scale**2 + design.T @ design / STD**2
    covariance = torch.linalg.inv(precision)
    return covariance @ design.T @ y / STD**2, covariance


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("method", METHODS[:2], ids=lambda method: method.name)
def test_it_satisfies_the_contract(method, kind):
    check_method(method, kind)


@pytest.mark.parametrize("name", ["laplace-last-layer", "laplace-kfac"])
def test_the_suite_finds_it_through_its_entry_point(name):
    assert load_plugins().methods.registered(name).package == "bbh-bench-laplace"


@pytest.mark.parametrize(
    ("method", "bias"),
    [
        (LaplaceLastLayer(lr=0.02), True),
        (LaplaceLastLayer(lr=0.02, prior_scale=0.3), True),
        (LaplaceKfac(lr=0.02), False),
        (LaplaceKfac(lr=0.02, linearised=False, prior_scale=0.3), False),
    ],
    ids=["last layer", "narrow prior", "KFAC", "KFAC, not linearised"],
)
def test_a_linear_regression_has_the_posterior_of_the_closed_form(method, bias):
    """Without a bias, the Kronecker factors of one layer with one output are exact.

    The mode must be found within 1 % of a standard deviation. The covariance of 100,000 samples of the outputs must be within
    five of its standard errors.
    """
    problem, n = linear_regression(bias), 100_000
    mean, covariance = closed_form(problem, bias, method.prior_scale)
    posterior = method.fit(problem)
    mode = torch.cat([weight.flatten() for weight in posterior.network.parameters()]).double()
    assert ((mode - mean) / covariance.diagonal().sqrt()).abs().max() < 0.01

    torch.manual_seed(1)
    points = torch.randn(5, 3)
    outputs = posterior.sample(n)(points).squeeze(-1).double()
    at_points = torch.cat([points, torch.ones(5, 1)], 1).double() if bias else points.double()
    expected = at_points @ covariance @ at_points.T
    variance = expected.diagonal()
    assert ((outputs.mean(0) - at_points @ mean) / variance.sqrt()).abs().max() < 0.01 + 5 / math.sqrt(n)
    errors = ((torch.outer(variance, variance) + expected.square()) / n).sqrt()
    assert ((outputs.T.cov() - expected) / errors).abs().max() < 5


def test_a_logistic_regression_has_the_hessian_of_autograd():
    """Of the sum over all examples, which are more than laplace-torch gets at once."""
    torch.manual_seed(0)
    x, y = torch.randn(1200, 3), torch.randint(4, (1200,))
    problem = Problem(x, y, lambda: nn.Sequential(nn.Linear(3, 4)), Categorical(4), epochs=300, batch_size=1200)
    posterior = LaplaceLastLayer(prior_scale=0.7).fit(problem)
    mode = torch.cat([weight.flatten() for weight in posterior.network.parameters()]).double()

    def negative_log_posterior(weights):
        logits = x.double() @ weights[:12].view(4, 3).T + weights[12:]
        return nn.functional.cross_entropy(logits, y, reduction="sum") + weights.square().sum() / (2 * 0.7**2)

    hessian = torch.autograd.functional.hessian(negative_log_posterior, mode)
    gaussian = posterior.sample_weights
    torch.testing.assert_close(gaussian.mean.double(), mode)
    torch.testing.assert_close(
        (gaussian.scale @ gaussian.scale.T).double(), torch.linalg.inv(hessian), atol=1e-5, rtol=1e-3
    )


def test_only_the_last_layer_is_sampled():
    posterior = LaplaceLastLayer().fit(small_problem(epochs=2))
    weights = posterior.sample_weights(2)
    assert {name: list(weight.shape) for name, weight in weights.items()} == {"8.weight": [2, 3, 16], "8.bias": [2, 3]}


def block_diagonal_inverse(network, x, prior_precision):
    """Inverse of the Gauss-Newton matrix of one input and one output, by autograd, with a block for each weight and bias."""
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    jacobians = jacrev(lambda weights: functional_call(network, weights, (x,)).squeeze())(weights)
    rows = [jacobian.flatten().double() for jacobian in jacobians.values()]
    return torch.block_diag(
        *(torch.linalg.inv(torch.outer(j, j) / STD**2 + prior_precision * torch.eye(len(j))) for j in rows)
    )


def test_kronecker_factors_of_one_input_and_one_output_are_exact():
    """Also those of a convolution, where it has one position: then each block has the rank one of its factors.

    The roots that samples are multiplied by, of standard normal variables along each axis, give the covariance without noise.
    """

    def network():
        return initialise(
            nn.Sequential(nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        )

    torch.manual_seed(0)
    x = torch.randn(1, 2, 2, 2)
    problem = Problem(x, torch.tensor([0.4]), network, Gaussian(STD), epochs=5, batch_size=1)
    posterior = LaplaceKfac(prior_scale=0.8).fit(problem)
    expected = block_diagonal_inverse(posterior.network, x, 0.8**-2)
    axes = torch.eye(len(expected))
    root = posterior.sample_weights.precision.bmm(axes, exponent=-0.5).double()
    torch.testing.assert_close(root @ root.T, expected, atol=1e-5, rtol=1e-3)

    n = 50_000
    weights = posterior.sample_weights(n)
    flat = torch.cat([weights[name].flatten(1) for name, _ in posterior.network.named_parameters()], 1).double()
    variance = expected.diagonal()
    errors = ((torch.outer(variance, variance) + expected.square()) / n).sqrt()
    assert ((flat.T.cov() - expected) / errors).abs().max() < 5.5  # of 1,326 entries


def differences_of(network, n):
    return {name: 0.1 * torch.randn(n, *weight.shape) for name, weight in network.named_parameters()}


def jacobian(network, x):
    """By autograd: ``[B, K, P]``."""
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    parts = jacrev(lambda weights: functional_call(network, weights, (x,)))(weights)
    return torch.cat([part.flatten(2) for part in parts.values()], 2)


def test_a_linearised_network_is_the_first_order_of_its_taylor_series():
    torch.manual_seed(0)
    network, x = small_lenet(5).requires_grad_(False), torch.rand(9, 1, 8, 8)
    differences = differences_of(network, 50)
    flat = torch.cat([part.flatten(1) for part in differences.values()], 1)
    expected = network(x) + torch.einsum("bkp,np->nbk", jacobian(network, x), flat)
    torch.testing.assert_close(linearised(network, differences)(x), expected, atol=1e-5, rtol=1e-4)


def test_the_gradient_of_a_linearised_network_is_that_of_its_taylor_series():
    torch.manual_seed(0)
    network, x = small_lenet(5).requires_grad_(False), torch.rand(4, 1, 8, 8, requires_grad=True)
    differences = differences_of(network, 3)
    flat = torch.cat([part.flatten(1) for part in differences.values()], 1)
    series = network(x) + torch.einsum("bkp,np->nbk", jacobian(network, x), flat)
    weighting = torch.randn(3, 4, 5)
    (expected,) = torch.autograd.grad((weighting * series).sum(), x)
    (gradient,) = torch.autograd.grad((weighting * linearised(network, differences)(x)).sum(), x)
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)


def test_linearised_predictions_have_the_covariance_of_the_jacobian():
    """J Sigma J^T, Sigma being the inverse of laplace-torch's dense precision, within five standard errors."""
    problem, n = small_problem(epochs=20), 50_000
    torch.manual_seed(0)
    posterior = LaplaceKfac().fit(problem)
    x = problem.x[:2]
    outputs = posterior.sample(n)(x).flatten(1).double()
    covariance = torch.linalg.inv(posterior.sample_weights.precision.to_matrix().double())
    jacobians = jacobian(posterior.network, x).flatten(0, 1).double()
    expected = jacobians @ covariance @ jacobians.T
    variance = expected.diagonal()
    errors = ((torch.outer(variance, variance) + expected.square()) / n).sqrt()
    assert ((outputs.T.cov() - expected) / errors).abs().max() < 5
    mean = posterior.network(x).flatten().double()
    assert ((outputs.mean(0) - mean) * (n / variance).sqrt()).abs().max() < 5


def test_without_linearisation_samples_are_networks():
    problem = small_problem(epochs=5)
    torch.manual_seed(0)
    posterior = LaplaceKfac(linearised=False).fit(problem)
    torch.manual_seed(1)
    outputs = posterior.sample(3)(problem.x)
    torch.manual_seed(1)
    weights = posterior.sample_weights(3)
    for k in range(3):
        expected = functional_call(posterior.network, {name: part[k] for name, part in weights.items()}, (problem.x,))
        torch.testing.assert_close(outputs[k], expected, atol=1e-4, rtol=1e-4)


def test_the_mode_is_stationary_under_the_prior_on_all_parameters():
    problem = linear_regression()
    network = problem.network()
    train_to_mode(network, problem, 0.02, 0.5)
    network.requires_grad_(True)
    loss = len(problem.x) * problem.likelihood(network(problem.x), problem.y)
    loss = loss + sum(weight.square().sum() for weight in network.parameters()) / (2 * 0.5**2)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    assert max(gradient.abs().max() for gradient in gradients) < 0.05  # nats by unit; it starts in the hundreds


@pytest.mark.parametrize(("method", "bias"), [(LaplaceLastLayer(lr=0.02), True), (LaplaceKfac(lr=0.02), False)])
def test_the_marginal_likelihood_chooses_the_precision_of_the_closed_form(method, bias):
    """Around the fixed mode m of the prior N(0, 1), log p(y | a) is ``P log(a) / 2 - a m^T m / 2 - log det(H + a) / 2 + c``.

    The precision at the maximum, on a grid of steps of 1 %, must be found within 5 %.
    """
    problem = linear_regression(bias)
    mean, covariance = closed_form(problem, bias)
    hessian = torch.linalg.inv(covariance) - torch.eye(len(mean))
    grid = torch.logspace(-2, 2, 926, dtype=torch.float64)
    evidence = [
        len(mean) / 2 * a.log() - a / 2 * mean.square().sum() - torch.logdet(hessian + a * torch.eye(len(mean))) / 2
        for a in grid
    ]
    best = grid[torch.stack(evidence).argmax()]
    assert 0.1 < best < 0.9  # not where the search starts
    torch.manual_seed(0)
    posterior = replace(method, marginal_likelihood=True).fit(problem)
    fitted = torch.linalg.inv(hessian + best * torch.eye(len(mean)))
    outputs = posterior.sample_weights
    found = outputs.scale @ outputs.scale.T if bias else outputs.precision.to_matrix(-1)
    assert torch.linalg.inv(found.double()).sub(hessian).diagonal().mean() == pytest.approx(float(best), rel=0.05)
    torch.testing.assert_close(found.double(), fitted, atol=2e-4, rtol=2e-2)


@pytest.mark.parametrize("method", METHODS, ids=["last layer", "KFAC", "KFAC, not linearised"])
def test_a_posterior_goes_through_a_file(method, tmp_path):
    """As a cached posterior does."""
    problem = small_problem(epochs=2)
    posterior = method.fit(problem)
    torch.save(posterior, tmp_path / "posterior.pt")
    restored = torch.load(tmp_path / "posterior.pt", weights_only=False)
    outputs = []
    for each in (posterior, restored):
        torch.manual_seed(0)
        outputs.append(each.sample(2)(problem.x))
    assert outputs[0].equal(outputs[1])


def normalised():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def test_parameters_without_kronecker_factors_are_refused_by_the_name_of_their_layer():
    problem = replace(small_problem(epochs=1), network=normalised)
    with pytest.raises(ContractError, match=r"laplace-kfac: the layer '2' \(BatchNorm1d\)"):
        LaplaceKfac().fit(problem)
    assert LaplaceLastLayer().fit(problem).sample(2)(problem.x).shape == (2, 60, 3)


@pytest.mark.parametrize(
    "end", [[nn.Linear(36, 3), nn.Softplus()], [nn.Unflatten(1, (1, 6, 6)), nn.Conv2d(1, 3, 6), nn.Flatten()]]
)
def test_a_network_without_a_linear_layer_at_its_end_is_refused(end):
    problem = replace(small_problem(epochs=1), network=lambda: nn.Sequential(nn.Flatten(), *end))
    with pytest.raises(ContractError, match=r"laplace-last-layer: .* its last layer is (Softplus|Flatten)"):
        LaplaceLastLayer().fit(problem)


@pytest.mark.parametrize("method", METHODS[:2], ids=lambda method: method.name)
def test_other_likelihoods_are_refused(method):
    problem = replace(small_problem(epochs=1), likelihood=nn.functional.cross_entropy)
    with pytest.raises(ContractError, match="neither Categorical nor Gaussian"):
        method.fit(problem)


@pytest.mark.parametrize("method", METHODS[:2], ids=lambda method: method.name)
def test_a_stated_prior_takes_the_place_of_the_method_s(method):
    problem = small_problem(epochs=2)
    stated = replace(problem, prior_scale=0.2)
    outputs = []
    for each, given in ((method, stated), (replace(method, prior_scale=0.2), problem), (method, problem)):
        torch.manual_seed(0)
        outputs.append(each.fit(given).sample(2)(problem.x))
    assert outputs[0].equal(outputs[1])
    assert not outputs[0].equal(outputs[2])


@pytest.mark.parametrize("method", METHODS[:2], ids=lambda method: method.name)
def test_the_marginal_likelihood_does_not_replace_a_stated_prior(method):
    problem = replace(small_problem(epochs=1), prior_scale=1.0)
    with pytest.raises(ContractError, match="the task states the prior"):
        replace(method, marginal_likelihood=True).fit(problem)
