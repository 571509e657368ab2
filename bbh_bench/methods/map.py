"""Maximum a posteriori: one network under a N(0, 1) prior, the point estimate that every other method is compared with."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from bbh_bench.api import Choices, LogUniform, Posterior, PredictFn, Problem
from bbh_bench.inference.rates import learning_rate
from bbh_bench.inference.training import adam, kernels, minimise, negative_log_prior


@dataclass(frozen=True)
class Map:
    """Maximum a posteriori: one network, L2 from a Gaussian prior on its kernels."""

    name: str = "map"
    version: int = 1
    lr: float | None = None
    """Learning rate of Adam. None: that of the budget, between 1e-3 and 4e-3 (``bbh_bench.inference.rates``)."""
    prior_scale: float = 1.0
    """Standard deviation of the prior on kernels. Biases have no prior, as in the paper's MAP, unless the task states one."""

    def search_space(self) -> Mapping[str, Choices]:
        """See ``api.Searchable``. The range of the learning rate is that of every method."""
        return {"lr": LogUniform(3e-4, 1e-2)}

    def fit(self, problem: Problem) -> Posterior:
        """Minimise the mean negative log-likelihood minus the log prior / N."""
        network = problem.network()
        train_map(network, problem, self.lr, self.prior_scale)
        return PointPosterior(network)


def train_map(network: nn.Module, problem: Problem, lr: float | None, prior_scale: float) -> None:
    """Train a network in place to the mode of its posterior, in training mode: its dropout layers drop units at their rate.

    ``lr``: None for that of the budget.
    """
    weights = kernels(network) if problem.prior_scale is None else list(network.parameters())
    scale = problem.prior_scale_or(prior_scale)

    def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
        return problem.likelihood(network(x), y) + negative_log_prior(weights, scale) / len(problem.x)

    network.train()
    minimise(problem, adam(network.parameters(), learning_rate(lr, problem.steps)), loss)


class PointPosterior(Posterior):
    """One network: all samples are the same."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False)  # from now on, only inputs need gradients
        self.parameters = sum(weight.numel() for weight in network.parameters())

    def sample(self, n: int) -> PredictFn:
        """Return the one network, whatever n is."""
        return lambda x: self.network(x).unsqueeze(0)
