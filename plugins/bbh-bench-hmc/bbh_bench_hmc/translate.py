"""A torch network of standard layers as a function of JAX, which the sampler differentiates."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor, nn

from bbh_bench.errors import ContractError
from bbh_bench.tasks.networks import ChannelsLast

Weights: TypeAlias = Sequence[jax.Array]
"""Of one layer or of all layers, in the order of ``network.parameters()``."""
Layer: TypeAlias = Callable[[Weights, jax.Array], jax.Array]

TOLERANCE = 1e-3
"""Largest accepted difference between outputs of torch and JAX, relative to the largest output. Both use float32."""
COMPARED = 16
"""Inputs on which they are compared."""


def translate(network: nn.Module, x: Tensor) -> Callable[[Weights, jax.Array], jax.Array]:
    """The function ``(weights, inputs [B, ...]) -> outputs [B, K]`` of a sequence of layers.

    It is compared with the network itself on the first inputs of ``x``. Raises ``ContractError`` for other networks, for
    layers that it does not know, and if the outputs differ.
    """
    if not isinstance(network, nn.Sequential):
        raise ContractError(f"hmc: the network is a {type(network).__name__}; hmc supports nn.Sequential only.")
    layers = [(_layer(module), len(list(module.parameters()))) for module in network]

    def outputs(weights: Weights, inputs: jax.Array) -> jax.Array:
        position = 0
        for layer, number in layers:
            inputs = layer(weights[position : position + number], inputs)
            position += number
        return inputs

    _compare(network, outputs, x[:COMPARED])
    return outputs


def as_jax(x: Tensor) -> jax.Array:
    """A copy on JAX's default device."""
    return jnp.asarray(np.ascontiguousarray(x.detach().cpu().numpy()))


def _layer(module: nn.Module) -> Layer:
    match module:
        case nn.Linear():
            layer: Layer = _linear
        case nn.Conv2d(padding_mode="zeros", groups=1) if not isinstance(module.padding, str):
            layer = _convolution(module)
        case nn.MaxPool2d(padding=0, dilation=1, ceil_mode=False):
            layer = _max_pool(module)
        case nn.Flatten(start_dim=1, end_dim=-1):
            layer = _without_weights(lambda x: x.reshape(len(x), -1))
        case nn.ReLU():
            layer = _without_weights(jax.nn.relu)
        case nn.Tanh():
            layer = _without_weights(jnp.tanh)
        case nn.Dropout(p=0.0) | nn.Identity() | ChannelsLast():
            layer = _without_weights(lambda x: x)
        case _:
            raise ContractError(
                f"hmc: the layer {module} cannot be translated to JAX; supported are Linear, Conv2d with zeros as padding, "
                "MaxPool2d without padding, Flatten, ReLU, Tanh and Dropout(0)."
            )
    return layer


def _linear(weights: Weights, x: jax.Array) -> jax.Array:
    return x @ weights[0].T + (weights[1] if len(weights) > 1 else 0)


def _without_weights(function: Callable[[jax.Array], jax.Array]) -> Layer:
    """A layer without parameters."""
    return lambda weights, x: function(x)


def _convolution(module: nn.Conv2d) -> Layer:
    padding = [(p, p) for p in _pair(module.padding)]  # type: ignore[arg-type]

    def convolution(weights: Weights, x: jax.Array) -> jax.Array:
        # As a product with patches [B, I * h * w, H, W]: with other weights for each chain, it is one product of matrices for
        # each, where XLA's convolution on a CPU is many times slower.
        patches = jax.lax.conv_general_dilated_patches(
            x, module.kernel_size, _pair(module.stride), padding, rhs_dilation=_pair(module.dilation)
        )
        out = jnp.einsum("oi,bihw->bohw", weights[0].reshape(len(weights[0]), -1), patches)
        return out + weights[1][:, None, None] if len(weights) > 1 else out

    return convolution


def _max_pool(module: nn.MaxPool2d) -> Layer:
    window, stride = (1, 1, *_pair(module.kernel_size)), (1, 1, *_pair(module.stride))
    return lambda weights, x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, stride, "VALID")


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


@torch.no_grad()
def _compare(network: nn.Module, outputs: Callable[[Weights, jax.Array], jax.Array], x: Tensor) -> None:
    expected = network(x).cpu().numpy()
    difference = np.abs(np.asarray(outputs([as_jax(w) for w in network.parameters()], as_jax(x))) - expected).max()
    if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise ContractError(f"hmc: outputs of the translated network differ from those of the network by {difference}.")
