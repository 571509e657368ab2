"""Multiplicative normalising flows against frozen weights, against explicit densities, and on a known posterior."""

import math
from dataclasses import replace

import pytest
import torch
from helpers import linear_regression
from test_bbb import Nested
from torch import nn
from torch.distributions import Normal, kl_divergence

from bbh_bench.errors import ContractError
from bbh_bench.inference.training import adam
from bbh_bench.inference.weights import forward, sampled_layers
from bbh_bench.methods.mnf import Mnf, MnfLayer
from bbh_bench.running.stages import seed_everything
from bbh_bench.testing import small_network, small_problem

CASES = {
    "dense": (lambda: nn.Linear(6, 4), (6,)),
    "convolution": (lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1), (2, 4, 4)),
    "scalar": (lambda: nn.Linear(1, 4), (1,)),
    "no bias": (lambda: nn.Conv2d(2, 3, 3, bias=False), (2, 3, 3)),
}


def layer_of(case, log_std=-2.0):
    """A layer whose parameters are all far from their initial values, so that nothing is tested at zero."""
    make, shape = CASES[case]
    layer = MnfLayer(make(), Mnf(log_std=log_std))
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return layer, shape


@pytest.mark.parametrize("case", CASES)
def test_outputs_have_the_mean_and_variance_of_frozen_weight_samples(case):
    """20,000 samples of z and noise both ways, five standard errors."""
    seed_everything(0)
    layer, shape = layer_of(case)
    n, x = 20_000, torch.randn(1, *shape)
    with torch.no_grad():
        frozen = forward(layer.layer, layer.sample(n), x)[:, 0]
        local = layer(x.expand(n, *shape))
    error = 5 * ((frozen.var(0) + local.var(0)) / n).sqrt()
    assert ((frozen.mean(0) - local.mean(0)).abs() < error).all()
    assert torch.allclose(frozen.var(0), local.var(0), rtol=0.12)  # the tails are heavier than a Gaussian's
    assert not torch.allclose(frozen.mean(0), layer.layer(x)[0], atol=1e-3)  # z is not near 1 here


def test_weights_of_one_input_share_its_z():
    """Oracle: the covariance of two weights comes from z alone, E[z^2] M_1 M_2 - E[z]^2 M_1 M_2."""
    seed_everything(0)
    layer, _ = layer_of("dense", log_std=-4.0)
    with torch.no_grad():
        weights, (z, _) = layer.sample(20_000)["weight"], layer.sample_z(20_000)
    covariance = torch.stack([weights[:, 0, 2], weights[:, 1, 2]]).cov()[0, 1]
    expected = z[:, 2].var() * layer.layer.weight[0, 2] * layer.layer.weight[1, 2]
    assert covariance.item() == pytest.approx(expected.item(), rel=0.1)


@pytest.mark.parametrize("case", CASES)
def test_the_kl_equals_the_explicit_densities(case):
    """Oracle: log q(W | z) - log p(W) + log q(z) - log r(z | W) of samples, from torch.distributions; five standard errors."""
    seed_everything(0)
    layer, _ = layer_of(case)
    with torch.no_grad():
        ours = torch.stack([layer.kl() for _ in range(800)])
        theirs = torch.stack([explicit_kl(layer) for _ in range(800)])
    error = 5 * ((ours.var() + theirs.var()) / 800).sqrt()
    assert abs(ours.mean() - theirs.mean()) < error
    assert ours.var() < theirs.var()


def explicit_kl(layer):
    start = Normal(layer.z_mean, (layer.z_log_variance / 2).exp())
    z0 = start.sample()
    z, log_det = layer.flow(z0[None])
    log_q = start.log_prob(z0).sum() - log_det[0]
    given_z, prior = 0.0, Normal(0.0, layer.prior_scale)
    for k, mean in layer.means(z).items():
        q = Normal(mean[0], layer.log_std[k].exp())
        sample = q.sample()
        given_z += (q.log_prob(sample) - prior.log_prob(sample)).sum()
        if k == "weight":
            weights = sample if isinstance(layer.layer, nn.Linear) else sample.flatten(1).T  # [others, Z]
    r = layer.auxiliary
    summary = (weights @ r.direction).tanh().mean()
    image, log_det = r.flow(z)
    precision = (r.log_precision_start + summary * r.log_precision).exp()
    log_r = Normal(r.mean_start + summary * r.mean, precision**-0.5).log_prob(image[0]).sum() + log_det[0]
    return given_z + log_q - log_r


def test_without_spread_in_z_the_kl_is_the_factorised_gaussians():
    """Oracle: torch.distributions, with flows of r and q that are the identity, and a z that hardly varies."""
    seed_everything(0)
    layer = MnfLayer(nn.Linear(1, 4), Mnf(log_std=-2.0))
    layer.auxiliary.flow = nn.Identity()
    layer.flow = nn.Identity()
    identity = lambda z: (z, torch.zeros(len(z)))  # noqa: E731
    layer.flow.forward = layer.auxiliary.flow.forward = identity
    with torch.no_grad():
        layer.z_log_variance.fill_(-16)
        layer.auxiliary.log_precision_start.fill_(16)
        layer.auxiliary.mean.zero_()
        layer.auxiliary.log_precision.zero_()
        kl = torch.stack([layer.kl() for _ in range(2000)]).mean().item()
    means = {"weight": layer.layer.weight * layer.z_mean, "bias": layer.layer.bias}
    expected = sum(kl_divergence(Normal(m, layer.log_std[k].exp()), Normal(0.0, 1.0)).sum() for k, m in means.items())
    assert kl == pytest.approx(expected.item(), abs=0.1)


def test_the_bound_is_never_below_the_kl_and_is_tight_for_a_scalar():
    """A dense weight of one input and unit is W = z M + s e with a Gaussian z: its KL is known, and r can fit it."""
    seed_everything(0)
    layer = MnfLayer(nn.Linear(1, 1, bias=False), Mnf(log_std=-2.0))
    with torch.no_grad():
        layer.layer.weight.fill_(0.8)
        layer.z_mean.fill_(1.0)
        layer.z_log_variance.fill_(math.log(0.25))
        layer.flow.slope.fill_(math.log(math.e - 1))  # the identity
    exact = kl_divergence(Normal(0.8, (0.64 * 0.25 + math.exp(-4)) ** 0.5), Normal(0.0, 1.0)).item()
    bounds = []
    for rate in (0.05, 0.01, 0.002):
        optimiser = adam(layer.auxiliary.parameters(), rate)
        with torch.no_grad():
            bounds.append(torch.stack([layer.kl() for _ in range(400)]).mean().item())
        for _ in range(300):
            optimiser.zero_grad()
            (layer.kl() + layer.kl()).backward()
            optimiser.step()
    assert bounds[0] > bounds[1] > bounds[2] > exact - 0.05
    assert bounds[2] < exact + 0.15


def test_every_layers_kl_is_counted():
    """Oracle: the losses at the first step, with the KL from the start and annealed from zero, differ by the sum of all / N."""
    first = []
    for anneal in (0.0, 0.5):
        losses = []
        problem = replace(small_problem(epochs=1), progress=lambda fraction, loss, losses=losses: losses.append(loss))
        seed_everything(0)
        Mnf(anneal=anneal, log_std=-3).fit(problem)
        first.append(losses[0])
    seed_everything(0)
    mnf_layers = [MnfLayer(layer, Mnf(log_std=-3)) for layer in sampled_layers(small_network(), "mnf").values()]
    with torch.no_grad():
        each = [torch.stack([layer.kl() for _ in range(30)]).mean().item() for layer in mnf_layers]
    assert first[0] - first[1] == pytest.approx(sum(each) / 60, rel=0.02)
    assert min(each) > 0.05 * sum(each)  # so that leaving out any of them would fail


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_gets_a_gradient(case):
    seed_everything(0)
    layer, shape = layer_of(case)
    loss = layer(torch.randn(5, *shape)).square().sum() + torch.stack([layer.kl() for _ in range(5)]).sum()
    loss.backward()
    assert all(weight.grad.abs().sum() > 0 for weight in layer.parameters())
    kl_alone = torch.autograd.grad(layer.kl(), list(layer.layer.parameters()) + list(layer.log_std.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in kl_alone)


def test_the_limit_of_std_holds_and_a_weight_at_the_limit_gets_a_gradient():
    seed_everything(0)
    layer = MnfLayer(nn.Linear(6, 4), Mnf(max_std=0.5))
    with torch.no_grad():
        layer.log_std["weight"].fill_(3.0)
    assert torch.allclose(layer.stds()["weight"], torch.tensor(0.5))
    with torch.no_grad():
        layer.log_std["weight"].fill_(3.0)
    layer(torch.randn(5, 6)).square().sum().backward()
    assert (layer.log_std["weight"].grad > 0).any()


def test_the_elbo_is_between_that_of_the_best_factorised_gaussian_and_the_evidence():
    """Oracle: Bayesian linear regression in closed form; three standard errors of the ELBO's estimate, and 0.05 nats.

    The factorised Gaussian is the special case of a constant z. With the constant learning rate of ``fit``, the noise of Adam
    costs 0.1 to 0.6 nats. Training therefore continues at a decreasing rate.
    """
    regression = linear_regression()
    problem = regression.problem(epochs=300)
    seed_everything(0)
    posterior = Mnf(lr=0.01, log_std=-2.0, log_std_lr=0.01, anneal=0.3).fit(problem)
    (layer,) = posterior.layers.values()
    refine(layer.requires_grad_(True), problem, steps=500)
    elbo, error = elbo_of(layer, problem, samples=4000)
    assert error < 0.05
    assert regression.factorised_elbo - 3 * error - 0.05 < elbo < regression.log_evidence + 3 * error


def refine(layer, problem, steps):
    """Decrease the learning rate from 0.01 to 3e-4, with eight vectors z for every example."""
    optimiser = adam(layer.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.03 ** (1 / steps))
    for _ in range(steps):
        optimiser.zero_grad()
        likelihood = problem.likelihood(layer(problem.x.repeat(8, 1)), problem.y.repeat(8))
        (likelihood + layer.kl() / len(problem.x)).backward()
        optimiser.step()
        schedule.step()


@torch.no_grad()
def elbo_of(layer, problem, samples):
    """ELBO of the posterior that ``sample`` samples from, with its standard error."""
    outputs = forward(layer.layer, layer.sample(samples), problem.x)
    likelihood = torch.stack([-len(problem.x) * problem.likelihood(output, problem.y) for output in outputs])
    kl = torch.stack([kl_at(layer, 100) for _ in range(samples // 100)])
    error = (likelihood.var() / len(likelihood) + kl.var() / len(kl)).sqrt()
    return (likelihood.mean() - kl.mean()).item(), error.item()


def kl_at(layer, n):
    layer.last_z = layer.sample_z(n)
    return layer.kl()


@pytest.mark.parametrize("case", CASES)
def test_the_kl_at_several_z_is_the_mean_of_the_kls_at_each(case):
    """Five standard errors. Given z, the only noise is that of the weights in r."""
    seed_everything(0)
    layer, shape = layer_of(case)
    with torch.no_grad():
        alone = torch.stack([layer.kl() for _ in range(800)])
        layer(torch.randn(800, *shape))
        together = layer.kl()
    assert abs(together - alone.mean()) < 5 * alone.std() * (2 / 800) ** 0.5


def test_the_kl_uses_the_z_of_the_forward_pass_once():
    seed_everything(0)
    layer, shape = layer_of("dense")
    layer(torch.randn(3, *shape))
    z, _ = layer.last_z
    (gradient,) = torch.autograd.grad(layer.kl(), z)
    assert (gradient != 0).all()
    assert layer.last_z is None
    layer.kl().backward()  # at a new z: the graph of the first has been freed


def test_log_stds_have_their_own_learning_rate():
    """Oracle: if the gradient keeps its sign, Adam changes a parameter by the learning rate times the number of steps."""
    problem = replace(small_problem(epochs=10), likelihood=lambda outputs, targets: 0 * outputs.sum())
    seed_everything(0)
    posterior = Mnf(log_std_lr=0.02, anneal=0).fit(problem)
    for layer in posterior.layers.values():
        increase = torch.cat([log_std.flatten() for log_std in layer.log_std.values()]) + 5.5
        assert torch.allclose(increase, torch.tensor(0.02 * problem.steps), rtol=0.02)


def test_any_network_of_standard_layers():
    problem = replace(small_problem(epochs=60), network=Nested)
    seed_everything(0)
    posterior = Mnf(lr=3e-3).fit(problem)
    assert set(posterior.sample_weights(1)) == {"body.0.weight", "twice.weight", "head.weight", "head.bias"}
    assert not torch.allclose(posterior.network.norm.weight, torch.ones(4))  # a point estimate, and trained
    outputs = posterior.sample(8)(problem.x)
    assert (outputs.softmax(-1).mean(0).argmax(-1) == problem.y).float().mean() > 0.6


def test_parameters_are_those_that_prediction_needs():
    posterior = Mnf().fit(small_problem(epochs=1))
    weights = sum(p.numel() for p in small_network().parameters())
    z = [4, 36, 16]
    flow = sum(2 * ((d * 50 + 50) + (50 * 2 * d + 2 * d)) for d in z)
    assert posterior.parameters == 2 * weights + 2 * sum(z) + flow


def test_a_network_without_weights_to_sample_is_rejected():
    problem = replace(small_problem(), network=lambda: nn.Sequential(nn.Flatten(), nn.LayerNorm(36)))
    with pytest.raises(ContractError, match=r"method 'mnf' needs a network with an nn.Linear"):
        Mnf().fit(problem)
