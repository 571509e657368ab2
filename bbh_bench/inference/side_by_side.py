"""n networks side by side: a sequence of standard layers, with n samples of its weights, in one operation per layer.

Images of all samples are the channels of one image, ``[B, n C, H, W]``: a convolution with sampled weights is a convolution
with n groups, and pooling and activation do not see a difference. Vectors are ``[n, B, D]``, and a dense layer is a batched
matrix product. The input is the same for all samples, so that the first convolution has no groups.

For small images, the start of each operation is what costs, and a loop over samples starts n times as many. Large images go
through in small groups of samples, whose activations are not much larger than a core's cache.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbh_bench.api import PredictFn
from bbh_bench.inference.image_gradient import convolution

Operation = Callable[[Tensor, slice], Tensor]
"""Activations of some of the networks, and which networks they are -> activations after one layer."""

ELEMENTWISE = (
    *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardtanh, nn.ReLU6),
    nn.Identity,
)
POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)

CHUNK_INPUTS, CHUNK_VALUES = 100, 6400
"""Inputs of one call: at least so many, and so many values. 6400 values are 100 images of 8x8 pixels."""
MIN_GROUP = 2
"""Networks of one call, at least: the first convolutions of two LeNets together are faster than one after the other."""
GROUP_VALUES = 51200
"""Values of the inputs of one call, counted once for each sample: the activations of more do not fit into a core's cache."""


class SideBySide:
    """n frozen networks: a function from inputs ``[B, ...]`` to ``[n, B, K]``, for repeated calls on a CPU.

    It is differentiable with respect to the inputs and the samples. ``plan`` returns one, if the network allows it.
    """

    def __init__(self, shared: nn.Sequential, operations: list[Operation], n: int) -> None:
        self._shared = shared
        self._operations = operations
        self._n = n

    def __call__(self, x: Tensor) -> Tensor:
        """Raises ``RuntimeError`` if an activation has a shape that the layers are not made for here."""
        values = max(1, x[:1].numel())
        chunks = x.split(max(CHUNK_INPUTS, CHUNK_VALUES // values))
        outputs = [self._outputs(chunk) for chunk in chunks]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)

    def _outputs(self, x: Tensor) -> Tensor:
        size = min(self._n, max(MIN_GROUP, GROUP_VALUES // max(1, x.numel())))
        shared = self._shared(x)
        groups = [slice(start, min(start + size, self._n)) for start in range(0, self._n, size)]
        outputs = [self._group(shared, group) for group in groups]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _group(self, x: Tensor, group: slice) -> Tensor:
        for operation in self._operations:
            x = operation(x, group)
        return _separate(x, group) if x.dim() == 4 else x


def plan(network: nn.Module, samples: Mapping[str, Tensor]) -> SideBySide | None:
    """The network with n samples of weights ``[n, *shape]``, by their name in it; None if it has a layer of another kind.

    The layers before the first sampled one may be of any kind: they are evaluated once for all samples.
    """
    leaves = _leaves(network)
    names = {name for prefix, layer in leaves for name, _ in layer.named_parameters(prefix)}
    if not samples.keys() <= names or len(names) != sum(1 for _ in network.named_parameters()):
        return None  # a name that no layer has, or a layer that occurs twice
    first = next(k for k, (prefix, layer) in enumerate(leaves) if _is_sampled(layer, prefix, samples))
    shared = [layer for _, layer in leaves[:first]]
    if network.training and any(_is_random_or_counts(layer) for layer in shared):
        return None
    n = len(next(iter(samples.values())))
    operations = []
    for k, (prefix, layer) in enumerate(leaves[first:]):
        weights = {
            name.removeprefix(f"{prefix}."): samples[name] if name in samples else weight.expand(n, *weight.shape)
            for name, weight in layer.named_parameters(prefix)
        }
        operation = _operation(layer, weights, is_first=k == 0)
        if operation is None:
            return None
        operations.append(operation)
    return SideBySide(nn.Sequential(*shared), operations, n)


def plan_of(networks: Sequence[nn.Module]) -> SideBySide | None:
    """Separate networks of one architecture as one; None if they differ in more than their weights, or have buffers."""
    names = [{name: weight.shape for name, weight in network.named_parameters()} for network in networks]
    alike = all(shapes == names[0] for shapes in names) and len({repr(network) for network in networks}) == 1
    on_cpu = all(weight.device.type == "cpu" for network in networks for weight in network.parameters())
    if not alike or not on_cpu or not names[0] or any(True for network in networks for _ in network.buffers()):
        return None
    weights = [dict(network.named_parameters()) for network in networks]
    return plan(networks[0], {name: torch.stack([each[name].detach() for each in weights]) for name in names[0]})


def with_fallback(side_by_side: SideBySide | None, otherwise: PredictFn) -> PredictFn:
    """The networks side by side where that is possible, and else the other function, which must give the same."""

    def outputs(x: Tensor) -> Tensor:
        if side_by_side is not None:
            # Activations of a shape that it cannot treat; any other error is raised again below.
            with suppress(RuntimeError):
                return side_by_side(x)
        return otherwise(x)

    return outputs


def _leaves(network: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """The layers of nested sequences in their order, with their names. A network that is no sequence is one layer."""
    if type(network) is not nn.Sequential:
        return [(prefix, network)]
    leaves = []
    for name, child in network.named_modules(remove_duplicate=False):
        if name and "." not in name:
            leaves += _leaves(child, f"{prefix}.{name}".removeprefix("."))
    return leaves


def _is_sampled(layer: nn.Module, prefix: str, samples: Mapping[str, Tensor]) -> bool:
    return any(name in samples for name, _ in layer.named_parameters(prefix))


def _is_random_or_counts(layer: nn.Module) -> bool:
    """Whether a layer in training mode differs from call to call: it drops units, or has running statistics."""
    return isinstance(layer, nn.Dropout | nn.Dropout2d | nn.AlphaDropout) or any(True for _ in layer.buffers())


def _operation(layer: nn.Module, weights: Mapping[str, Tensor], is_first: bool) -> Operation | None:
    """What a layer does to the activations of some networks. None if it is of no known kind.

    Types are compared exactly: a subclass may do something else.
    """
    kind = type(layer)
    operation: Operation | None = None
    if kind in ELEMENTWISE or kind in POOLING:
        operation = partial(_unchanged, layer)
    elif isinstance(layer, nn.Dropout) and kind is nn.Dropout and (layer.p == 0 or not layer.training):
        operation = partial(_unchanged, nn.Identity())
    elif isinstance(layer, nn.Flatten) and kind is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
        operation = _flatten
    elif kind is nn.Linear:
        bias = weights["bias"].unsqueeze(1) if "bias" in weights else None
        operation = partial(_dense, weights["weight"].transpose(1, 2), bias, is_first)
    elif isinstance(layer, nn.Conv2d) and kind is nn.Conv2d and layer.padding_mode == "zeros":
        # Convolutions and pooling are fastest on a CPU if the channels are last in memory.
        weight = weights["weight"].flatten(0, 1).contiguous(memory_format=torch.channels_last)
        bias = weights["bias"].flatten() if "bias" in weights else None
        if not is_first or layer.groups == 1:
            operation = partial(_convolution, layer, weight, bias, is_first)
    return operation


def _unchanged(layer: nn.Module, x: Tensor, group: slice) -> Tensor:
    """What the layer itself does: it treats every value or every channel alike."""
    output: Tensor = layer(x)
    return output


def _dense(weight: Tensor, bias: Tensor | None, is_first: bool, x: Tensor, group: slice) -> Tensor:
    """Vectors ``[n, B, D]``, or ``[B, D]`` if it is the first layer, times ``weight`` ``[n, D, K]``, plus ``[n, 1, K]``."""
    weight = weight[group]
    if is_first:
        x = x.expand(len(weight), -1, -1)
    return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias[group], x, weight)


def _convolution(
    layer: nn.Conv2d, weight: Tensor, bias: Tensor | None, is_first: bool, x: Tensor, group: slice
) -> Tensor:
    """Images ``[B, n C, H, W]``, or ``[B, C, H, W]`` if it is the first layer, with ``weight`` ``[n O, C, h, w]``."""
    outputs = layer.out_channels
    channels = slice(group.start * outputs, group.stop * outputs)
    weight, bias = weight[channels], None if bias is None else bias[channels]
    if is_first:
        return convolution(layer, x, weight, bias)
    groups = layer.groups * (group.stop - group.start)
    return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, groups)


def _flatten(x: Tensor, group: slice) -> Tensor:
    return _separate(x, group).flatten(2) if x.dim() == 4 else x


def _separate(images: Tensor, group: slice) -> Tensor:
    """Images ``[B, n C, H, W]`` -> ``[n, B, C, H, W]``."""
    return images.unflatten(1, (group.stop - group.start, -1)).transpose(0, 1)
