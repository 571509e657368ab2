"""Diagonal stochastic weight averaging: Maddox et al. 2019, arXiv 1902.02476, algorithm 1 without the low-rank part."""

from collections.abc import Mapping
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
        moments = Moments(weights)
        start = int(self.burn_in * problem.steps)

        def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
            if step >= start:
                moments.update(weights, 1 / (step - start + 1))
            return problem.likelihood(network(x), y)

        minimise(problem, torch.optim.SGD(weights.values(), self.lr, self.momentum), loss, state={"moments": moments})
        mean, std = moments.mean, moments.std()

        def sample_weights(n: int) -> dict[str, Tensor]:
            return {k: mean[k] + std[k] * torch.randn(n, *mean[k].shape, device=mean[k].device) for k in mean}

        return WeightPosterior(network, sample_weights, parameters=2 * sum(weight.numel() for weight in mean.values()))


class Moments:
    """Running averages of weights and of their squares, by name. A checkpoint of the fit includes them."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.mean = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self.square = {name: torch.zeros_like(weight) for name, weight in weights.items()}

    def update(self, weights: Mapping[str, Tensor], share: float) -> None:
        """Move the averages by a ``share`` of the way to the weights and their squares."""
        for name, weight in weights.items():
            self.mean[name].lerp_(weight.detach(), share)
            self.square[name].lerp_(weight.detach().square(), share)

    def std(self) -> dict[str, Tensor]:
        """Standard deviations, by name."""
        return {k: (self.square[k] - self.mean[k].square()).clamp(min=1e-30).sqrt() for k in self.mean}

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint stores."""
        return {"mean": self.mean, "square": self.square}

    def load_state_dict(self, state_dict: dict[str, dict[str, Tensor]]) -> None:
        """Copy what a checkpoint has stored."""
        for own, saved in ((self.mean, state_dict["mean"]), (self.square, state_dict["square"])):
            for name, average in own.items():
                average.copy_(saved[name])


@hookimpl
def bbh_methods() -> list[Method]:
    """The methods of this plugin."""
    return [SwagDiag()]
