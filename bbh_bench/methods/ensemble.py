"""Deep ensembles: Lakshminarayanan et al. 2017, arXiv 1612.01474.

Without adversarial training and without a variance head. The members differ in their initialisation and in the order of their
batches. Each member uses the whole budget. In the paper's code all members share one stream of batches, so that each of them
sees a tenth of every epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from bbh_bench.acceleration import accelerated
from bbh_bench.api import Choices, Method, Posterior, PredictFn, Problem, Searchable, is_differentiable
from bbh_bench.inference.side_by_side import plan_of, with_fallback
from bbh_bench.methods.map import Map, PointPosterior


@dataclass(frozen=True)
class Ensemble:
    """Deep ensemble: several networks of a base method, trained one after the other."""

    name: str = "ensemble"
    version: int = 1
    members: int = 5
    base: Method = field(default_factory=Map)

    def search_space(self) -> Mapping[str, Choices]:
        """See ``api.Searchable``: that of the base method. More members are better at any cost, so that it has no number."""
        space = self.base.search_space() if isinstance(self.base, Searchable) else {}
        return {f"base.{name}": choices for name, choices in space.items()}

    def fit(self, problem: Problem) -> Posterior:
        """Fit the base method ``members`` times."""

        def member(k: int) -> Posterior:
            def progress(fraction: float, loss: float) -> None:
                problem.progress((k + fraction) / self.members, loss)

            return self.base.fit(replace(problem, progress=progress))

        return EnsemblePosterior([member(k) for k in range(self.members)])


class EnsemblePosterior(Posterior):
    """The posteriors of all members, with equal weights."""

    def __init__(self, members: list[Posterior]) -> None:
        self.members = members
        self.parameters = sum(member.parameters for member in members)
        self.differentiable = all(is_differentiable(member) for member in members)

    def sample(self, n: int) -> PredictFn:
        """Divide n samples equally among the members. If n is less than the number of members, choose n of them at random.

        A member that is a point estimate gives one network, however many samples it is asked for.
        """
        count = len(self.members)
        chosen = list(range(count)) if n >= count else torch.randperm(count)[:n].tolist()
        networks = [self.members[k].sample(max(1, n // count + (k < n % count))) for k in chosen]
        points = [member.network for k in chosen if isinstance(member := self.members[k], PointPosterior)]
        together = plan_of(points) if accelerated() and len(points) == len(chosen) else None
        return with_fallback(together, lambda x: torch.cat([network(x) for network in networks]))
