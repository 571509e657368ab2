"""The residual network of CIFAR5: 32 weight layers, normalised before each rectifier (He et al. 2016, arXiv 1603.05027).

Each image is normalised by itself, in training and in prediction alike, and every method gets the same network. In the
reference code of Bayes by Hypernet, the layer-wise generator normalises over the test batch, so that the output of an image
depends on other images, and some methods lack the last normalisation.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bbh_bench.api import Architecture
from bbh_bench.tasks.networks import ChannelsLast, initialise

EPSILON = 1e-3
"""Added to variances, as in the paper's code."""
STAGES = ((16, 16), (16, 32), (32, 64))
"""Input and output channels; the first block of each stage halves height and width."""
BLOCKS = 5
"""In a stage."""


class Standardise(nn.Module):
    """Subtracts the mean of an image over all pixels and channels, then divides by the standard deviation.

    As in TensorFlow's ``per_image_standardization``, the standard deviation is at least 1 / sqrt(number of values). It is a
    layer of the network, so that attacks perturb pixels.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` -> the same shape."""
        variance, mean = torch.var_mean(x, (1, 2, 3), correction=0, keepdim=True)
        return (x - mean) * variance.clamp_min(1 / x[0].numel()).rsqrt()


class _Normalised(torch.autograd.Function):
    """``(x - mean) / std * scale + shift`` over the pixels of each image and channel.

    ``F.instance_norm`` returns its result with the channels first, and a step takes a fifth longer. Built from separate
    operations of autograd, the backward pass takes three times as long as this one.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The result, and what the backward pass needs: centred inputs and reciprocals of the standard deviations."""
        centred = x - x.mean((2, 3), keepdim=True)
        reciprocal = (centred.square().mean((2, 3), keepdim=True) + EPSILON).rsqrt()
        return torch.addcmul(shift[:, None, None], centred, reciprocal * scale[:, None, None]), centred, reciprocal

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*output[1:], inputs[1])
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        centred, reciprocal, scale = ctx.saved_tensors
        gradient = gradients[0]
        pixels = gradient.shape[2] * gradient.shape[3]
        mean = gradient.mean((2, 3), keepdim=True)
        along = (gradient * centred).mean((2, 3), keepdim=True) * reciprocal
        factor = reciprocal * scale[:, None, None]
        result = torch.addcmul(-mean * factor, gradient, factor)
        result = torch.addcmul(result, centred, along * reciprocal * factor, value=-1)
        return result, along.sum((0, 2, 3)) * pixels, mean.sum((0, 2, 3)) * pixels


class ImageNorm(nn.Module):
    """Normalises each channel of each image by itself, then scales and shifts it: two parameters a channel.

    Instance normalisation (Ulyanov et al. 2016, arXiv 1607.08022) without running statistics.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` -> the same shape and memory format."""
        normalised: Tensor = _Normalised.apply(x, self.scale, self.shift)[0]
        return normalised


class Convolution(nn.Sequential):
    """A 3x3 convolution that pads as TensorFlow's "SAME", followed by a dropout site.

    With stride 2 and an even size, the padding is at the right and at the bottom only.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        if stride == 1:
            layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1)]
        else:
            layers = [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(inputs, outputs, 3, stride)]
        super().__init__(*layers, nn.Dropout(0.0))


class Shortcut(nn.Module):
    """The path around a block that changes the size: 2x2 average pool, then new channels of zeros, half of them in front."""

    def __init__(self, added: int) -> None:
        super().__init__()
        self.added = added

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` -> ``[B, C + added, H / 2, W / 2]``."""
        return F.pad(F.avg_pool2d(x, 2), (0, 0, 0, 0, self.added // 2, self.added // 2))


class Block(nn.Module):
    """Twice normalisation, rectifier and convolution, added to the block's input."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.shortcut = nn.Identity() if stride == 1 else Shortcut(outputs - inputs)
        self.residual = nn.Sequential(
            ImageNorm(inputs),
            nn.ReLU(inplace=True),
            Convolution(inputs, outputs, stride),
            ImageNorm(outputs),
            nn.ReLU(inplace=True),
            Convolution(outputs, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[B, inputs, H, W]`` -> ``[B, outputs, H / stride, W / stride]``."""
        result: Tensor = self.shortcut(x) + self.residual(x)
        return result


class GlobalAveragePool(nn.Module):
    """The mean of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` -> ``[B, C]``."""
        return x.mean((2, 3))


def resnet(classes: int) -> nn.Module:
    """The network for images ``[B, 3, 24, 24]`` of pixels in [0, 1]: for 5 classes 462,693 weights, and 2,272 of normalisation.

    There are 31 dropout sites: after the first convolution and after the 30 convolutions of the blocks.
    """
    blocks = [
        Block(inputs if first else outputs, outputs, 2 if first else 1)
        for inputs, outputs in STAGES
        for first in [True] + [False] * (BLOCKS - 1)
    ]
    last = STAGES[-1][1]
    head = [ImageNorm(last), nn.ReLU(inplace=True), GlobalAveragePool(), nn.Linear(last, classes)]
    return initialise(nn.Sequential(ChannelsLast(), Standardise(), *Convolution(3, STAGES[0][0]), *blocks, *head))


RESNET_32 = Architecture("resnet-32", 1, partial(resnet, 5))
