"""A network as features and a linear last layer, and the posterior of a Gaussian over this layer."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bbh_bench import Posterior, PredictFn
from bbh_bench.errors import ContractError


class WithOne(nn.Module):
    """Appends a feature that is always 1: the weight on it is the bias."""

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[B, D]`` -> ``[B, D + 1]``."""
        return torch.cat([x, x.new_ones(len(x), 1)], dim=1)


def split(network: nn.Module, method: str) -> tuple[nn.Sequential, nn.Linear]:
    """All layers but the last, and the last.

    Raises ``ContractError``, which names the ``method``, unless the network is an ``nn.Sequential``, nested or not, that
    ends with an ``nn.Linear``.
    """
    layers = list(_flat(network))
    if not isinstance(network, nn.Sequential) or not layers or not isinstance(layers[-1], nn.Linear):
        last = layers[-1] if layers else network
        raise ContractError(
            f"method '{method}' needs an nn.Sequential whose last layer is an nn.Linear; the network is a "
            f"{type(network).__name__} that ends with {type(last).__name__}. Put what follows the nn.Linear before it."
        )
    return nn.Sequential(*layers[:-1]), layers[-1]


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    if type(module).forward is not nn.Sequential.forward:
        yield module
        return
    for child in module._modules.values():  # with a module that occurs twice
        assert child is not None  # a sequence has no empty places
        yield from _flat(child)


class HeadPosterior(Posterior):
    """A Gaussian over the weights of the last layer, for each output; the features are the same in all samples.

    ``mean`` is ``[K, D]``. ``factor`` ``[K, D, D]`` is triangular, and times its transpose it is the covariance of the weights
    of each output.
    """

    def __init__(self, features: nn.Module, mean: Tensor, factor: Tensor) -> None:
        self.features = features.eval().requires_grad_(False)
        self.mean, self.factor = mean.detach(), factor.detach()
        outputs, width = mean.shape
        kept = [*features.parameters(), *features.buffers()]
        self.parameters = sum(w.numel() for w in kept) + outputs * (width + width * (width + 1) // 2)

    def sample(self, n: int) -> PredictFn:
        """Freeze n samples of the last layer."""
        noise = torch.randn(n, *self.mean.shape, device=self.mean.device)
        weights = self.mean + torch.einsum("kde,nke->nkd", self.factor, noise)
        return lambda x: torch.einsum("bd,nkd->nbk", self.features(x), weights)
