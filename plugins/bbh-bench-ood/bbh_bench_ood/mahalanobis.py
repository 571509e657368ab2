"""Mahalanobis distance to the nearest class."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bbh_bench import Method, Posterior, Problem
from bbh_bench.methods.map import Map
from bbh_bench_ood.features import penultimate, training_features
from bbh_bench_ood.posterior import Score, fit_detector


@dataclass(frozen=True)
class Mahalanobis:
    """Mahalanobis distance of penultimate features to the nearest class mean (Lee et al. 2018, arXiv 1807.03888).

    With one covariance for all classes. Without the paper's perturbed inputs and its weights of several layers, which it fits
    on OOD images.
    """

    name: str = "mahalanobis"
    version: int = 1
    base: Method = field(default_factory=Map)

    def fit(self, problem: Problem) -> Posterior:
        """Fit the base method, then means and covariance."""
        return fit_detector(
            self.name, self.base, problem, lambda network: MahalanobisScore.fitted(network, problem.x, problem.y)
        )


@dataclass(frozen=True)
class MahalanobisScore(Score):
    """The squared distance to the nearest class mean: equations 1 and 2 of the paper.

    Features that do not vary in the training data do not count: the precision is a pseudo-inverse, as scikit-learn's is, which
    the paper's code uses.
    """

    network: nn.Module
    means: Tensor
    """Of C classes, ``[C, D]``."""
    precision: Tensor
    """``[D, D]``."""

    @staticmethod
    def fitted(network: nn.Module, x: Tensor, y: Tensor) -> "MahalanobisScore":
        """From training inputs ``[N, ...]`` and labels ``[N]``. Classes without an input are left out."""
        features = training_features(network, x)
        classes, index = y.unique(return_inverse=True)
        means = torch.stack([features[index == k].mean(0) for k in range(len(classes))])
        centred = features - means[index]
        return MahalanobisScore(network, means, torch.linalg.pinv(centred.T @ centred / len(x), hermitian=True))

    @property
    def stored(self) -> int:
        """Means and precision."""
        return self.means.numel() + self.precision.numel()

    def __call__(self, x: Tensor) -> Tensor:
        """See ``Score``."""
        difference = penultimate(self.network, x).unsqueeze(1) - self.means
        return ((difference @ self.precision) * difference).sum(-1).amin(-1)
