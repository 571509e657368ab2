"""The small problems on which contract tests fit, and a posterior that is fitted in a moment."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from bbh_bench.api import Categorical, Gaussian, Problem
from bbh_bench.inference.weights import WeightPosterior
from bbh_bench.methods.map import train_map
from bbh_bench.tasks.networks import initialise

CLASSES = 3


def small_network() -> nn.Module:
    """A network with every kind of layer that the suite's tasks use, for images ``[B, 1, 6, 6]``."""
    return initialise(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Dropout(0.0),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(36, 16),
            nn.Dropout(0.0),
            nn.ReLU(),
            nn.Linear(16, CLASSES),
        )
    )


def small_problem(epochs: int = 80) -> Problem:
    """Sixty images of three classes, which differ in the third that is bright. The same at every call, in new tensors."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % CLASSES
    x = torch.rand(60, 1, 6, 6, generator=generator) / 2
    for c in range(CLASSES):
        x[y == c, :, :, 2 * c : 2 * c + 2] += 0.5
    return Problem(x=x, y=y, network=small_network, likelihood=Categorical(CLASSES), epochs=epochs, batch_size=20)


def small_regression(epochs: int = 300) -> Problem:
    """Forty points of a parabola in two variables, in one batch, with standard deviation 1 and noise of 0.2."""
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(40, 2, generator=generator) - 1
    y = x.square().sum(1) + x[:, 0]
    y = (y - y.mean()) / y.std() + 0.2 * torch.randn(40, generator=generator)

    def network() -> nn.Module:
        return initialise(nn.Sequential(nn.Linear(2, 20), nn.Dropout(0.0), nn.ReLU(), nn.Linear(20, 1)))

    return Problem(x=x, y=y, network=network, likelihood=Gaussian(0.2), epochs=epochs, batch_size=40)


def quick_posterior(problem: Problem, steps: int, networks: int, noise: float = 0.01) -> WeightPosterior:
    """MAP after about ``steps`` steps, with isotropic normal noise on the weights.

    ``sample(n)`` gives at most this many ``networks``, which differ with the random generators. ``noise`` is the standard
    deviation.
    """
    per_epoch = max(1, problem.steps // problem.epochs)
    network = problem.network()
    short = replace(problem, epochs=min(problem.epochs, max(1, steps // per_epoch)))
    train_map(network, short, lr=0.01, prior_scale=1.0)
    mean = {name: weight.detach() for name, weight in network.named_parameters()}

    def sample_weights(n: int) -> dict[str, Tensor]:
        several = min(n, networks)
        return {
            name: weight + noise * torch.randn(several, *weight.shape, device=weight.device)
            for name, weight in mean.items()
        }

    return WeightPosterior(network, sample_weights, sum(weight.numel() for weight in mean.values()))
