"""Closed forms against torch.distributions, estimators against brute force, known values and known density ratios."""

import itertools
import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from bbh_bench.inference.kl import GROUP_VALUES, Discriminator, gaussian_kl, nearest_full, nearest_per_weight
from bbh_bench.inference.training import adam
from bbh_bench.running.stages import seed_everything

# Simulated means of the paper's estimators for q = N(0, s^2) against N(0, 1), in nats a weight.
SPREADS = [0.1, 0.3, 0.5, 1, 1.5, 2, 5, 20]
PER_WEIGHT = dict(zip(SPREADS, [1.89, 0.84, 0.41, 0.03, -0.01, 0.04, 0.38, 0.77], strict=True))
FULL = dict(zip(SPREADS, [1.96, 0.90, 0.46, 0.00, -0.16, -0.23, -0.32, -0.34], strict=True))
TRUE = dict(zip(SPREADS, [1.81, 0.75, 0.32, 0, 0.22, 0.81, 10.4, 196], strict=True))


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_gaussian_kl_equals_torch_distributions(scale):
    seed_everything(0)
    mean, std = torch.randn(4, 5), torch.rand(4, 5) * 3 + 1e-3
    expected = kl_divergence(Normal(mean, std), Normal(0.0, scale)).sum()
    assert gaussian_kl(mean, std, scale).item() == pytest.approx(expected.item(), rel=1e-5)


def test_gaussian_kl_is_the_mean_log_ratio():
    """Oracle: Monte Carlo with 200,000 samples, four standard errors."""
    seed_everything(0)
    mean, std = torch.tensor([0.3, -1.0]), torch.tensor([0.2, 1.4])
    q, p = Normal(mean, std), Normal(0.0, 0.8)
    samples = q.sample((200_000,))
    ratio = (q.log_prob(samples) - p.log_prob(samples)).sum(1)
    assert abs(gaussian_kl(mean, std, 0.8) - ratio.mean()) < 4 * ratio.std() / len(samples) ** 0.5


def test_gaussian_kl_of_tiny_variances_is_finite():
    log_std = torch.tensor([-15.0], requires_grad=True)
    gaussian_kl(torch.zeros(1), log_std.exp(), 1.0).backward()
    assert log_std.grad.item() == pytest.approx(-1)


@pytest.mark.parametrize("s", SPREADS)
def test_per_weight_at_known_values(s):
    """Oracle: the simulated table, to its two decimals and three standard errors of 100,000 weights."""
    seed_everything(0)
    w = 100_000
    estimate = nearest_per_weight(s * torch.randn(5, w), torch.randn(5, w)).item() / w
    assert estimate == pytest.approx(PER_WEIGHT[s], abs=0.005 + 0.01)
    assert gaussian_kl(torch.zeros(1), torch.tensor([float(s)]), 1.0).item() == pytest.approx(
        TRUE[s], rel=0.01, abs=0.01
    )


@pytest.mark.parametrize("s", SPREADS)
def test_full_kernel_at_known_values(s):
    """Oracles: the simulated table to its two decimals, and the limit of many dimensions."""
    seed_everything(0)
    w = 5000
    estimates = [nearest_full(s * torch.randn(5, w), torch.randn(5, w)) / w for _ in range(20)]
    estimate = torch.stack(estimates).mean().item()
    assert estimate == pytest.approx(FULL[s], abs=0.012)
    assert estimate == pytest.approx(math.log((1 + s**2) / (2 * s**2)) / 2, abs=0.012)


def test_full_kernel_rewards_unlimited_spread():
    seed_everything(0)
    samples, prior = torch.randn(5, 5000), torch.randn(5, 5000)
    estimates = [nearest_full(s * samples, prior).item() / 5000 for s in SPREADS]
    assert estimates == sorted(estimates, reverse=True)
    assert estimates[-1] == pytest.approx(-math.log(2) / 2, abs=0.01)


def test_the_constant_is_once_for_the_full_kernel_and_once_a_weight_for_scalars():
    """All distances are known: samples of q are 1 apart, and all but the first equal a sample of the prior."""
    samples = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0]]).expand(5, 7)
    prior = samples + 1  # distance 0 for the last four samples, 1 for the first
    shift = math.log(1e-4)  # sqrt(1e-8) replaces a distance of 0
    assert nearest_per_weight(samples, prior).item() == pytest.approx(7 * (0.8 * shift + math.log(5 / 4)), rel=1e-4)
    full = 7 * 0.8 * (shift - math.log(7) / 2) + math.log(5 / 4)
    assert nearest_full(samples, prior).item() == pytest.approx(full, rel=1e-4)
    assert math.log(5 / 4) == pytest.approx(0.2231, abs=5e-5)


def brute_per_weight(samples, prior):
    """The formula for all pairs at once, ``[W, S, S]``."""
    to_prior = ((samples.T[:, :, None] - prior.T[:, None, :]).square() + 1e-8).sqrt().amin(2)
    pairs = ((samples.T[:, :, None] - samples.T[:, None, :]).square() + 1e-8).sqrt()
    to_samples = (pairs + 1e9 * torch.eye(len(samples), dtype=samples.dtype)).amin(2)
    return (_log_ratio(to_prior, to_samples).mean(1) + math.log(len(prior) / (len(samples) - 1))).sum()


def brute_full(samples, prior):
    to_prior = ((samples[:, None] - prior).square().sum(2) + 1e-8).sqrt().amin(1)
    pairs = ((samples[:, None] - samples).square().sum(2) + 1e-8).sqrt()
    to_samples = (pairs + 1e9 * torch.eye(len(samples), dtype=samples.dtype)).amin(1)
    return samples.shape[1] * _log_ratio(to_prior, to_samples).mean() + math.log(len(prior) / (len(samples) - 1))


def _log_ratio(to_prior, to_samples):
    return (to_prior / (to_samples + 1e-8) + 1e-8).log()


@pytest.mark.parametrize(("ours", "brute"), [(nearest_per_weight, brute_per_weight), (nearest_full, brute_full)])
@pytest.mark.parametrize(("s", "m"), [(5, 5), (2, 5), (6, 1), (3, 8)])
def test_equals_brute_force_in_value_and_gradient(ours, brute, s, m):
    seed_everything(0)
    prior = torch.randn(m, 300, dtype=torch.float64)
    samples = (0.3 * torch.randn(s, 300, dtype=torch.float64) + 0.1).requires_grad_()
    values, gradients = [], []
    for estimate in (ours, brute):
        value = estimate(samples, prior)
        values.append(value.item())
        gradients.append(torch.autograd.grad(value, samples)[0])
    assert values[0] == pytest.approx(values[1], rel=1e-9)
    assert torch.allclose(*gradients, rtol=1e-6, atol=1e-9)


def test_the_estimate_of_many_weights_is_the_sum_over_any_groups_of_them():
    seed_everything(0)
    weights = 2 * GROUP_VALUES // 3 + 5  # three groups, of which the last is small
    samples = torch.randn(3, weights, dtype=torch.float64, requires_grad=True)
    prior = torch.randn(4, weights, dtype=torch.float64)
    whole = nearest_per_weight(samples, prior)
    parts = sum(nearest_per_weight(s, p) for s, p in zip(samples.split(7000, 1), prior.split(7000, 1), strict=True))
    assert whole.item() == pytest.approx(parts.item(), rel=1e-9)
    assert torch.allclose(*(torch.autograd.grad(3 * value, samples)[0] for value in (whole, parts)), rtol=1e-12)


def test_the_order_of_the_samples_does_not_matter_to_the_estimate_and_their_gradients_follow_them():
    """All 24 orders of four samples."""
    seed_everything(0)
    samples, prior = torch.randn(4, 50, dtype=torch.float64), torch.randn(5, 50, dtype=torch.float64)
    results = []
    for order in itertools.permutations(range(4)):
        permuted = samples[list(order)].requires_grad_()
        value = nearest_per_weight(permuted, prior)
        (gradient,) = torch.autograd.grad(value, permuted)
        results.append((value.item(), gradient[torch.tensor(order).argsort()]))
    assert all(value == results[0][0] and gradient.equal(results[0][1]) for value, gradient in results)


@pytest.mark.parametrize("estimate", [nearest_per_weight, nearest_full])
def test_equal_samples_have_finite_values_and_gradients(estimate):
    samples = torch.zeros(5, 3, requires_grad=True)
    value = estimate(samples, torch.zeros(5, 3))
    value.backward()
    assert value.isfinite()
    assert samples.grad.isfinite().all()


@pytest.mark.parametrize("estimate", [nearest_per_weight, nearest_full])
@pytest.mark.parametrize("shapes", [((1, 3), (5, 3)), ((5, 3), (5, 4)), ((5,), (5,))])
def test_wrong_shapes_are_rejected(estimate, shapes):
    with pytest.raises(ValueError, match=r"must be \[S, W\] and \[M, W\]"):
        estimate(*map(torch.zeros, shapes))


def test_the_discriminator_finds_the_density_ratio_of_two_gaussians():
    """Oracle: log N(w; 0.5, 0.6^2) - log N(w; 0, 1) where both have samples, and the KL in closed form."""
    seed_everything(0)
    q, p = Normal(0.5, 0.6), Normal(0.0, 1.0)
    discriminator = Discriminator()
    optimiser = adam(discriminator.parameters(), 2e-3)
    shares = (torch.arange(200) + 0.5) / 200
    samples, prior = q.icdf(shares), p.icdf(shares)  # quantiles: thousands of random samples would be needed instead
    for _ in range(300):
        optimiser.zero_grad()
        discriminator.loss(samples, prior).backward()
        optimiser.step()
    w = torch.linspace(-0.7, 1.7, 25)
    assert (discriminator(w) - (q.log_prob(w) - p.log_prob(w))).abs().max() < 0.2
    estimate = discriminator.kl(q.sample((5, 20_000))).item() / 20_000
    assert estimate == pytest.approx(kl_divergence(q, p).item(), abs=0.04)


def test_the_loss_has_gradients_only_for_the_discriminator_and_the_kl_only_for_the_samples():
    seed_everything(0)
    discriminator, samples = Discriminator(), torch.randn(5, 7, requires_grad=True)
    discriminator.kl(samples).backward()
    assert samples.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in discriminator.parameters())
    samples.grad = None
    discriminator.loss(samples, torch.randn(5, 7)).backward()
    assert samples.grad is None
    assert all(weight.grad.abs().sum() > 0 for weight in discriminator.parameters())


def test_the_discriminators_kl_sums_over_weights_and_averages_over_samples():
    seed_everything(0)
    discriminator, samples = Discriminator(), torch.randn(5, 7)
    assert torch.allclose(discriminator.kl(samples), discriminator(samples).sum(1).mean())


def test_the_discriminators_loss_is_finite_where_it_is_certain():
    discriminator = Discriminator()
    assert discriminator.loss(torch.full((1, 1), 1e6), torch.full((1, 1), -1e6)).isfinite()
