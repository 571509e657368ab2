"""Variational Bayesian last layers: Harrison et al. 2024, arXiv 2404.11599, with dense covariances.

The paper also learns a noise, of targets or of logits. Here the likelihood is the task's: the noise of a regression is known,
and logits have none. The classification is the paper's discriminative one.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bbh_bench import Posterior, Problem, minimise
from bbh_bench.api import Categorical, Gaussian
from bbh_bench.errors import ContractError
from bbh_bench.inference.rates import learning_rate
from bbh_bench.inference.training import adam, kernels, negative_log_prior
from bbh_bench_last_layer import Vbll
from bbh_bench_last_layer.features import HeadPosterior, WithOne, split

Bound = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Means ``[B, K]`` and variances ``[B, K]`` of outputs, and targets ``[B]`` -> upper bound of the expected negative
log-likelihood, averaged over the batch, in nats."""


def fit_vbll(method: Vbll, problem: Problem) -> Posterior:
    """Maximise the evidence lower bound, with the log prior of the other layers' weights."""
    bound = bound_of(problem, method.name)
    body, last = split(problem.network(), method.name)
    if last.bias is not None:
        body.append(WithOne())
    head = Head(last, method.initial_std)
    network = nn.ModuleList([body, head]).to(problem.x.device).train()
    scale = problem.prior_scale_or(method.prior_scale)
    covered = kernels(body) if problem.prior_scale is None else list(body.parameters())

    def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
        mean, variance = head(body(x))
        penalty = head.kl(scale) + (negative_log_prior(covered, scale) if covered else 0.0)
        return bound(mean, variance, y) + penalty / len(problem.x)

    minimise(problem, adam(network.parameters(), learning_rate(method.lr, problem.steps)), loss)
    return HeadPosterior(body, head.mean, head.factor())


class Head(nn.Module):
    """A Gaussian over the weights of the last layer, independent between outputs, with a dense covariance for each.

    Its mean starts at the weights of the layer ``last``; the bias, if there is one, is the weight on a last feature.
    """

    def __init__(self, last: nn.Linear, std: float) -> None:
        super().__init__()
        mean = last.weight if last.bias is None else torch.cat([last.weight, last.bias.unsqueeze(1)], dim=1)
        self.mean = nn.Parameter(mean.detach().clone())
        """``[K, D]``."""
        self.log_diagonal = nn.Parameter(torch.full_like(self.mean, math.log(std)))
        """Of the factor, ``[K, D]``."""
        self.below = nn.Parameter(torch.zeros(*mean.shape, mean.shape[1], device=mean.device))
        """The factor below its diagonal, ``[K, D, D]``. The rest is not used."""

    def factor(self) -> Tensor:
        """Lower triangular factor of the covariance of each output's weights, ``[K, D, D]``."""
        return self.below.tril(-1) + torch.diag_embed(self.log_diagonal.exp())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances of the outputs, ``[B, K]`` each, for features ``[B, D]``."""
        spread = torch.einsum("bd,kde->bke", features, self.factor())
        return features @ self.mean.T, spread.square().sum(-1)

    def kl(self, prior_scale: float) -> Tensor:
        """Kullback-Leibler divergence from N(0, prior_scale^2) on every weight, in nats."""
        squares = self.mean.square().sum() + self.factor().square().sum()
        count = self.mean.numel()
        return squares / (2 * prior_scale**2) - count / 2 + count * math.log(prior_scale) - self.log_diagonal.sum()


def bound_of(problem: Problem, method: str) -> Bound:
    """The bound for the problem's likelihood. Raises ``ContractError``, which names the ``method``, for another."""
    match problem.likelihood:
        case Categorical():
            return jensen
        case Gaussian(std=std):
            return lambda mean, variance, y: problem.likelihood(mean, y) + variance.mean() / (2 * std**2)
    raise ContractError(f"method '{method}': the likelihood {problem.likelihood} is neither Categorical nor Gaussian.")


def jensen(mean: Tensor, variance: Tensor, y: Tensor) -> Tensor:
    """Bound of the expected cross-entropy of normal logits, by Jensen's inequality: E log sum exp <= log sum E exp.

    See ``Bound``. The bound is exact without variance.
    """
    right = mean.gather(1, y.unsqueeze(1)).squeeze(1)
    return ((mean + variance / 2).logsumexp(1) - right).mean()
