"""MC-dropout: Gal & Ghahramani 2016, arXiv 1506.02142.

In training every image has masks of its own. A draw of the posterior is one mask for each place where units are dropped,
shared by all images: the same network for the whole batch.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbh_bench.api import Posterior, Predict, Problem
from bbh_bench.errors import ContractError
from bbh_bench.methods.map import train_map

TOGETHER, ON_GPU = 2**17, 2**26
"""Units of the first site that go through the network at once, of several draws: more don't fit a core's cache."""


@dataclass(frozen=True)
class Dropout:
    """MC-dropout: one network whose dropout stays on, at every place that the network marks."""

    name: str = "dropout"
    rate: float = 0.5
    """Probability of dropping a unit."""
    lr: float = 1e-3
    prior_scale: float = 1.0

    def fit(self, problem: Problem) -> Posterior:
        """Train as MAP is trained, with masks of its own for every image and step."""
        network = with_sites(problem.network(), self.rate)
        if not sites(network):
            raise ContractError(
                "method 'dropout' needs a network with dropout sites; put nn.Dropout(p=0) where its units may be dropped."
            )
        train_map(network, problem, self.lr, self.prior_scale)
        return DropoutPosterior(network, problem.x[:1])


class Site(nn.Module):
    """Stands where the network marks dropout: live masks in training, a frozen mask in evaluation."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.mask: Tensor | None = None
        self.shape = torch.Size()

    def forward(self, x: Tensor) -> Tensor:
        """Units times the masks of n draws: ``[n B, ...]``, those of the first draw first.

        Without masks, in evaluation, note the shape that one must have.
        """
        if self.training:
            return live_dropout(x, self.rate)
        if self.mask is None:
            self.shape = x.shape[1:]
            return x
        return (x.unflatten(0, (len(self.mask), -1)) * self.mask.unsqueeze(1)).flatten(0, 1)


def live_dropout(x: Tensor, rate: float) -> Tensor:
    """``F.dropout``, five times faster on a CPU for rates that are whole numbers of 256ths, and as exact.

    There the random numbers are what costs: one byte decides about a unit, and a 64-bit draw gives eight of them.
    """
    threshold = rate * 256
    dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
    if x.device.type != "cpu" or threshold != int(threshold) or not dense:
        return F.dropout(x, rate)
    drawn = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)  # all 64 bits, the sign too
    kept = drawn.view(torch.uint8)[: x.numel()] >= int(threshold)
    return x * (kept.as_strided(x.shape, x.stride()).to(x.dtype) * (1 / (1 - rate)))


class DropoutPosterior(Posterior):
    """A trained network with sites: draws differ by their masks. ``example`` ``[1, ...]`` shows the sizes of its layers."""

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        self.network = network.eval().requires_grad_(False)
        self.parameters = sum(weight.numel() for weight in network.parameters())
        self.sites = sites(network)
        self.prefix, self.suffix = _split(network)
        with torch.no_grad():
            network(example)

    def sample(self, n: int) -> Predict:
        """Freeze n sets of masks."""
        device = next(self.network.parameters()).device
        frozen = [_masks(n, site, device) for site in self.sites]

        def networks(x: Tensor) -> Tensor:
            shared = self.prefix(x)  # what no mask touches is computed once for all draws
            outputs = []
            size = max(1, (ON_GPU if x.is_cuda else TOGETHER) // shared.numel())
            for groups in zip(*(masks.split(size) for masks in frozen), strict=True):
                for site, masks in zip(self.sites, groups, strict=True):
                    site.mask = masks
                count = len(groups[0])
                outputs.append(self.suffix(torch.cat([shared] * count)).unflatten(0, (count, -1)))
            return torch.cat(outputs)

        return networks


def _masks(n: int, site: Site, device: torch.device) -> Tensor:
    """Masks of n draws, laid out as the units are: ``[n, *shape]``, 0 or 1 / (1 - rate)."""
    masks = (torch.rand(n, *site.shape, device=device) >= site.rate) / (1 - site.rate)
    return masks.contiguous(memory_format=torch.channels_last) if masks.dim() == 4 else masks


def sites(network: nn.Module) -> list[Site]:
    """In the order of the network's modules."""
    return [module for module in network.modules() if isinstance(module, Site)]


def with_sites(network: nn.Module, rate: float) -> nn.Module:
    """Put a ``Site`` in the place of every ``nn.Dropout`` inside the network."""
    for name, child in network.named_children():
        if isinstance(child, nn.Dropout):
            setattr(network, name, Site(rate))
        else:
            with_sites(child, rate)
    return network


def _split(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A sequence is cut before its first site; any other network has no part that is known to be shared."""
    if not isinstance(network, nn.Sequential):
        return nn.Identity(), network
    first = next(k for k, layer in enumerate(network) if sites(layer))
    return network[:first], network[first:]
