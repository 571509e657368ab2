"""Hypernetworks that generate all weights of a network from noise: the implicit posterior of Bayes by Hypernet.

Pawlowski et al. 2017, arXiv 1711.01297. The paper's three generators are one architecture with three partitions of the
weights into slices. The input of a hypernetwork is noise and the one-hot index of the slice to generate. If there is only one
slice, the one-hot index is the constant 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbh_bench.acceleration import accelerated
from bbh_bench.inference.low_rank_adam import MIN_WEIGHTS, LowRankLinear
from bbh_bench.inference.weights import WeightSamples

Shapes = Mapping[str, torch.Size]
"""Shapes of the generated tensors, by their name in the network."""


@dataclass(frozen=True)
class Part:
    """Weights that one hypernetwork generates: the tensors of these names, concatenated, as ``slices`` rows of ``size``."""

    names: tuple[str, ...]
    slices: int
    size: int


def layer_wise(shapes: Shapes) -> list[Part]:
    """One hypernetwork for each tensor, including biases; it generates the whole tensor at once."""
    return [Part((name,), 1, shape.numel()) for name, shape in shapes.items()]


def sliced(shapes: Shapes) -> list[Part]:
    """One hypernetwork for each tensor; a slice is the weights of one output unit or channel, or a whole bias."""
    return [
        Part((name,), shape[0], shape[1:].numel()) if len(shape) > 1 else Part((name,), 1, shape.numel())
        for name, shape in shapes.items()
    ]


def single(shapes: Shapes, chunks: int) -> list[Part]:
    """One hypernetwork for all weights, in chunks of equal size. What the last chunk generates beyond them is not used."""
    total = sum(shape.numel() for shape in shapes.values())
    return [Part(tuple(shapes), chunks, -(-total // chunks))]


class Hypernet(nn.Module):
    """Noise ``[n, noise]`` -> weights ``[n, slices * size]``: leaky rectifiers (0.1), linear output, biases everywhere.

    Weights start from N(0, 1), biases from zero. Every layer divides its input by the square root of the number of terms in
    its sums (Jacot et al. 2018, arXiv 1806.07572). A step of Adam then changes the output of each layer by a small fraction.
    With the paper's initialisation (Glorot), a step at a learning rate of 3e-4 changes all weights of the head in the same
    direction, and the generated weights by a tenth of their size. Such noise makes the generator predict a constant.

    In the sums of the first layer, the noise and the slice index count as one term each. ``spread`` multiplies the term of the
    noise. It determines how much of the weights depends on noise at the start. In the paper's layers, the index of one among
    many slices has almost no effect.
    """

    def __init__(self, part: Part, noise: int, units: tuple[int, ...], spread: float = 1.0) -> None:
        super().__init__()
        self.slices, self.noise, self.spread = part.slices, noise, spread
        self.hidden = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise((noise + part.slices, *units)))
        low_rank = accelerated() and units[-1] * part.size >= MIN_WEIGHTS and part.slices == 1
        self.head = LowRankLinear(units[-1], part.size) if low_rank else nn.Linear(units[-1], part.size)
        for layer in self.modules():
            if isinstance(layer, nn.Linear | LowRankLinear):
                nn.init.normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor, scale: float = 1.0) -> Tensor:
        """Generate every slice from the same noise, multiplied by ``scale``."""
        first, *others = self.hidden
        weight: Tensor = first.weight  # type: ignore[assignment]
        z = z * (self.spread * self.noise**-0.5)
        # The one-hot part of the first layer's input selects a column: add the columns instead of multiplying with one-hots.
        h = F.linear(z, weight[:, : self.noise], first.bias).unsqueeze(1) + weight[:, self.noise :].T  # type: ignore[arg-type]
        h = F.leaky_relu(h, 0.1, inplace=True).flatten(0, 1)
        for layer in others:
            root = (2 / h.shape[1]) ** 0.5  # 2: the rectifier halves the mean square
            h = F.leaky_relu(_scaled_linear(layer, h, root), 0.1, inplace=True)
        root = h.shape[1] ** -0.5
        if isinstance(self.head, LowRankLinear):
            output: Tensor = self.head(h * (scale * root), scale)
        else:
            output = _scaled_linear(self.head, h, scale * root, scale)
        return output.reshape(len(z), -1)


def _scaled_linear(layer: nn.Module, x: Tensor, scale: float, bias_scale: float = 1.0) -> Tensor:
    """``scale x W' + bias_scale b``: the matrix product applies the first factor, so that no scaled tensor is stored."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    bias: Tensor = layer.bias  # type: ignore[assignment]
    return torch.addmm(bias, x, weight.T, beta=bias_scale, alpha=scale)


class Generator(nn.Module):
    """Generates all weights from noise: one ``Hypernet`` for each part.

    With ``shared`` noise, all parts of a sample get the same noise vector; otherwise each part gets its own.

    ``initial_rms`` gives the root mean square that each tensor should have at the start, by name. Each tensor is multiplied by
    a constant to achieve it. Without this, the generated weights start far from the sizes with which a network can learn: too
    small with the paper's initialisation, and the same for all tensors that one hypernetwork generates.
    """

    def __init__(
        self,
        shapes: Shapes,
        parts: list[Part],
        noise: int,
        units: tuple[int, ...],
        shared: bool,
        initial_rms: Mapping[str, float] | None = None,
        spread: float = 1.0,
    ) -> None:
        super().__init__()
        self.shapes, self.parts, self.noise, self.shared = dict(shapes), parts, noise, shared
        self.nets = nn.ModuleList(Hypernet(part, noise, units, spread) for part in parts)
        self.scales = dict.fromkeys(shapes, 1.0)
        if initial_rms:
            with torch.no_grad():
                samples = self.sample(16)
            self.scales = {name: rms / samples[name].square().mean().sqrt().item() for name, rms in initial_rms.items()}

    def sample(self, n: int) -> WeightSamples:
        """Sample all weights n times, ``[n, *shape]`` each, from noise N(0, I)."""
        device = next(self.parameters()).device
        count = 1 if self.shared else len(self.nets)
        noise = torch.randn(count, n, self.noise, device=device).expand(len(self.nets), -1, -1)
        samples: WeightSamples = {}
        for part, net, z in zip(self.parts, self.nets, noise, strict=True):
            if len(part.names) == 1:
                (name,) = part.names
                samples[name] = net(z, self.scales[name]).reshape(n, *self.shapes[name])
                continue
            sizes = [prod(self.shapes[name]) for name in part.names]
            flat = net(z)[:, : sum(sizes)].split(sizes, dim=1)
            samples |= {
                name: self.scales[name] * weights.reshape(n, *self.shapes[name])
                for name, weights in zip(part.names, flat, strict=True)
            }
        return samples
