"""Networks whose weights are drawn: any module, evaluated for n draws of its weights.

One batched evaluation of all draws on a GPU, and on a CPU for few pixels, where starting each operation costs more than the
operation. Elsewhere a loop over draws: on a CPU convolutions are bound by arithmetic, and ``torch.func.vmap`` and grouped
convolutions were measured slower than the loop.
"""

import copy
from collections.abc import Callable, Mapping
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bbh_bench.api import Posterior, Predict
from bbh_bench.errors import ContractError

Draws = dict[str, Tensor]
"""Weights by the name they have in the network, n draws of each: ``[n, *shape]``."""


MANY_DRAWS = 8  # fewer gain nothing from being batched
FEW_PIXELS = 3200  # of the whole batch: up to here a core is quicker with all draws at once, with and without gradients
AT_ONCE = 16  # draws on a GPU, whose activations are all in memory


def forward(network: nn.Module, draws: Draws, x: Tensor) -> Tensor:
    """Inputs ``[B, ...]`` through n networks: ``[n, B, K]``, differentiable in the inputs and in the draws.

    Parameters and buffers that ``draws`` doesn't name are the network's own, the same for every draw.
    """
    n = len(next(iter(draws.values())))
    if n >= MANY_DRAWS and (x.is_cuda or x.numel() <= FEW_PIXELS):
        with suppress(RuntimeError):  # an operation that can't be batched; anything else will fail below too
            return batched(network, draws, x)
    each = ({name: weights[k] for name, weights in draws.items()} for k in range(n))
    return torch.stack([functional_call(network, weights, (x,)) for weights in each])


def batched(network: nn.Module, draws: Draws, x: Tensor) -> Tensor:
    """What ``forward`` gives, with each operation done for many draws at once."""

    def one(weights: Draws) -> Tensor:
        output: Tensor = functional_call(network, weights, (x,))
        return output

    return vmap(one, randomness="different", chunk_size=AT_ONCE if x.is_cuda else None)(draws)


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


def layers(network: nn.Module, method: str) -> dict[str, nn.Linear | nn.Conv2d]:
    """The dense and convolutional layers by name, whose weights ``method`` is to draw. Raises ``ContractError`` if none."""
    found = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    if not found:
        raise ContractError(
            f"method '{method}' needs a network with an nn.Linear or an nn.Conv2d, whose weights it draws."
        )
    return found


def with_layers(network: nn.Module, stand_ins: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """The network with stand-ins for some of its layers, wherever they are; it shares all its weights with the original."""
    memo: dict[int, object] = {id(layer): stand_in for layer, stand_in in stand_ins.items()}
    memo |= {id(weight): weight for weight in [*network.parameters(), *network.buffers()]}
    return copy.deepcopy(network, memo)  # what the memo holds isn't copied, but put in place


def with_noise(mean: Tensor, variance: Tensor) -> Tensor:
    """A draw of N(mean, variance), differentiable in both where the variance is 0 too."""
    return mean + variance.clamp_min(1e-16).sqrt() * noise_like(mean)


def noise_like(x: Tensor) -> Tensor:
    """``torch.randn_like``, which takes six times as long on a CPU where the channels are last in memory."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return torch.randn(x.numel(), device=x.device, dtype=x.dtype).as_strided(x.shape, x.stride())
    return torch.randn_like(x)


def drawn_shapes(network: nn.Module, method: str) -> dict[str, torch.Size]:
    """Shapes, by name in the network, of the weights and biases of its ``layers``."""
    return {
        name: weight.shape
        for prefix, layer in layers(network, method).items()
        for name, weight in layer.named_parameters(prefix)
    }
