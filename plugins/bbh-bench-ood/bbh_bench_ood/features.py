"""Penultimate features: what the last linear layer of a network gets."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bbh_bench.errors import ContractError

CHUNK = 500
"""Training inputs that are in memory at a time, with their activations."""


def penultimate(network: nn.Module, x: Tensor) -> Tensor:
    """Inputs ``[B, ...]`` -> features ``[B, D]``, in double precision: the input of the ``nn.Linear`` that is called last.

    Statistics of features that hardly vary need the precision. Raises ``ContractError`` if no such layer is called.
    """
    with _inputs_of_linear_layers(network) as inputs:
        network(x)
    if not inputs:
        raise ContractError(
            f"penultimate features are the input of a network's last nn.Linear, and this {type(network).__name__} calls none. "
            "Use a method that needs logits only: energy or max-logit."
        )
    return inputs[-1].flatten(1).double()


def training_features(network: nn.Module, x: Tensor) -> Tensor:
    """The features ``[N, D]`` of all training inputs ``[N, ...]``, without augmentation."""
    return torch.cat([penultimate(network, part) for part in x.split(CHUNK)])


@contextmanager
def _inputs_of_linear_layers(network: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, the inputs of linear layers are appended to the list, in the order of the calls."""
    inputs: list[Tensor] = []

    def keep(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs.append(arguments[0])

    hooks = [layer.register_forward_pre_hook(keep) for layer in network.modules() if isinstance(layer, nn.Linear)]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()
