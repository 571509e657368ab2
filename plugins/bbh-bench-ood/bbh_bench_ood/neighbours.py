"""Distance to the k-th nearest training image, in the space of the features."""

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn

from bbh_bench import Method, Posterior, Problem
from bbh_bench.errors import ContractError
from bbh_bench.methods.map import Map
from bbh_bench_ood.features import penultimate, training_features
from bbh_bench_ood.posterior import Score, check_classification, fit_detector


@dataclass(frozen=True)
class NearestNeighbours:
    """Distance to the k-th nearest training image in normalised penultimate features (Sun et al. 2022, arXiv 2204.06507)."""

    name: str = "knn"
    version: int = 1
    base: Method = field(default_factory=Map)
    k: int = 50
    """The paper's for CIFAR-10."""

    def fit(self, problem: Problem) -> Posterior:
        """Fit the base method, then store the features. Raises ``ContractError`` if there are fewer than k training inputs."""
        check_classification(self.name, problem)
        if not 1 <= self.k <= len(problem.x):
            raise ContractError(
                f"method '{self.name}' has k = {self.k} for {len(problem.x)} training inputs; k must be from 1 to their number."
            )
        return fit_detector(
            self.name, self.base, problem, lambda network: NeighbourScore.fitted(network, problem.x, self.k)
        )


@dataclass(frozen=True)
class NeighbourScore(Score):
    """Euclidean distance to the k-th nearest of all training features, each divided by its norm: section 3 of the paper."""

    network: nn.Module
    features: Tensor
    """Of the N training inputs, ``[N, D]``, with norm 1 (or 0), float32."""
    k: int

    @staticmethod
    def fitted(network: nn.Module, x: Tensor, k: int) -> "NeighbourScore":
        """From training inputs ``[N, ...]``."""
        return NeighbourScore(network, F.normalize(training_features(network, x)).float(), k)

    @property
    def stored(self) -> int:
        """All features: it grows with the number of training images."""
        return self.features.numel()

    def __call__(self, x: Tensor) -> Tensor:
        """See ``Score``."""
        features = F.normalize(penultimate(self.network, x)).float()
        squares = self.features.square().sum(1) - 2 * features @ self.features.T  # without the norm, the same for all
        neighbour = self.features[squares.topk(self.k, largest=False).indices[:, -1]]
        return (features - neighbour).norm(dim=1)  # not from the squares: small distances would be lost to rounding
