"""KL divergences from a posterior q to the prior p = N(0, scale^2), in nats, estimated from draws or in closed form.

The estimators are those of Pawlowski et al. 2017, arXiv 1711.01297 ("Implicit Weight Uncertainty in Neural Networks").
Five draws of a network say little about a density over all its weights: each estimator here is a regulariser of its own,
and its docstring says what it rewards.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

GUARD = 1e-8  # keeps roots and logarithms finite where draws coincide; as in the paper's code


def gaussian_kl(mean: Tensor, std: Tensor, prior_scale: float) -> Tensor:
    """KL of a factorised Gaussian to the prior, summed over all weights: exact (Blundell et al. 2015, arXiv 1505.05424)."""
    ratio = std / prior_scale
    return ((ratio.square() + (mean / prior_scale).square() - 1) / 2 - ratio.log()).sum()


def nearest_per_weight(draws: Tensor, prior: Tensor) -> Tensor:
    """The nearest-neighbour estimate of every weight by itself, summed: draws ``[S, W]`` of q, ``[M, W]`` of p.

    ``sum_i (mean_s log(D_si / R_si) + log(M / (S - 1)))`` with the distances D to the nearest prior draw and R to the
    nearest other draw of q (Perez-Cruz 2008; the paper's preferred estimator, and its constant).

    It ignores all correlations. For q = N(0, s^2) and S = M = 5 a weight's expected estimate is 1.89, 0.84, 0.41, 0.03,
    -0.01, 0.04, 0.38 and 0.77 nats at s = 0.1, 0.3, 0.5, 1, 1.5, 2, 5 and 20; the truth is 1.81, 0.75, 0.32, 0, 0.22,
    0.81, 10.4 and 196. So its minimum lies near s = 1.5, and too wide a posterior is hardly penalised.
    """
    _check(draws, prior)
    # A scalar's nearest neighbour is next to it in order, and the order of the draws doesn't matter to a mean over them.
    draws = draws.sort(dim=0).values
    gaps = draws.diff(dim=0)
    to_draws = torch.cat([gaps[:1], torch.minimum(gaps[:-1], gaps[1:]), gaps[-1:]])
    with torch.no_grad():  # which prior draw is the nearest; one row at a time, for temporaries of [S, W] only
        nearest = prior[0].expand_as(draws)
        closest = (draws - nearest).abs()
        for row in prior[1:]:
            distance = (draws - row).abs()
            nearest = torch.where(distance < closest, row, nearest)
            closest = torch.minimum(distance, closest)
    constant = draws.shape[1] * math.log(len(prior) / (len(draws) - 1))
    return _log_ratio(draws - nearest, to_draws).sum() / len(draws) + constant


def nearest_full(draws: Tensor, prior: Tensor) -> Tensor:
    """The nearest-neighbour estimate with all weights as one vector: draws ``[S, W]`` of q, ``[M, W]`` of p.

    ``W mean_s log(D_s / R_s) + log(M / (S - 1))`` with Euclidean distances (Perez-Cruz 2008; the paper's "full kernel").
    The paper's code multiplies the last term by W, which adds a constant of 96,193 nats to LeNet's and no gradient.

    In many dimensions all distances of a kind are alike, and with independent weights of variance s^2 and mean square m^2
    the estimate per weight tends to ``log((1 + s^2 + m^2) / (2 s^2)) / 2``: 1.96, 0.90, 0.46, 0.00, -0.16, -0.23, -0.32
    and -0.34 nats at s = 0.1, 0.3, 0.5, 1, 1.5, 2, 5 and 20 (m = 0; the truth is 1.81, 0.75, 0.32, 0, 0.22, 0.81, 10.4
    and 196). It falls without end, to -log(2) / 2: it rewards unlimited spread, and only the likelihood stops it.
    """
    _check(draws, prior)
    with torch.no_grad():  # which draws are nearest; the distances themselves are taken below, with exact gradients
        to_prior = torch.cdist(draws, prior).argmin(1)
        to_draws = torch.cdist(draws, draws).fill_diagonal_(math.inf).argmin(1)
    apart = torch.linalg.vector_norm(draws - prior[to_prior], dim=1)
    alone = torch.linalg.vector_norm(draws - draws[to_draws], dim=1)
    return draws.shape[1] * _log_ratio(apart, alone).mean() + math.log(len(prior) / (len(draws) - 1))


def _check(draws: Tensor, prior: Tensor) -> None:
    if len(draws) < 2 or draws.dim() != 2 or prior.dim() != 2 or draws.shape[1] != prior.shape[1]:
        shapes = f"{list(draws.shape)} and {list(prior.shape)}"
        raise ValueError(f"draws and prior have shapes {shapes}; they must be [S, W] and [M, W], with S at least 2.")


def _log_ratio(to_prior: Tensor, to_draws: Tensor) -> Tensor:
    """``log(D / R)`` of distances, or differences, guarded as in the paper's code."""
    return (_guarded(to_prior) / (_guarded(to_draws) + GUARD) + GUARD).log()


def _guarded(distance: Tensor) -> Tensor:
    return (distance.square() + GUARD).sqrt()


class Discriminator(nn.Module):
    """Learns ``log q(w) - log p(w)`` of a scalar weight, one function shared by all weights (the paper's third estimator).

    A classifier of draws of q against draws of p: where it is optimal its logit is the log-ratio of the two densities.
    Shared, it sees the mixture of all weights' marginals: weights that differ in place but not in value are one to it.
    It says little where p has no draws, so far-out weights are pulled back by extrapolation alone. It lags behind a
    moving q (the paper trains it for 100 steps in advance and one step a step), and it costs 8,320 multiplications for
    every weight of every draw: one draw of LeNet's 431,080 weights as much as LeNet itself for 1,560 images.
    """

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1, hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, 1),
        )  # fmt: skip

    def forward(self, weights: Tensor) -> Tensor:
        """Weights of any shape -> estimated log-ratio of q to p at each, of the same shape."""
        return self.layers(weights.unsqueeze(-1)).squeeze(-1)

    def loss(self, draws: Tensor, prior: Tensor) -> Tensor:
        """Cross-entropy of telling draws of q from draws of p, a scalar; for the discriminator's own optimiser.

        No gradient reaches the draws: q isn't to make them easy to tell apart.
        """
        return F.softplus(-self(draws.detach())).mean() + F.softplus(self(prior.detach())).mean()

    def kl(self, draws: Tensor) -> Tensor:
        """The estimate from draws ``[S, W]`` of q: the log-ratio, summed over weights and averaged over draws.

        Gradients reach the draws but not the discriminator, which would otherwise learn to call every KL small.
        """
        constants = {name: weight.detach() for name, weight in self.named_parameters()}
        ratio: Tensor = functional_call(self, constants, (draws,))
        return ratio.sum() / len(draws)
