"""The mode of the posterior, around which it is approximated."""

from torch import Tensor, nn

from bbh_bench import Problem, minimise
from bbh_bench.inference.rates import learning_rate
from bbh_bench.inference.training import adam, negative_log_prior


def train_to_mode(network: nn.Module, problem: Problem, lr: float | None, prior_scale: float) -> None:
    """Train a network in place as ``map`` does, but with the prior N(0, prior_scale^2) on biases too, as in the Hessian.

    ``lr``: None for that of the budget. Afterwards the network is in evaluation mode, and its weights need no gradients.
    """
    weights = list(network.parameters())

    def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
        return problem.likelihood(network(x), y) + negative_log_prior(weights, prior_scale) / len(problem.x)

    network.train()
    minimise(problem, adam(weights, learning_rate(lr, problem.steps)), loss)
    network.eval().requires_grad_(False)
