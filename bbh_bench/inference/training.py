"""The training loop, and what the losses of several methods share. A method may use them, and does not have to."""

import math
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor, nn

from bbh_bench.api import Problem

REPORT_EVERY = 20  # steps; reading the loss waits for a GPU


class Optimiser(Protocol):
    """What the training loop needs of an optimiser. Those of torch have it."""

    def zero_grad(self) -> None:
        """Discard the gradients."""
        ...

    def step(self) -> object:
        """Take one step."""
        ...


class Diverged(Exception):
    """The loss is infinite or not a number."""


def minimise(
    problem: Problem,
    optimiser: Optimiser,
    loss: Callable[[Tensor, Tensor, int], Tensor],
) -> None:
    """Use the problem's whole budget: one optimiser step for each batch.

    ``loss(x, y, step)`` gets inputs ``[B, ...]``, targets ``[B]`` and the number of steps taken so far, and returns a scalar.
    Raises ``Diverged`` if the loss is not finite. It is checked every 20 steps and at the last one.
    """
    steps = problem.steps
    for step, (x, y) in enumerate(islice(problem.batches(), steps)):
        optimiser.zero_grad()
        value = loss(x, y, step)
        value.backward()
        optimiser.step()
        if step % REPORT_EVERY == 0 or step == steps - 1:
            current = value.item()
            if not math.isfinite(current):
                raise Diverged(f"the loss was {current} at step {step} of {steps}; try a lower learning rate.")
            problem.progress((step + 1) / steps, current)


def adam(parameters: Iterable[Tensor], lr: float, eps: float = 1e-5) -> torch.optim.Adam:
    """Adam in one fused kernel, with the paper's epsilon (which TensorFlow adds before the bias correction)."""
    return torch.optim.Adam(parameters, lr=lr, eps=eps, fused=True)


def kernels(network: nn.Module) -> list[Tensor]:
    """The weights that the paper's prior covers in a point estimate: no biases, and no scales of normalisation layers."""
    return [weight for weight in network.parameters() if weight.dim() >= 2]


def negative_log_prior(weights: Iterable[Tensor], scale: float) -> Tensor:
    """``sum(w ** 2) / (2 scale ** 2)``, in nats: the negative log-density of N(0, scale^2) without its constant."""
    return torch.stack([weight.square().sum() for weight in weights]).sum() / (2 * scale**2)


def annealing_weight(step: int, steps: int, share: float, wait: float = 0.0) -> float:
    """Weight of the KL term at a step: 0 for a share ``wait`` of all steps, then rising linearly to 1 over a further ``share``.

    ``share=0`` makes it jump from 0 to 1.
    """
    elapsed = step / steps - wait
    return min(1.0, max(0.0, elapsed / share)) if share else float(elapsed >= 0)
