"""MC-dropout: Gal & Ghahramani 2016, arXiv 1506.02142.

In training, every image has its own masks. A sample of the posterior is one mask for each place where units are dropped. All
images share it, so that a sample is the same network for the whole batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbh_bench.acceleration import accelerated
from bbh_bench.api import Choices, LogUniform, Posterior, PredictFn, Problem, Uniform
from bbh_bench.errors import ContractError
from bbh_bench.inference.weights import random_bytes
from bbh_bench.methods.map import train_map

CPU_UNITS, GPU_UNITS = 2**17, 2**26
"""Maximum number of units that one call evaluates, counted at the first dropout site over all samples and images.

More than ``CPU_UNITS`` do not fit into the cache of a processor core.
"""


@dataclass(frozen=True)
class Dropout:
    """MC-dropout: one network whose dropout stays on, at every place that the network marks."""

    name: str = "dropout"
    version: int = 1
    rate: float = 0.25
    """Probability of dropping a unit. With the usual 0.5, small networks and short budgets underfit (``docs/tuning.md``)."""
    lr: float | None = None
    """Learning rate of Adam. None: that of the budget, between 1e-3 and 4e-3 (``bbh_bench.inference.rates``)."""
    prior_scale: float = 1.0
    """Standard deviation of the prior on kernels, as for MAP."""

    def search_space(self) -> Mapping[str, Choices]:
        """See ``api.Searchable``."""
        return {"lr": LogUniform(3e-4, 1e-2), "rate": Uniform(0.1, 0.6)}

    def fit(self, problem: Problem) -> Posterior:
        """Train as MAP, with new masks for every image and step. Raises ``ContractError`` if the network has no sites."""
        network = with_sites(problem.network(), self.rate)
        if not sites(network):
            raise ContractError(
                "method 'dropout' needs a network with dropout sites; put nn.Dropout(p=0) where its units may be dropped."
            )
        train_map(network, problem, self.lr, self.prior_scale)
        return DropoutPosterior(network, problem.x[:1])


class Site(nn.Module):
    """Replaces an ``nn.Dropout`` of the network: random masks in training mode, frozen masks in evaluation mode."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.mask: Tensor | None = None
        """Masks of n samples, ``[n, *shape]``."""
        self.shape = torch.Size()
        """Shape of the units of one image."""

    def forward(self, x: Tensor) -> Tensor:
        """In evaluation mode, multiply units ``[n B, ...]``, ordered by sample, with the masks of n samples.

        If there are no masks yet, store the shape that a mask must have.
        """
        if self.training:
            return live_dropout(x, self.rate)
        if self.mask is None:
            self.shape = x.shape[1:]
            return x
        return (x.unflatten(0, (len(self.mask), -1)) * self.mask.unsqueeze(1)).flatten(0, 1)


def live_dropout(x: Tensor, rate: float) -> Tensor:
    """``F.dropout``, but five times faster on a CPU if the rate is a multiple of 1/256, and just as exact.

    On a CPU, the random numbers dominate the cost. One random byte decides about one unit.
    """
    threshold = rate * 256
    dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
    if not accelerated() or x.device.type != "cpu" or threshold != int(threshold) or not dense:
        return F.dropout(x, rate)
    mask = random_bytes(x.numel()) >= int(threshold)
    return x * (mask.as_strided(x.shape, x.stride()).to(x.dtype) * (1 / (1 - rate)))


class DropoutPosterior(Posterior):
    """A trained network with sites; samples differ in their masks, whose shapes come from an input ``example`` ``[1, ...]``."""

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        self.network = network.eval().requires_grad_(False)
        self.parameters = sum(weight.numel() for weight in network.parameters())
        self.sites = sites(network)
        self.prefix, self.suffix = _split(network)
        with torch.no_grad():
            network(example)

    def sample(self, n: int) -> PredictFn:
        """Freeze n sets of masks."""
        device = next(self.network.parameters()).device
        frozen = [sample_masks(n, site, device) for site in self.sites]
        one_by_one = not accelerated()

        def networks(x: Tensor) -> Tensor:
            shared = self.prefix(x)  # no mask affects this part: compute it once for all samples
            outputs = []
            size = 1 if one_by_one else max(1, (GPU_UNITS if x.is_cuda else CPU_UNITS) // shared.numel())
            for groups in zip(*(masks.split(size) for masks in frozen), strict=True):
                for site, masks in zip(self.sites, groups, strict=True):
                    site.mask = masks
                count = len(groups[0])
                outputs.append(self.suffix(torch.cat([shared] * count)).unflatten(0, (count, -1)))
            return torch.cat(outputs)

        return networks


def sample_masks(n: int, site: Site, device: torch.device) -> Tensor:
    """Masks of n samples ``[n, *shape]``, each 0 or 1 / (1 - rate), in the memory format of the units."""
    masks = (torch.rand(n, *site.shape, device=device) >= site.rate) / (1 - site.rate)
    return masks.contiguous(memory_format=torch.channels_last) if masks.dim() == 4 else masks


def sites(network: nn.Module) -> list[Site]:
    """All sites of a network, in the order of its modules."""
    return [module for module in network.modules() if isinstance(module, Site)]


def with_sites(network: nn.Module, rate: float) -> nn.Module:
    """Replace every ``nn.Dropout`` inside the network by a ``Site``, in place."""
    for name, child in network.named_children():
        if isinstance(child, nn.Dropout):
            setattr(network, name, Site(rate))
        else:
            with_sites(child, rate)
    return network


def _split(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Split an ``nn.Sequential`` before its first site. In any other network, no part is known to be independent of masks."""
    if not isinstance(network, nn.Sequential):
        return nn.Identity(), network
    first = next(k for k, layer in enumerate(network) if sites(layer))
    return network[:first], network[first:]
