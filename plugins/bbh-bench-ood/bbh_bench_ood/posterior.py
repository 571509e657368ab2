"""What all detectors share: a base method is fitted, and its networks score inputs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bbh_bench import Categorical, Method, Posterior, PredictFn, Problem
from bbh_bench.api import is_differentiable
from bbh_bench.errors import ContractError
from bbh_bench.methods.ensemble import EnsemblePosterior
from bbh_bench.methods.map import PointPosterior


class Score(ABC):
    """The OOD score of one network."""

    @property
    def stored(self) -> int:
        """Number of values that it keeps beside the network's parameters."""
        return 0

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Inputs ``[B, ...]`` -> scores ``[B]``, higher for inputs that are more likely OOD."""


class DetectorPosterior(Posterior):
    """A posterior with an OOD score: the mean over its networks. It predicts what it predicts without one."""

    def __init__(self, base: Posterior, scores: Sequence[Score]) -> None:
        self.base = base
        self.scores = scores
        self.parameters = base.parameters + sum(score.stored for score in scores)
        self.differentiable = is_differentiable(base)

    def sample(self, n: int) -> PredictFn:
        """Sample networks of the base posterior."""
        return self.base.sample(n)

    @torch.no_grad()
    def ood_score(self, x: Tensor) -> Tensor:
        """Mean of the scores of the networks, ``[B]``."""
        return torch.stack([score(x) for score in self.scores]).mean(0)


def check_classification(method: str, problem: Problem) -> None:
    """Raise ``ContractError`` for a regression."""
    if not isinstance(problem.likelihood, Categorical):
        kind = type(problem.likelihood).__name__
        raise ContractError(
            f"method '{method}' detects OOD inputs of a classification; this likelihood is {kind}. Choose another task."
        )


def fit_detector(method: str, base: Method, problem: Problem, score: Callable[[nn.Module], Score]) -> Posterior:
    """Fit ``base``, then a score of each of its networks.

    Nothing before the fit of ``base`` uses random numbers: with the same seed, the networks are those of ``base`` alone. Raises
    ``ContractError`` for a regression, and if the posterior has no frozen networks.
    """
    check_classification(method, problem)
    posterior = base.fit(problem)
    with torch.no_grad():
        return DetectorPosterior(
            posterior, [score(network) for network in frozen_networks(posterior, method, base.name)]
        )


def frozen_networks(posterior: Posterior, method: str, base: str) -> list[nn.Module]:
    """The networks of a point estimate, or of an ensemble of them. Raises ``ContractError`` for any other posterior."""
    if isinstance(posterior, PointPosterior):
        return [posterior.network]
    if isinstance(posterior, EnsemblePosterior):
        return [network for member in posterior.members for network in frozen_networks(member, method, base)]
    raise ContractError(
        f"method '{method}' needs a base method with frozen networks; '{base}' gives a {type(posterior).__name__}. "
        "Use map, or an ensemble of it."
    )
