"""SWAG with its low-rank covariance: Maddox et al. 2019, arXiv 1902.02476, algorithm 1 and equation 1."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bbh_bench import Method, Posterior, Problem, WeightPosterior, hookimpl, minimise
from bbh_bench.errors import ContractError
from bbh_bench.inference.training import negative_log_prior
from bbh_bench_swag import Moments


@dataclass(frozen=True)
class Swag:
    """SWAG: a Gaussian with the mean and a diagonal plus low-rank covariance of the weights along the path of SGD.

    Each of the two parts has half its weight. Mean and diagonal are those of ``swag-diag``: averages over every step after the
    burn-in, where the paper takes one set of weights an epoch. Deviations are stored at ``rank`` steps, evenly spaced over the
    same part of the path.
    """

    name: str = "swag"
    version: int = 1
    lr: float = 0.02
    momentum: float = 0.9
    burn_in: float = 0.75
    """Share of the steps before averaging starts."""
    rank: int = 20
    """Number of deviations from the mean that are stored, K in the paper. Fewer if there are fewer steps."""

    def fit(self, problem: Problem) -> Posterior:
        """Run SGD at a constant learning rate. After the burn-in, average weights and squares, and store deviations.

        It has no prior of its own; it uses that of the task, if there is one.

        Raises ``ContractError`` if fewer than two deviations would be stored.
        """
        network = problem.network()
        weights = dict(network.named_parameters())
        start = int(self.burn_in * problem.steps)
        averaged = problem.steps - start
        rank = min(self.rank, averaged)
        if rank < 2:
            raise ContractError(
                f"swag: its covariance needs two deviations; rank is {self.rank} and {averaged} steps follow the burn-in. "
                "Choose a rank of at least 2, and a burn_in that leaves two steps."
            )
        moments, deviations = Moments(weights), Deviations(weights, rank)

        def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
            if step >= start:
                position = step - start + 1
                moments.update(weights, 1 / position)
                if position * rank // averaged > deviations.count:
                    deviations.append(weights, moments.mean)
            likelihood = problem.likelihood(network(x), y)
            if problem.prior_scale is None:
                return likelihood
            return likelihood + negative_log_prior(weights.values(), problem.prior_scale) / len(problem.x)

        optimiser = torch.optim.SGD(weights.values(), self.lr, self.momentum)
        minimise(problem, optimiser, loss, state={"moments": moments, "deviations": deviations})
        mean, std = moments.mean, moments.std()

        def sample_weights(n: int) -> dict[str, Tensor]:
            return sample_low_rank(mean, std, deviations.columns, n)

        return WeightPosterior(network, sample_weights, (2 + rank) * sum(weight.numel() for weight in mean.values()))


class Deviations:
    """Weights minus their mean so far, at some steps, by name. A checkpoint of the fit includes them."""

    def __init__(self, weights: Mapping[str, Tensor], rank: int) -> None:
        self.count = 0
        """Number of deviations that are stored."""
        self.columns = {name: torch.zeros(rank, *weight.shape).to(weight) for name, weight in weights.items()}
        """``[rank, *shape]``: the columns of the paper's matrix D."""

    def append(self, weights: Mapping[str, Tensor], mean: Mapping[str, Tensor]) -> None:
        """Store ``weights - mean``."""
        for name, weight in weights.items():
            self.columns[name][self.count] = weight.detach() - mean[name]
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint stores."""
        return {"count": self.count, "columns": self.columns}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy what a checkpoint has stored."""
        self.count = state_dict["count"]
        for name, own in self.columns.items():
            own.copy_(state_dict["columns"][name])


def sample_low_rank(
    mean: Mapping[str, Tensor], std: Mapping[str, Tensor], deviations: Mapping[str, Tensor], n: int
) -> dict[str, Tensor]:
    """Samples ``[n, *shape]`` of N(mean, diag(std^2) / 2 + D D^T / (2 (K - 1))), by name: equation 1 of the paper.

    ``deviations``: ``[K, *shape]`` for each name, together the K columns of D. All weights of a sample share the K normal
    variables of the low-rank part.
    """
    first = next(iter(deviations.values()))
    shared = torch.randn(n, len(first), device=first.device)
    scale = (2 * (len(first) - 1)) ** -0.5
    return {
        name: mean[name]
        + std[name] * torch.randn(n, *mean[name].shape, device=mean[name].device) * 0.5**0.5
        + scale * torch.tensordot(shared, deviations[name], dims=1)
        for name in mean
    }


@hookimpl
def bbh_methods() -> list[Method]:
    """The method of this module."""
    return [Swag()]
