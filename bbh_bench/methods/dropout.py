"""MC-dropout: Gal & Ghahramani 2016, arXiv 1506.02142.

A draw is one mask for each place where units are dropped, shared by all images: the same network for the whole batch.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bbh_bench.api import Posterior, Predict, Problem
from bbh_bench.errors import ContractError
from bbh_bench.methods.map import train_map


@dataclass(frozen=True)
class Dropout:
    """MC-dropout: one network whose dropout stays on, at every place that the network marks."""

    name: str = "dropout"
    rate: float = 0.5
    """Probability of dropping a unit."""
    lr: float = 1e-3
    prior_scale: float = 1.0

    def fit(self, problem: Problem) -> Posterior:
        """Train as MAP is trained, with a mask of its own for every image and step."""
        network = problem.network()
        sites = [layer for layer in network.modules() if isinstance(layer, nn.Dropout)]
        if not sites:
            raise ContractError(
                "method 'dropout' needs a network with dropout sites; put nn.Dropout(p=0) where its units may be dropped."
            )
        for site in sites:
            site.p = self.rate
        train_map(network, problem, self.lr, self.prior_scale)
        return DropoutPosterior(network, self.rate, problem.x[:1])


class Mask(nn.Module):
    """Stands where the network had dropout: multiplies by a frozen mask, or notes the shape that a mask must have."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = torch.Size()
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Units ``[B, ...]`` times the mask ``[...]``."""
        if self.mask is None:
            self.shape = x.shape[1:]
            return x
        return x * self.mask


class DropoutPosterior(Posterior):
    """A trained network and a rate: draws differ by their masks. ``example`` ``[1, ...]`` shows the sizes of the layers."""

    def __init__(self, network: nn.Module, rate: float, example: Tensor) -> None:
        self.parameters = sum(weight.numel() for weight in network.parameters())
        self.rate = rate
        network = _with_masks(copy.deepcopy(network)).eval().requires_grad_(False)
        self.masks = [module for module in network.modules() if isinstance(module, Mask)]
        self.prefix, self.suffix = _split(network)
        with torch.no_grad():
            network(example)

    def sample(self, n: int) -> Predict:
        """Freeze n sets of masks."""
        device = next(self.suffix.parameters()).device
        frozen = [self._draw(mask.shape, n, device) for mask in self.masks]

        def networks(x: Tensor) -> Tensor:
            shared = self.prefix(x)  # what no mask touches is computed once for all draws
            outputs = []
            for k in range(n):
                for site, masks in zip(self.masks, frozen, strict=True):
                    site.mask = masks[k]
                outputs.append(self.suffix(shared))
            return torch.stack(outputs)

        return networks

    def _draw(self, shape: torch.Size, n: int, device: torch.device) -> Tensor:
        kept = torch.rand(n, *shape, device=device) >= self.rate
        mask = kept.float() / (1 - self.rate)
        return mask.contiguous(memory_format=torch.channels_last) if mask.dim() == 4 else mask


def _with_masks(network: nn.Module) -> nn.Module:
    for name, child in network.named_children():
        if isinstance(child, nn.Dropout):
            setattr(network, name, Mask())
        else:
            _with_masks(child)
    return network


def _split(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A sequence is cut before its first mask; any other network has no part that is known to be shared."""
    if not isinstance(network, nn.Sequential):
        return nn.Identity(), network
    first = next(k for k, layer in enumerate(network) if any(isinstance(part, Mask) for part in layer.modules()))
    return network[:first], network[first:]
