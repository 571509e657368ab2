"""Normalising flows: invertible maps of a vector whose log-determinant is cheap (Rezende & Mohamed 2015, arXiv 1505.05770).

``flow(z)`` maps ``[..., D]`` to an output of the same shape, and also returns the log-determinant of its Jacobian, ``[...]``.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def flow(dim: int, hidden: int, steps: int) -> nn.Module:
    """Masked RealNVP, or a planar flow for a scalar.

    For a scalar, a mask of 1 leaves RealNVP nothing to transform, and a mask of 0 nothing to compute shift and gate from.
    """
    return Planar(steps) if dim == 1 else RealNvp(dim, hidden, steps)


class RealNvp(nn.Module):
    """Masked RealNVP steps, as in Louizos & Welling 2017, arXiv 1703.01961, section 2.2.

    ``z <- m z + (1 - m) (z g + (1 - g) mu)``. The shift mu and the gate g are computed from the masked ``m z``, and the
    log-determinant is ``sum (1 - m) log g``. A call without masks samples new ones, Bernoulli(1/2), for every z. The
    distribution of outputs is then a mixture over masks, and the log-determinant is that of the sampled masks. By Jensen's
    inequality, a bound that is averaged over masks is still a bound.
    """

    def __init__(self, dim: int, hidden: int, steps: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_Coupling(dim, hidden) for _ in range(steps))

    def masks(self, z: Tensor) -> Tensor:
        """Sample masks for z ``[..., D]``: zeros and ones, ``[steps, ..., D]``."""
        return torch.rand(len(self.steps), *z.shape, device=z.device, dtype=z.dtype).round()

    def forward(self, z: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map z ``[..., D]`` to the output ``[..., D]`` and log-determinant ``[...]``; masks are ``[steps, ..., D]``."""
        masks = self.masks(z) if masks is None else masks
        log_gates = []
        for step, mask, unmasked in zip(self.steps, masks, 1 - masks, strict=True):
            shift, gate = step(mask * z)
            log_gates.append(unmasked * F.logsigmoid(gate))
            z = torch.lerp(shift, z, log_gates[-1].exp())  # masked elements of z do not change: their gate is 1
        return z, torch.stack(log_gates).sum((0, -1))

    def inverse(self, z: Tensor, masks: Tensor) -> Tensor:
        """The input ``[..., D]`` that ``forward`` with these masks maps to z ``[..., D]``."""
        for step, mask in zip(reversed(self.steps), masks.flip(0), strict=True):
            shift, gate = step(mask * z)  # the step did not change the masked elements
            z = mask * z + (1 - mask) * (shift + (z - shift) / gate.sigmoid())
        return z


class _Coupling(nn.Module):
    """One hidden layer of tanh units, then the shift and the logit of the gate for every dimension."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden)
        self.heads = nn.Linear(hidden, 2 * dim)
        nn.init.constant_(self.heads.bias[dim:], 2.0)  # gates start near 1, and the flow near the identity

    def forward(self, masked: Tensor) -> tuple[Tensor, Tensor]:
        """Map masked z ``[..., D]`` to the shift and the logit of the gate, ``[..., D]`` each."""
        shift, gate = self.heads(self.hidden(masked).tanh()).chunk(2, dim=-1)
        return shift, gate


class Planar(nn.Module):
    """Planar steps of a scalar: ``z + u tanh(w z + b)``, Rezende & Mohamed 2015, equation 10.

    A step is invertible if ``w u > -1``, so the parameter is ``slope``, with ``w u = softplus(slope) - 1``. The parameter for w
    is its logarithm: w > 0 excludes no step, since changing the signs of w, u and b together changes nothing.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.log_w = nn.Parameter(0.1 * torch.randn(steps))
        self.shift = nn.Parameter(0.1 * torch.randn(steps))
        self.slope = nn.Parameter(math.log(math.e - 1) + 0.1 * torch.randn(steps))  # w u near 0: near the identity

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z ``[..., 1]`` to the output ``[..., 1]`` and log-determinant ``[...]``."""
        log_det = torch.zeros_like(z)
        for w, shift, wu in zip(self.log_w.exp(), self.shift, F.softplus(self.slope) - 1, strict=True):
            activation = (w * z + shift).tanh()
            log_det = log_det + torch.log1p(wu * (1 - activation.square()))
            z = z + wu / w * activation
        return z, log_det.squeeze(-1)
