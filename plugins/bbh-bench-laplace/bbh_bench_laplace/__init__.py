"""Laplace approximations around a MAP network, with laplace-torch: Daxberger et al. 2021, arXiv 2106.14806."""

from dataclasses import dataclass

from bbh_bench import Method, Posterior, Problem, hookimpl


@dataclass(frozen=True)
class LaplaceLastLayer:
    """Laplace approximation of the last layer: a Gaussian with the full Hessian, after a MAP network."""

    name: str = "laplace-last-layer"
    version: int = 1
    lr: float | None = None
    """Learning rate of Adam for the MAP network. None: that of the budget, the same as ``map``'s."""
    prior_scale: float = 1.0
    """Standard deviation of the normal prior on every weight and bias, where the task states none."""
    marginal_likelihood: bool = False
    """Whether the marginal likelihood of the training data chooses the last layer's prior precision, after training."""

    def prepare(self) -> None:
        """Import laplace-torch, which takes seconds."""
        import bbh_bench_laplace.posterior  # noqa: F401

    def fit(self, problem: Problem) -> Posterior:
        """Train the MAP network, then compute the Hessian over all training data.

        Raises ``ContractError`` for a likelihood that is neither Categorical nor Gaussian, a network whose last layer is not
        nn.Linear, and ``marginal_likelihood`` where the task states the prior.
        """
        from bbh_bench_laplace.posterior import last_layer_posterior

        return last_layer_posterior(self, problem)


@dataclass(frozen=True)
class LaplaceKfac:
    """Laplace approximation of all layers: Kronecker factors (KFAC), and the network linearised around MAP."""

    name: str = "laplace-kfac"
    version: int = 1
    lr: float | None = None
    """Learning rate of Adam for the MAP network. None: that of the budget, the same as ``map``'s."""
    prior_scale: float = 1.0
    """Standard deviation of the normal prior on every weight and bias, where the task states none."""
    marginal_likelihood: bool = False
    """Whether the marginal likelihood of the training data chooses the prior precision, after training."""
    linearised: bool = True
    """Whether the network is linearised around MAP (Immer et al. 2021, arXiv 2008.08400). Otherwise weights are sampled."""

    def prepare(self) -> None:
        """Import laplace-torch, which takes seconds."""
        import bbh_bench_laplace.posterior  # noqa: F401

    def fit(self, problem: Problem) -> Posterior:
        """Train the MAP network, then compute Kronecker factors over all training data.

        Raises ``ContractError`` for a likelihood that is neither Categorical nor Gaussian, a network with parameters outside
        nn.Linear and nn.Conv2d, and ``marginal_likelihood`` where the task states the prior.
        """
        from bbh_bench_laplace.posterior import kfac_posterior

        return kfac_posterior(self, problem)


@hookimpl
def bbh_methods() -> list[Method]:
    """The methods of this plugin."""
    return [LaplaceLastLayer(), LaplaceKfac()]
