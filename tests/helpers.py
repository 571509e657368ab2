"""A task whose cells take a moment, a method that fails, and a regression whose posterior is known in closed form."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from bbh_bench.api import Problem
from bbh_bench.attacks.builtin import FGSM
from bbh_bench.methods.map import Map
from bbh_bench.plugins import load_plugins
from bbh_bench.running.context import RunContext
from bbh_bench.running.plan import plan
from bbh_bench.running.provenance import provenance
from bbh_bench.tasks import digits5

TINY = replace(
    digits5.TASK,
    name="tiny",
    title="a tiny task",
    version=1,
    epochs=3,
    samples=4,
    attacked=40,
    attacks=(FGSM,),
    uncertainty=None,
)
QUICK = Map(name="quick", lr=0.01)


@dataclass(frozen=True)
class Failing:
    """A method whose fit raises."""

    name: str = "failing"
    version: int = 1
    message: str = "out of luck"

    def fit(self, problem):
        raise RuntimeError(self.message)


@dataclass(frozen=True)
class GaussianNoise:
    """A likelihood of known noise: outputs ``[B, 1]``, targets ``[B]``."""

    std: float

    def __call__(self, outputs, targets):
        return -torch.distributions.Normal(outputs.squeeze(-1), self.std).log_prob(targets).mean()


@dataclass(frozen=True)
class LinearRegression:
    """Bayesian linear regression under a N(0, 1) prior on weights ``[D]`` and a bias, the last of D + 1 numbers."""

    x: torch.Tensor
    y: torch.Tensor
    noise: float

    def problem(self, epochs):
        return Problem(
            x=self.x,
            y=self.y,
            network=lambda: nn.Linear(self.x.shape[1], 1),
            likelihood=GaussianNoise(self.noise),
            epochs=epochs,
            batch_size=len(self.x),
        )

    @property
    def design(self):
        return torch.cat([self.x, torch.ones(len(self.x), 1)], dim=1)

    @property
    def precision(self):
        """Of the posterior, ``[D + 1, D + 1]``."""
        return self.design.T @ self.design / self.noise**2 + torch.eye(self.design.shape[1])

    @property
    def covariance(self):
        return self.precision.inverse()

    @property
    def mean(self):
        return self.covariance @ self.design.T @ self.y / self.noise**2

    @property
    def log_evidence(self):
        covariance = self.design @ self.design.T + self.noise**2 * torch.eye(len(self.y))
        return torch.distributions.MultivariateNormal(torch.zeros(len(self.y)), covariance).log_prob(self.y).item()

    @property
    def factorised_elbo(self):
        """Of the best factorised Gaussian: log evidence - KL to the posterior."""
        best = torch.distributions.MultivariateNormal(self.mean, torch.diag(1 / self.precision.diagonal()))
        posterior = torch.distributions.MultivariateNormal(self.mean, self.covariance)
        return self.log_evidence - torch.distributions.kl_divergence(best, posterior).item()

    def by_weight(self, named):
        return torch.cat([named["weight"].flatten(), named["bias"]]).detach()


def linear_regression():
    """Twenty examples of three correlated inputs, so that the factorised Gaussian isn't the posterior."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 3, generator=generator) @ torch.tensor([[1.0, 0.6, 0], [0, 0.8, 0.5], [0, 0, 1]])
    y = x @ torch.tensor([1.0, -0.5, 0.3]) + 0.2 + 0.7 * torch.randn(20, generator=generator)
    return LinearRegression(x, y, noise=0.7)


def planned(task, method, seed=0, **changes):
    """The cell of one method, task and seed."""
    (cell,) = plan(load_plugins(external=False), [task], [method], [seed])
    return replace(cell, **changes)


def context(device="cpu", posteriors=None):
    """What a run with the built-in metrics would give its cells."""
    metrics = tuple(load_plugins(external=False).metrics.values())
    return RunContext(torch.device(device), metrics, provenance(torch.device(device), {"bbh-bench"}), posteriors)


class NoProgress:
    """A ``CellProgress`` that ignores everything."""

    def stage(self, name):
        pass

    def fitting(self, fraction, loss):
        pass
