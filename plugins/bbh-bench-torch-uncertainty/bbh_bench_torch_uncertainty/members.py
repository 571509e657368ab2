"""What the three ensembles share: the loss, and the posterior."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bbh_bench import Posterior, Problem, minimise
from bbh_bench.api import PredictFn
from bbh_bench.inference.rates import learning_rate
from bbh_bench.inference.training import adam, kernels, negative_log_prior

Outputs = Callable[[Tensor], Tensor]
"""Inputs ``[B, ...]`` -> outputs of all members ``[M, B, K]``."""


def train(
    network: nn.Module,
    problem: Problem,
    loss: Callable[[Tensor, Tensor], Tensor],
    lr: float | None,
    prior_scale: float,
    members: int = 1,
) -> None:
    """Train in place: the loss, averaged over members, minus the log prior / N, for each of ``members`` separate networks.

    The prior is that of the task, on all parameters, if the task states one; otherwise it is on kernels.
    """
    weights = kernels(network) if problem.prior_scale is None else list(network.parameters())
    scale = problem.prior_scale_or(prior_scale)

    def whole_loss(x: Tensor, y: Tensor, step: int) -> Tensor:
        return loss(x, y) + negative_log_prior(weights, scale) / (members * len(problem.x))

    network.train()
    minimise(problem, adam(network.parameters(), learning_rate(lr, problem.steps)), whole_loss)
    network.eval().requires_grad_(False)


def mean_loss(problem: Problem, outputs: Tensor, y: Tensor) -> Tensor:
    """Negative log-likelihood of outputs ``[M, B, K]`` for targets ``[B]``, or ``[M, B]``, averaged over members."""
    targets = y.expand(len(outputs), -1)
    return torch.stack([problem.likelihood(each, target) for each, target in zip(outputs, targets, strict=True)]).mean()


class MembersPosterior(Posterior):
    """Members of an ensemble that share a network."""

    def __init__(self, network: nn.Module, outputs: Outputs, members: int) -> None:
        self.network = network
        self.parameters = sum(weight.numel() for weight in network.parameters())
        self._outputs = outputs
        self._members = members

    def sample(self, n: int) -> PredictFn:
        """All members, or n of them, chosen at random, if n is smaller than their number."""
        if n >= self._members:
            return self._outputs
        chosen = torch.randperm(self._members)[:n]
        return lambda x: self._outputs(x)[chosen.to(x.device)]
