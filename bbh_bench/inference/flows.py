"""Normalising flows: invertible maps of a vector whose log-determinant is cheap (Rezende & Mohamed 2015, arXiv 1505.05770).

``flow(z)`` maps ``[..., D]`` to an output of the same shape, and also returns the log-determinant of its Jacobian, ``[...]``.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbh_bench.acceleration import accelerated
from bbh_bench.inference.weights import random_bytes

LOWEST_GATE = -80.0
"""Logit of a gate from which on its logarithm is the logit itself, in single precision."""


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
        shape = (len(self.steps), *z.shape)
        if z.is_cuda or not accelerated():
            return torch.rand(shape, device=z.device, dtype=z.dtype).round()
        # On a CPU, random numbers take longer than the flow itself.
        return (random_bytes(math.prod(shape)) & 1).to(z.dtype).view(shape)

    def forward(self, z: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map z ``[..., D]`` to the output ``[..., D]`` and log-determinant ``[...]``; masks are ``[steps, ..., D]``."""
        masks = self.masks(z) if masks is None else masks
        gated = _Gated.apply if accelerated() else plain_gated
        log_dets = []
        for step, mask in zip(self.steps, masks, strict=True):
            shift, gate = step(mask * z)
            z, log_det = gated(z, shift, gate, mask)
            log_dets.append(log_det)
        return z, torch.stack(log_dets).sum(0)

    def inverse(self, z: Tensor, masks: Tensor) -> Tensor:
        """The input ``[..., D]`` that ``forward`` with these masks maps to z ``[..., D]``."""
        for step, mask in zip(reversed(self.steps), masks.flip(0), strict=True):
            shift, gate = step(mask * z)  # the step did not change the masked elements
            z = mask * z + (1 - mask) * (shift + (z - shift) / gate.sigmoid())
        return z


def plain_gated(z: Tensor, shift: Tensor, gate: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """``m z + (1 - m) (z g + (1 - g) shift)``, g = sigmoid(gate), all ``[..., D]``; the log-determinant ``[...]``."""
    log_gate = (1 - mask) * F.logsigmoid(gate)
    return torch.lerp(shift, z, log_gate.exp()), log_gate.sum(-1)  # masked elements of z do not change: their gate is 1


class _Gated(torch.autograd.Function):
    """``plain_gated`` in a third of the operations: the derivatives of all that it computes need the gates and ``z - shift``.

    With masked gates set to 1, the derivative of ``log g`` with respect to ``gate`` is ``1 - g`` everywhere.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, shift: Tensor, gate: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        gates = torch.maximum(gate.sigmoid(), mask)
        # A gate below LOWEST_GATE is e^gate, which single precision rounds to 0.
        log_gates = torch.maximum(gates.log(), gate.clamp_max(LOWEST_GATE).mul_(1 - mask))
        difference = z - shift
        ctx.save_for_backward(gates, difference)
        return torch.lerp(shift, z, gates), log_gates.sum(-1)  # exactly z where the gate is 1

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (of_z, of_log_det), (gates, difference) = gradients, ctx.saved_tensors
        closed = 1 - gates
        through = of_z * gates
        of_gate = torch.addcmul(of_log_det.unsqueeze(-1), through, difference).mul_(closed)
        return through, of_z * closed, of_gate, None


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
