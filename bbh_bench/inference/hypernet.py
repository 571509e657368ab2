"""Hypernetworks that generate all weights of a network from noise: the implicit posterior of Bayes by Hypernet.

Pawlowski et al. 2017, arXiv 1711.01297. The three generators of the paper are one network with three partitions of the
weights: an input is noise and a one-hot number of the slice to generate, and one slice's one-hot is the constant 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbh_bench.inference.low_rank_adam import WIDE, WideLinear
from bbh_bench.inference.weights import Draws

Shapes = Mapping[str, torch.Size]


@dataclass(frozen=True)
class Part:
    """Weights that one hypernetwork generates: the tensors of these names, end to end, as ``slices`` rows of ``size``."""

    names: tuple[str, ...]
    slices: int
    size: int


def layer_wise(shapes: Shapes) -> list[Part]:
    """A hypernetwork for each tensor, biases too; it gives the whole tensor at once."""
    return [Part((name,), 1, shape.numel()) for name, shape in shapes.items()]


def sliced(shapes: Shapes) -> list[Part]:
    """A hypernetwork for each tensor; it gives the weights of one output unit or channel at a time, a bias at once."""
    return [
        Part((name,), shape[0], shape[1:].numel()) if len(shape) > 1 else Part((name,), 1, shape.numel())
        for name, shape in shapes.items()
    ]


def single(shapes: Shapes, chunks: int) -> list[Part]:
    """One hypernetwork for all weights, which it gives in equal chunks; what the last chunk has too much is left unused."""
    total = sum(shape.numel() for shape in shapes.values())
    return [Part(tuple(shapes), chunks, -(-total // chunks))]


class Hypernet(nn.Module):
    """Noise ``[n, noise]`` -> weights ``[n, slices * size]``: leaky rectifiers (0.1), linear output, biases everywhere.

    Weights start from N(0, 1), biases from zero, and every layer divides its input by the root of the number of terms in
    its sums (Jacot et al. 2018, arXiv 1806.07572). A step of Adam then changes each layer's output by a small share of it.
    With Glorot's initialisation, the paper's, a step at 3e-4 moves all weights of the head in concert, and the generated
    ones by a tenth of their size: noise that kills the generator.

    Of the first layer's sums, noise and number of the slice are one term each. ``spread`` multiplies the noise's: how much
    of the weights depends, at the start, on noise. In the paper's layers the number of one slice among many is drowned.
    """

    def __init__(self, part: Part, noise: int, units: tuple[int, ...], spread: float = 1.0) -> None:
        super().__init__()
        self.slices, self.noise, self.spread = part.slices, noise, spread
        self.hidden = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise((noise + part.slices, *units)))
        wide = units[-1] * part.size >= WIDE and part.slices == 1
        self.head: nn.Module = WideLinear(units[-1], part.size) if wide else nn.Linear(units[-1], part.size)
        for layer in self.modules():
            if isinstance(layer, nn.Linear | WideLinear):
                nn.init.normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor) -> Tensor:
        """Every slice from the same noise."""
        first, *others = self.hidden
        weight: Tensor = first.weight  # type: ignore[assignment]
        z = z * (self.spread * self.noise**-0.5)
        # The one-hot half of the first layer picks a column: add the columns instead of multiplying by ones and zeros.
        h = F.linear(z, weight[:, : self.noise], first.bias).unsqueeze(1) + weight[:, self.noise :].T  # type: ignore[arg-type]
        h = F.leaky_relu(h.flatten(0, 1), 0.1)
        for layer in others:
            h = F.leaky_relu(layer(h * (2 / h.shape[1]) ** 0.5), 0.1)  # 2: the rectifier halves the square
        output: Tensor = self.head(h * h.shape[1] ** -0.5)
        return output.reshape(len(z), -1)


class Generator(nn.Module):
    """All weights from noise: one ``Hypernet`` for each part.

    With ``shared`` noise a draw has one noise vector for all parts; otherwise each part has its own.

    ``sizes`` are the root mean squares that the tensors are to have at the start, by name: each is multiplied by a fixed
    number that makes it so. Without them a generator starts far from any network that can learn, too small in the paper's
    case, and in those whose parts hold several tensors the same in all.
    """

    def __init__(
        self,
        shapes: Shapes,
        parts: list[Part],
        noise: int,
        units: tuple[int, ...],
        shared: bool,
        sizes: Mapping[str, float] | None = None,
        spread: float = 1.0,
    ) -> None:
        super().__init__()
        self.shapes, self.parts, self.noise, self.shared = dict(shapes), parts, noise, shared
        self.nets = nn.ModuleList(Hypernet(part, noise, units, spread) for part in parts)
        self.factors = dict.fromkeys(shapes, 1.0)
        if sizes:
            with torch.no_grad():
                draws = self.draw(16)
            self.factors = {name: size / draws[name].square().mean().sqrt().item() for name, size in sizes.items()}

    def draw(self, n: int) -> Draws:
        """N draws of all weights, ``[n, *shape]`` each, from noise N(0, I)."""
        device = next(self.parameters()).device
        count = 1 if self.shared else len(self.nets)
        noise = torch.randn(count, n, self.noise, device=device).expand(len(self.nets), -1, -1)
        draws: Draws = {}
        for part, net, z in zip(self.parts, self.nets, noise, strict=True):
            sizes = [prod(self.shapes[name]) for name in part.names]
            flat = net(z)[:, : sum(sizes)].split(sizes, dim=1)
            draws |= {
                name: self.factors[name] * weights.reshape(n, *self.shapes[name])
                for name, weights in zip(part.names, flat, strict=True)
            }
        return draws
