"""Which networks can be converted: sequences of layers of which one knows what they do to groups of channels."""

from collections.abc import Callable

from torch import nn

from bbh_bench.errors import ContractError
from bbh_bench.tasks.networks import ChannelsLast

WITHOUT_WEIGHTS = (
    *(nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.Sigmoid, nn.ELU, nn.LeakyReLU, nn.Identity, nn.Dropout, ChannelsLast),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
)
"""Layers that treat every channel alike and keep channels apart."""
Weighted = nn.Linear | nn.Conv2d
Convert = Callable[[Weighted, bool, bool], nn.Module]
"""A layer with weights, whether it is the first of them, and whether it is the last -> what takes its place."""


def converted(network: nn.Module, convert: Convert, method: str) -> nn.Sequential:
    """The sequence with other layers in place of those that have weights.

    Raises ``ContractError`` if the network is no sequence, if a layer is not known, or if ``convert`` raises ``ValueError``.
    """
    if not isinstance(network, nn.Sequential):
        raise ContractError(
            f"{method}: the network is a {type(network).__name__}; only an nn.Sequential of standard layers can be converted."
        )
    layers = list(network)
    weighted = [k for k, layer in enumerate(layers) if isinstance(layer, Weighted)]
    if not weighted:
        raise ContractError(f"{method}: the network has no nn.Linear and no nn.Conv2d.")
    return nn.Sequential(
        *(_converted(layer, k == weighted[0], k == weighted[-1], convert, method) for k, layer in enumerate(layers))
    )


def _converted(layer: nn.Module, first: bool, last: bool, convert: Convert, method: str) -> nn.Module:
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1):
        return layer
    if isinstance(layer, WITHOUT_WEIGHTS):
        return layer
    if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1):
        try:
            return convert(layer, first, last)
        except ValueError as error:  # the widths are not divisible
            raise ContractError(f"{method}: the layer {layer} cannot be converted: {error}") from error
    raise ContractError(f"{method}: it is not known how to convert the layer {layer}.")
