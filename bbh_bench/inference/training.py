"""The one training loop: a function that a method may use, and need not."""

import math
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor, nn

from bbh_bench.api import Problem

REPORT_EVERY = 20  # steps; reading the loss waits for a GPU


class Optimiser(Protocol):
    """What the loop needs of an optimiser; torch's have it."""

    def zero_grad(self) -> None:
        """Forget the gradients."""
        ...

    def step(self) -> object:
        """Take one step."""
        ...


class Diverged(Exception):
    """The loss is no longer a finite number."""


def minimise(
    problem: Problem,
    optimiser: Optimiser,
    loss: Callable[[Tensor, Tensor, int], Tensor],
) -> None:
    """Take the problem's whole budget of batches, one optimiser step each.

    ``loss(x, y, step)`` gets inputs ``[B, ...]``, targets ``[B]`` and the number of steps taken, and returns a scalar.
    Raises ``Diverged`` where the loss is not finite.
    """
    steps = problem.steps
    for step, (x, y) in enumerate(islice(problem.batches(), steps)):
        optimiser.zero_grad()
        value = loss(x, y, step)
        value.backward()
        optimiser.step()
        if step % REPORT_EVERY == 0 or step == steps - 1:
            now = value.item()
            if not math.isfinite(now):
                raise Diverged(f"the loss was {now} at step {step} of {steps}; try a lower learning rate.")
            problem.progress((step + 1) / steps, now)


def adam(parameters: Iterable[Tensor], lr: float, eps: float = 1e-5) -> torch.optim.Adam:
    """Adam in one fused kernel, with the paper's epsilon (which TensorFlow adds before the bias correction)."""
    return torch.optim.Adam(parameters, lr=lr, eps=eps, fused=True)


def kernels(network: nn.Module) -> list[Tensor]:
    """The weights that the paper's prior covers in a point estimate: not biases, not the scales of normalisation."""
    return [weight for weight in network.parameters() if weight.dim() >= 2]


def negative_log_prior(weights: Iterable[Tensor], scale: float) -> Tensor:
    """``sum(w ** 2) / (2 scale ** 2)``, in nats: minus the log-density of N(0, scale^2), less its constant."""
    return torch.stack([weight.square().sum() for weight in weights]).sum() / (2 * scale**2)


def annealed(step: int, steps: int, share: float, wait: float = 0.0) -> float:
    """The weight of a prior term: 0 for a share ``wait`` of the steps, then rising to 1 over a further ``share`` of them."""
    past = step / steps - wait
    return min(1.0, max(0.0, past / share)) if share else float(past >= 0)
