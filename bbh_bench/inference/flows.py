"""Normalising flows: invertible maps of a vector whose log-determinant is cheap (Rezende & Mohamed 2015, arXiv 1505.05770).

``flow(z)`` takes ``[..., D]`` to an equal shape and the log-determinant of its Jacobian, ``[...]``.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def flow(dim: int, hidden: int, steps: int) -> nn.Module:
    """Masked RealNVP; planar for a scalar, where one mask leaves nothing to do and the other nothing to learn from."""
    return Planar(steps) if dim == 1 else RealNvp(dim, hidden, steps)


class RealNvp(nn.Module):
    """Masked RealNVP steps, as in Louizos & Welling 2017, arXiv 1703.01961, section 2.2.

    ``z <- m z + (1 - m) (z g + (1 - g) mu)``, with the shift mu and the gate g computed from the masked ``m z`` and a
    log-determinant of ``sum (1 - m) log g``. A call without masks draws fresh ones, Bernoulli(1/2), for every z: the
    flow's output then is a mixture over masks, and the log-determinant belongs to the one that was drawn. By Jensen's
    inequality a bound that averages it over masks still is a bound.
    """

    def __init__(self, dim: int, hidden: int, steps: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_Coupling(dim, hidden) for _ in range(steps))

    def masks(self, z: Tensor) -> Tensor:
        """Fresh masks for z ``[..., D]``: zeros and ones, ``[steps, ..., D]``."""
        return torch.rand(len(self.steps), *z.shape, device=z.device, dtype=z.dtype).round()

    def forward(self, z: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Take z ``[..., D]`` to its image ``[..., D]`` and log-determinant ``[...]``; masks ``[steps, ..., D]``."""
        masks = self.masks(z) if masks is None else masks
        log_gates = []
        for step, mask, free in zip(self.steps, masks, 1 - masks, strict=True):
            shift, gate = step(mask * z)
            log_gates.append(free * F.logsigmoid(gate))
            z = torch.lerp(shift, z, log_gates[-1].exp())  # z itself where it is masked: the gate is 1
        return z, torch.stack(log_gates).sum((0, -1))

    def inverse(self, z: Tensor, masks: Tensor) -> Tensor:
        """What ``forward`` with these masks takes to z ``[..., D]``."""
        for step, mask in zip(reversed(self.steps), masks.flip(0), strict=True):
            shift, gate = step(mask * z)  # the masked part is as it was
            z = mask * z + (1 - mask) * (shift + (z - shift) / gate.sigmoid())
        return z


class _Coupling(nn.Module):
    """One hidden layer of tanh, then the shift and the gate's logit of every dimension."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden)
        self.heads = nn.Linear(hidden, 2 * dim)
        nn.init.constant_(self.heads.bias[dim:], 2.0)  # gates begin near one, and the flow near the identity

    def forward(self, masked: Tensor) -> tuple[Tensor, Tensor]:
        """Masked z ``[..., D]`` to shift and gate, each ``[..., D]``."""
        shift, gate = self.heads(self.hidden(masked).tanh()).chunk(2, dim=-1)
        return shift, gate


class Planar(nn.Module):
    """Planar steps of a scalar: ``z + u tanh(w z + b)``, Rezende & Mohamed 2015, equation 10.

    Parameters are w > 0, which loses nothing (the sign of all three can be turned), and ``w u > -1``, which is what makes
    a step invertible.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.log_w = nn.Parameter(0.1 * torch.randn(steps))
        self.shift = nn.Parameter(0.1 * torch.randn(steps))
        self.slope = nn.Parameter(math.log(math.e - 1) + 0.1 * torch.randn(steps))  # w u near zero: near the identity

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Take z ``[..., 1]`` to its image ``[..., 1]`` and log-determinant ``[...]``."""
        log_det = torch.zeros_like(z)
        for w, shift, wu in zip(self.log_w.exp(), self.shift, F.softplus(self.slope) - 1, strict=True):
            bend = (w * z + shift).tanh()
            log_det = log_det + torch.log1p(wu * (1 - bend.square()))
            z = z + wu / w * bend
        return z, log_det.squeeze(-1)
