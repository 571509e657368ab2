"""The training loop, and what the losses of several methods share. A method may use them, and does not have to."""

import math
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bbh_bench.acceleration import accelerated
from bbh_bench.api import Batches, Problem, Stateful
from bbh_bench.inference.adam import Adam
from bbh_bench.inference.memory import freed_memory_kept

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
    state: Mapping[str, Stateful] | None = None,
) -> None:
    """Use the problem's whole budget: one optimiser step for each batch.

    ``loss(x, y, step)`` gets inputs ``[B, ...]``, targets ``[B]`` and the number of steps taken so far, and returns a scalar.

    A run with ``--checkpoints`` saves the fit from time to time, and goes on with it if it is stopped. ``state`` names what
    changes during the fit beside the batches, the optimiser, its parameters and the buffers of networks that
    ``problem.network()`` returned: a discriminator with its optimiser, or a running average.

    Raises ``Diverged`` if the loss is not finite. It is checked every 20 steps and at the last one.
    """
    steps = problem.steps
    batches = problem.batches()
    with freed_memory_kept(), problem.checkpoint(_whole_state(batches, optimiser, state or {})) as save_if_due:
        for x, y in islice(batches, steps - batches.step):
            step = batches.step - 1
            optimiser.zero_grad()
            value = loss(x, y, step)
            value.backward()
            optimiser.step()
            if step % REPORT_EVERY == 0 or step == steps - 1:
                current = value.item()
                if not math.isfinite(current):
                    raise Diverged(f"the loss was {current} at step {step} of {steps}; try a lower learning rate.")
                problem.progress((step + 1) / steps, current)
            save_if_due()


def _whole_state(batches: Batches, optimiser: Optimiser, others: Mapping[str, Stateful]) -> dict[str, Stateful]:
    """What a checkpoint of a fit consists of. Nothing if the optimiser's state cannot be saved: then the fit starts again."""
    if not isinstance(optimiser, Stateful):
        return {}
    parts: dict[str, Stateful] = {"batches": batches, "optimiser": optimiser}
    if isinstance(optimiser, torch.optim.Optimizer):
        parts = {"batches": batches, "optimiser": _WithParameters(optimiser)}
    return parts | dict(others)


class _WithParameters:
    """The state of an optimiser of torch together with the values of its parameters."""

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        self._optimiser = optimiser

    def _parameters(self) -> list[Tensor]:
        return [weight for group in self._optimiser.param_groups for weight in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimiser": self._optimiser.state_dict(),
            "parameters": [weight.detach() for weight in self._parameters()],
        }

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._optimiser.load_state_dict(deepcopy(state_dict["optimiser"]))  # which would keep the tensors that it gets
        for weight, saved in zip(self._parameters(), state_dict["parameters"], strict=True):
            weight.copy_(saved)


def adam(parameters: Iterable[Tensor], lr: float, eps: float = 1e-5) -> torch.optim.Optimizer:
    """Adam in one fused kernel, with the paper's epsilon (which TensorFlow adds before the bias correction)."""
    return Adam(parameters, lr, eps) if accelerated() else torch.optim.Adam(parameters, lr, eps=eps)


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
