"""Hamiltonian Monte Carlo: Neal 2011, arXiv 1206.1901; for neural networks Izmailov et al. 2021, arXiv 2104.14421.

It samples the posterior of the weights on all training data, without mini-batches. The budget of epochs does not limit it:
its cost is a column of the leaderboard.
"""

from dataclasses import dataclass

from bbh_bench import Method, Posterior, Problem, hookimpl


@dataclass(frozen=True)
class Hmc:
    """Hamiltonian Monte Carlo: samples from the exact posterior over all weights, given enough time."""

    name: str = "hmc"
    version: int = 1
    prior_scale: float = 1.0
    """Standard deviation of the normal prior on every weight and bias."""
    chains: int = 4
    """Independent chains, each from a newly initialised network."""
    warmup: int = 200
    """Draws of each chain that adapt the step size and the diagonal mass matrix, and are not used."""
    draws: int = 200
    """Draws of each chain that are kept."""
    leapfrog: int = 32
    """Steps of the integrator for each draw."""

    def prepare(self) -> None:
        """Import JAX, which takes seconds."""
        import bbh_bench_hmc.posterior  # noqa: F401

    def fit(self, problem: Problem) -> Posterior:
        """Sample. Raises ``ContractError`` for a network or likelihood that cannot be translated to JAX."""
        from bbh_bench_hmc.posterior import sample_posterior

        return sample_posterior(self, problem)


@hookimpl
def bbh_methods() -> list[Method]:
    """The methods of this plugin."""
    return [Hmc()]
