"""Deep ensembles: Lakshminarayanan et al. 2017, arXiv 1612.01474.

Without adversarial training and without a variance head: the members differ by initialisation and by the order of their
batches. Each member takes the whole budget (in the paper's code they share one stream of batches, so that each saw a
tenth of every epoch).
"""

from dataclasses import dataclass, field, replace

import torch

from bbh_bench.api import Method, Posterior, Predict, Problem
from bbh_bench.methods.map import Map


@dataclass(frozen=True)
class Ensemble:
    """Deep ensemble: several networks of a base method, trained one after the other."""

    name: str = "ensemble"
    members: int = 5
    base: Method = field(default_factory=Map)

    def fit(self, problem: Problem) -> Posterior:
        """Fit the base method ``members`` times."""

        def member(k: int) -> Posterior:
            def progress(fraction: float, loss: float) -> None:
                problem.progress((k + fraction) / self.members, loss)

            return self.base.fit(replace(problem, progress=progress))

        return EnsemblePosterior([member(k) for k in range(self.members)])


class EnsemblePosterior(Posterior):
    """The members, each with an equal share of the draws."""

    def __init__(self, members: list[Posterior]) -> None:
        self.members = members
        self.parameters = sum(member.parameters for member in members)
        self.differentiable = all(getattr(member, "differentiable", True) for member in members)

    def sample(self, n: int) -> Predict:
        """Every member, n draws shared out among them, of which a point estimate gives one; some members if n is less."""
        count = len(self.members)
        chosen = range(count) if n >= count else torch.randperm(count)[:n].tolist()
        networks = [self.members[k].sample(max(1, n // count + (k < n % count))) for k in chosen]
        return lambda x: torch.cat([network(x) for network in networks])
