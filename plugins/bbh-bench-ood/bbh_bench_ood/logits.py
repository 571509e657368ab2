"""Scores of the logits: nothing is stored."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from bbh_bench import Method, Posterior, Problem
from bbh_bench.methods.map import Map
from bbh_bench_ood.posterior import Score, fit_detector


@dataclass(frozen=True)
class Energy:
    """Energy of the logits (Liu et al. 2020, arXiv 2010.03759), without training on OOD images."""

    name: str = "energy"
    version: int = 1
    base: Method = field(default_factory=Map)
    temperature: float = 1.0
    """The paper's."""

    def fit(self, problem: Problem) -> Posterior:
        """Fit the base method."""
        return fit_detector(self.name, self.base, problem, lambda network: EnergyScore(network, self.temperature))


@dataclass(frozen=True)
class MaxLogit:
    """Largest logit (Hendrycks et al. 2019, arXiv 1911.11132)."""

    name: str = "max-logit"
    version: int = 1
    base: Method = field(default_factory=Map)

    def fit(self, problem: Problem) -> Posterior:
        """Fit the base method."""
        return fit_detector(self.name, self.base, problem, MaxLogitScore)


@dataclass(frozen=True)
class EnergyScore(Score):
    """``-T log sum_k exp(logit_k / T)`` for the temperature T: equation 4 of the paper."""

    network: nn.Module
    temperature: float

    def __call__(self, x: Tensor) -> Tensor:
        """See ``Score``."""
        return -self.temperature * (self.network(x) / self.temperature).logsumexp(-1)


@dataclass(frozen=True)
class MaxLogitScore(Score):
    """The negative of the largest logit."""

    network: nn.Module

    def __call__(self, x: Tensor) -> Tensor:
        """See ``Score``."""
        return -self.network(x).amax(-1)
