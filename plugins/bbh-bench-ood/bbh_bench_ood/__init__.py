"""OOD detectors on the networks of another method: each adds an OOD score, and changes no prediction."""

from bbh_bench import Method, hookimpl
from bbh_bench_ood.ddu import Ddu
from bbh_bench_ood.logits import Energy, MaxLogit
from bbh_bench_ood.mahalanobis import Mahalanobis
from bbh_bench_ood.neighbours import NearestNeighbours

__all__ = ["Ddu", "Energy", "Mahalanobis", "MaxLogit", "NearestNeighbours"]


@hookimpl
def bbh_methods() -> list[Method]:
    """The methods of this plugin."""
    return [Energy(), MaxLogit(), Mahalanobis(), Ddu(), NearestNeighbours()]
