"""Diagonal stochastic weight averaging: Maddox et al. 2019, arXiv 1902.02476, algorithm 1 without the low-rank part."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bbh_bench import Method, Posterior, Problem, WeightPosterior, hookimpl, minimise


@dataclass(frozen=True)
class SwagDiag:
    """Diagonal SWAG: the weights that SGD walks through, as a Gaussian."""

    name: str = "swag-diag"
    lr: float = 0.05
    momentum: float = 0.9
    burn_in: float = 0.75
    """Share of the steps before averaging starts."""

    def fit(self, problem: Problem) -> Posterior:
        """SGD at a constant rate; running mean and square of the weights once it is past the burn-in."""
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

        def draw(n: int) -> dict[str, Tensor]:
            return {k: mean[k] + std[k] * torch.randn(n, *mean[k].shape, device=mean[k].device) for k in mean}

        return WeightPosterior(network, draw, parameters=2 * sum(weight.numel() for weight in mean.values()))


@hookimpl
def bbh_methods() -> list[Method]:
    """The plugin's methods."""
    return [SwagDiag()]
