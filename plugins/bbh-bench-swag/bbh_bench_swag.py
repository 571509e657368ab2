"""Diagonal stochastic weight averaging: Maddox et al. 2019, arXiv 1902.02476, algorithm 1 without the low-rank part."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bbh_bench import Method, Posterior, Problem, WeightPosterior, hookimpl, minimise


@dataclass(frozen=True)
class SwagDiag:
    """Diagonal SWAG: a Gaussian with the mean and variance of the weights along the path of SGD."""

    name: str = "swag-diag"
    version: int = 1
    lr: float = 0.05
    momentum: float = 0.9
    burn_in: float = 0.75
    """Share of the steps before averaging starts."""

    def fit(self, problem: Problem) -> Posterior:
        """Run SGD at a constant learning rate. After the burn-in, average the weights and their squares."""
        network = problem.network()
        weights = dict(network.named_parameters())
        mean = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        square = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        start = int(self.burn_in * problem.steps)

        def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
            if step >= start:
                for name, weight in weights.items():
                    mean[name].lerp_(weight.detach(), 1 / (step - start + 1))
                    square[name].lerp_(weight.detach().square(), 1 / (step - start + 1))
            return problem.likelihood(network(x), y)

        minimise(problem, torch.optim.SGD(weights.values(), self.lr, self.momentum), loss)
        std = {name: (square[name] - mean[name].square()).clamp(min=1e-30).sqrt() for name in mean}

        def sample_weights(n: int) -> dict[str, Tensor]:
            return {k: mean[k] + std[k] * torch.randn(n, *mean[k].shape, device=mean[k].device) for k in mean}

        return WeightPosterior(network, sample_weights, parameters=2 * sum(weight.numel() for weight in mean.values()))


@hookimpl
def bbh_methods() -> list[Method]:
    """The methods of this plugin."""
    return [SwagDiag()]
