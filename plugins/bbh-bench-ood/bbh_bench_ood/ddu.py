"""Density of the features: deep deterministic uncertainty, without its constraints on the network."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bbh_bench import Method, Posterior, Problem
from bbh_bench.methods.map import Map
from bbh_bench_ood.features import penultimate, training_features
from bbh_bench_ood.posterior import Score, fit_detector


@dataclass(frozen=True)
class Ddu:
    """Density of penultimate features, one Gaussian a class (DDU, Mukhoti et al. 2023, arXiv 2102.11582).

    Without spectral normalisation: the networks are those of the base method. In the paper it keeps inputs that differ apart in
    the features.
    """

    name: str = "ddu"
    version: int = 1
    base: Method = field(default_factory=Map)
    ridge: float = 1e-3
    """Added to the variance of every feature, in units of the mean variance within classes: a class with fewer images than
    features has a singular covariance."""

    def fit(self, problem: Problem) -> Posterior:
        """Fit the base method, then the density."""
        return fit_detector(
            self.name,
            self.base,
            problem,
            lambda network: DensityScore.fitted(network, problem.x, problem.y, self.ridge),
        )


@dataclass(frozen=True)
class DensityScore(Score):
    """The negative log-density of the features under a mixture of Gaussians with the shares of the classes: section 3."""

    network: nn.Module
    log_shares: Tensor
    """Of C classes, ``[C]``."""
    means: Tensor
    """``[C, D]``."""
    factors: Tensor
    """Cholesky factors of the covariances, ``[C, D, D]``."""

    @staticmethod
    def fitted(network: nn.Module, x: Tensor, y: Tensor, ridge: float) -> "DensityScore":
        """From training inputs ``[N, ...]`` and labels ``[N]``. Classes without an input are left out."""
        features = training_features(network, x)
        classes, index, counts = y.unique(return_inverse=True, return_counts=True)
        means = torch.stack([features[index == k].mean(0) for k in range(len(classes))])
        centred = features - means[index]
        added = ridge * centred.square().mean() * torch.eye(features.shape[1]).to(features)
        covariances = torch.stack([_covariance(centred[index == k]) for k in range(len(classes))])
        return DensityScore(
            network, (counts / len(x)).double().log(), means, torch.linalg.cholesky(covariances + added)
        )

    @property
    def stored(self) -> int:
        """Shares, means and covariances, of which each is counted as a full matrix."""
        return self.log_shares.numel() + self.means.numel() + self.factors.numel()

    def __call__(self, x: Tensor) -> Tensor:
        """See ``Score``."""
        features = penultimate(self.network, x).unsqueeze(1)
        classes = torch.distributions.MultivariateNormal(self.means, scale_tril=self.factors, validate_args=False)
        return -(classes.log_prob(features) + self.log_shares).logsumexp(-1)


def _covariance(centred: Tensor) -> Tensor:
    """Unbiased, of features ``[N, D]`` with mean zero; zero for a single one."""
    return centred.T @ centred / max(1, len(centred) - 1)
