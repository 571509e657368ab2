"""Networks whose last layer alone is Bayesian: SNGP and variational Bayesian last layers."""

from collections.abc import Mapping
from dataclasses import dataclass

from bbh_bench import Method, Posterior, Problem, hookimpl
from bbh_bench.api import Choices, LogUniform


@dataclass(frozen=True)
class Sngp:
    """SNGP: a Gaussian process on the features of a network whose hidden layers have a bounded norm."""

    name: str = "sngp"
    version: int = 1
    features: int = 1024
    """Random Fourier features. Paper: 1024."""
    lengthscale: float = 2.0
    """Of the kernel, in units of the last hidden layer."""
    norm: float = 6.0
    """Upper bound of the largest singular value of every kernel before the Gaussian process. README says why it is 6."""
    lr: float | None = None
    """Learning rate of Adam. None: that of the budget, as for ``map``."""
    prior_scale: float = 1.0
    """Standard deviation of the prior on the head, and so of the process. Other layers have their norm in place of a prior."""

    def search_space(self) -> Mapping[str, Choices]:
        """See ``bbh_bench.api.Searchable``."""
        return {"lr": LogUniform(3e-4, 1e-2), "lengthscale": LogUniform(0.3, 10.0), "norm": LogUniform(0.5, 6.0)}

    def fit(self, problem: Problem) -> Posterior:
        """Train, then compute the precision. Raises ``ContractError``, as ``Vbll.fit`` does."""
        from bbh_bench_last_layer.sngp import fit_sngp

        return fit_sngp(self, problem)


@dataclass(frozen=True)
class Vbll:
    """VBLL: a Gaussian over the last layer, fitted with the other layers by a bound in closed form."""

    name: str = "vbll"
    version: int = 1
    lr: float | None = None
    """Learning rate of Adam. None: that of the budget, as for ``map``."""
    prior_scale: float = 1.0
    """Standard deviation of the prior: on the last layer, biases included, and on the kernels of other layers, as for MAP."""
    initial_std: float = 0.1
    """Standard deviation of every weight of the last layer before the first step."""

    def search_space(self) -> Mapping[str, Choices]:
        """See ``bbh_bench.api.Searchable``."""
        return {"lr": LogUniform(3e-4, 1e-2)}

    def fit(self, problem: Problem) -> Posterior:
        """Maximise the bound. Raises ``ContractError`` for other networks and likelihoods, see ``features.split``."""
        from bbh_bench_last_layer.vbll import fit_vbll

        return fit_vbll(self, problem)


@hookimpl
def bbh_methods() -> list[Method]:
    """The methods of this plugin."""
    return [Sngp(), Vbll()]
