"""An implicit posterior has several modes where the true one has them. A fit that has learned nothing gives a warning."""

import warnings
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bbh_bench.api import Gaussian, Problem
from bbh_bench.methods.bbb import Bbb
from bbh_bench.methods.bbh import LAYER_WISE, SINGLE, SLICED, Bbh, DeadGeneratorWarning
from bbh_bench.running.stages import seed_everything
from bbh_bench.testing import small_problem

NOISE = 0.5
X = torch.linspace(-1.5, 1.5, 10).unsqueeze(1)
SMALL = (16, 32)


class Square(nn.Module):
    """``y = w^2 x``: the data do not determine the sign of its one weight."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)

    def forward(self, x):
        return F.linear(x, self.layer.weight.square())


def bimodal(steps):
    """Ten points on the line of slope 1: the modes of the posterior are near -1 and 1."""
    return Problem(x=X, y=X.squeeze(1), network=Square, likelihood=Gaussian(NOISE), epochs=steps, batch_size=len(X))


def exact():
    """By quadrature, under the N(0, 1) prior: P(w > 0), mean and standard deviation of ``|w|``, P(``|w| < 0.5``)."""
    w = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    misfit = (X.double() * (w.square() - 1)).square().sum(0) / (2 * NOISE**2)
    density = torch.softmax(-misfit - w.square() / 2, 0)
    mean = (density * w.abs()).sum()
    deviation = (density * (w.abs() - mean).square()).sum().sqrt()
    return density[w > 0].sum().item(), mean.item(), deviation.item(), density[w.abs() < 0.5].sum().item()


def fitted(method, steps, seed=0):
    """The same four values of a fitted posterior, from 4,000 samples."""
    seed_everything(seed)
    posterior = method.fit(bimodal(steps))
    with torch.no_grad():
        w = posterior.sample_weights(4000)["layer.weight"].flatten()
    shares = [(w > 0).float().mean().item(), (w.abs() < 0.5).float().mean().item()]
    return shares[0], w.abs().mean().item(), w.abs().std().item(), shares[1]


def test_a_hypernet_finds_both_modes_where_a_gaussian_finds_one():
    """Oracle: quadrature. A Gaussian always has one mode; of the generator, one seed of the first four must find both.

    With the other seeds it may end in one mode. Which seeds these are depends on the last bits, and so on the processor. With a
    single weight, the nearest-neighbour estimate has nothing to average over: hence the discriminator.
    """
    above, mean, deviation, valley = exact()
    assert above == pytest.approx(0.5, abs=1e-3)
    one = fitted(Bbb(lr=1e-2, log_variance_lr=1e-2), 600)
    assert one[0] in (0, 1)
    assert one[1] == pytest.approx(mean, abs=0.03)
    assert one[2] == pytest.approx(deviation, abs=0.03)
    hypernet = Bbh(
        noise=1,
        units=(64, 64),
        spread=10.0,
        lr=3e-3,
        likelihood_samples=32,
        kl="discriminator",
        kl_samples=200,
        wait=0.5,
        anneal=0.5,
    )
    expected = [
        pytest.approx(above, abs=0.15),
        pytest.approx(mean, abs=0.1),
        pytest.approx(deviation, abs=0.1),
        pytest.approx(valley, abs=0.07),
    ]
    assert any(list(fitted(hypernet, 1000, seed)) == expected for seed in range(4))


def accuracy(posterior):
    problem = small_problem()
    predicted = posterior.sample(20)(problem.x).softmax(-1).mean(0).argmax(-1)
    return (predicted == problem.y).float().mean().item()


@pytest.mark.parametrize("method", [LAYER_WISE, SLICED, SINGLE], ids=lambda method: method.name)
@pytest.mark.parametrize("kl", ["per-weight", "full", "discriminator"])
def test_every_generator_learns_with_every_estimator_without_a_warning(method, kl):
    """With a KL weight of 0.05: with the full KL, over sixty images, the single generator learns nothing for some seeds."""
    seed_everything(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeadGeneratorWarning)
        samples = 3 if kl == "discriminator" else 5
        posterior = replace(method, kl=kl, kl_samples=samples, kl_weight=0.05).fit(small_problem())
    assert accuracy(posterior) > 0.9


def test_a_dead_generator_gives_a_warning():
    seed_everything(0)
    with pytest.warns(DeadGeneratorWarning, match="has not learned to predict"):
        posterior = Bbh(units=SMALL, lr=0.5, likelihood_samples=1).fit(small_problem(epochs=20))
    assert accuracy(posterior) < 0.6


def test_a_generator_is_dead_if_it_is_no_better_than_the_best_constant():
    """The images say nothing about the labels, and nine of ten labels are equal: better than a uniform prediction, but dead."""
    seed_everything(0)
    problem = small_problem(epochs=20)
    labels = (torch.arange(60) % 10 == 0).long()
    with pytest.warns(DeadGeneratorWarning, match="best constant prediction has 0.325"):
        Bbh(units=SMALL, kl_weight=0.0).fit(replace(problem, x=torch.zeros_like(problem.x), y=labels))


def test_weights_start_at_the_size_of_the_networks_own():
    seed_everything(0)
    posterior = Bbh(units=SMALL).fit(small_problem(epochs=0))
    network = posterior.network
    with torch.no_grad():
        samples = posterior.sample_weights(400)
    assert samples.keys() == dict(network.named_parameters()).keys()
    for name, weight in network.named_parameters():
        kernel = weight if name.endswith("weight") else network.get_parameter(name.replace("bias", "weight"))
        rms = kernel.square().mean().sqrt().item()
        assert samples[name].square().mean().sqrt() == pytest.approx(rms, rel=0.4), name
