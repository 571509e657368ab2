"""Networks whose weights are drawn: any module, evaluated for n draws of its weights.

A loop over draws, not a batched kernel: on a CPU convolutions are bound by arithmetic, and ``torch.func.vmap`` and grouped
convolutions were measured slower than the loop.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bbh_bench.api import Posterior, Predict

Draws = dict[str, Tensor]
"""Weights by the name they have in the network, n draws of each: ``[n, *shape]``."""


def forward(network: nn.Module, draws: Draws, x: Tensor) -> Tensor:
    """Inputs ``[B, ...]`` through n networks: ``[n, B, K]``, differentiable in the inputs and in the draws.

    Parameters and buffers that ``draws`` doesn't name are the network's own, the same for every draw.
    """
    n = len(next(iter(draws.values())))
    each = ({name: weights[k] for name, weights in draws.items()} for k in range(n))
    return torch.stack([functional_call(network, weights, (x,)) for weights in each])


class WeightPosterior(Posterior):
    """A distribution over the weights of one network.

    ``draw(n)`` gives n draws with torch's global random generator; ``parameters`` is how many numbers were learnt.
    """

    def __init__(self, network: nn.Module, draw: Callable[[int], Draws], parameters: int) -> None:
        self.network = network.eval().requires_grad_(False)
        self.draw = draw
        self.parameters = parameters

    def sample(self, n: int) -> Predict:
        """Freeze n draws of the weights."""
        with torch.no_grad():
            draws = self.draw(n)
        return lambda x: forward(self.network, draws, x)
