"""Ensembles inside one network: Packed-Ensembles and BatchEnsemble with the layers of torch-uncertainty, and MIMO.

All members are trained together, within one budget. Their prior is that of MAP: normal, on kernels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bbh_bench import Method, Posterior, Problem, hookimpl
from bbh_bench.api import Choices, LogUniform, OneOf


@dataclass(frozen=True)
class PackedEnsemble:
    """Packed-Ensembles: members are groups of channels of one network, which is wider than a single one."""

    name: str = "packed-ensemble"
    version: int = 1
    members: int = 4
    alpha: int = 2
    """Width of all members together, in widths of the single network (Laurent et al. 2023, arXiv 2210.09184)."""
    lr: float | None = None
    """Learning rate of Adam. None: that of the budget, as for ``map``."""
    prior_scale: float = 1.0
    """Standard deviation of the prior on the kernels of every member."""

    def search_space(self) -> Mapping[str, Choices]:
        """See ``bbh_bench.api.Searchable``."""
        return {"lr": LogUniform(3e-4, 1e-2), "alpha": OneOf((2, 3, 4))}

    def prepare(self) -> None:
        """Import torch-uncertainty, which takes seconds."""
        import_layers()

    def fit(self, problem: Problem) -> Posterior:
        """Train all members on the same batches. Raises ``ContractError`` for a network that cannot be packed."""
        import_layers()
        from bbh_bench_torch_uncertainty.packed import fit_packed

        return fit_packed(self, problem)


@dataclass(frozen=True)
class BatchEnsemble:
    """BatchEnsemble: members share their kernels, up to a factor of rank one for each."""

    name: str = "batch-ensemble"
    version: int = 1
    members: int = 4
    lr: float | None = None
    """Learning rate of Adam. None: that of the budget, as for ``map``."""
    prior_scale: float = 1.0
    """Standard deviation of the prior on the shared kernels. The factors have none (Wen et al. 2020, arXiv 2002.06715)."""

    def search_space(self) -> Mapping[str, Choices]:
        """See ``bbh_bench.api.Searchable``."""
        return {"lr": LogUniform(3e-4, 1e-2)}

    def prepare(self) -> None:
        """Import torch-uncertainty, which takes seconds."""
        import_layers()

    def fit(self, problem: Problem) -> Posterior:
        """Train all members on the same batches. Raises ``ContractError`` for a network that cannot be converted."""
        import_layers()
        from bbh_bench_torch_uncertainty.batch_ensemble import fit_batch_ensemble

        return fit_batch_ensemble(self, problem)


@dataclass(frozen=True)
class Mimo:
    """MIMO: one network with an input and an output for each member, trained on independent inputs."""

    name: str = "mimo"
    version: int = 1
    members: int = 3
    """Havasi et al. 2021, arXiv 2010.06610."""
    lr: float | None = None
    """Learning rate of Adam. None: that of the budget, as for ``map``."""
    prior_scale: float = 1.0
    """Standard deviation of the prior on kernels, as for MAP."""

    def search_space(self) -> Mapping[str, Choices]:
        """See ``bbh_bench.api.Searchable``."""
        return {"lr": LogUniform(3e-4, 1e-2)}

    def fit(self, problem: Problem) -> Posterior:
        """Each member gets the batch in another order. Raises ``ContractError`` for a network that cannot be converted."""
        from bbh_bench_torch_uncertainty.mimo import fit_mimo

        return fit_mimo(self, problem)


def import_layers() -> None:
    """Import the layers. One of the libraries that torch-uncertainty imports replaces ``torch.compile``: it is put back."""
    import torch

    compile_ = torch.compile
    try:
        import torch_uncertainty.layers  # noqa: F401
    finally:
        torch.compile = compile_


@hookimpl
def bbh_methods() -> list[Method]:
    """The methods of this plugin."""
    return [PackedEnsemble(), BatchEnsemble(), Mimo()]
