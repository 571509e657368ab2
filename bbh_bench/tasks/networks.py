"""The networks: plain sequences of standard layers, the same for every method.

``nn.Dropout(p=0)`` marks where units may be dropped. Convolutions are followed by dropout, pooling, then the rectifier:
that equals the usual rectifier, dropout, pooling, since all three keep order and dropout's factors aren't negative, and
it rectifies a quarter of the values. No batch normalisation: its running statistics belong to no draw of the weights, and
a test batch's statistics leak between images.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class ChannelsLast(nn.Module):
    """Lays images ``[B, C, H, W]`` out with the channels last in memory, which pools six times faster on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """The same values."""
        if x.shape[1] == 1:
            # With one channel, contiguous(memory_format=channels_last) keeps strides that convolutions read as channels
            # first, and the slow kernels come back in silence.
            x = x.contiguous()
            return x.as_strided(x.shape, (x.stride(0), 1, x.shape[3], 1))
        return x.contiguous(memory_format=torch.channels_last)


def initialise(network: nn.Module) -> nn.Module:
    """Variance scaling, as in the paper: kernels from a normal of variance 1 / fan-in cut at two deviations, biases zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            std = layer.weight[0].numel() ** -0.5
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network.to(memory_format=torch.channels_last)


def _convolution(inputs: int, outputs: int, kernel: int, padding: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.Dropout(0.0), nn.MaxPool2d(2), nn.ReLU()]


def lenet() -> nn.Module:
    """LeNet for 28x28 images and 10 classes, 431,080 weights (LeCun et al. 1998, as Caffe and the paper have it)."""
    return initialise(
        nn.Sequential(
            ChannelsLast(),
            *_convolution(1, 20, kernel=5, padding=0),
            *_convolution(20, 50, kernel=5, padding=0),
            nn.Flatten(),
            nn.Linear(800, 500),
            nn.Dropout(0.0),
            nn.ReLU(),
            nn.Linear(500, 10),
        )
    )


def small_lenet(classes: int) -> nn.Module:
    """LeNet's shape for 8x8 images: 3,493 weights for 5 classes."""
    return initialise(
        nn.Sequential(
            ChannelsLast(),
            *_convolution(1, 8, kernel=3, padding=1),
            *_convolution(8, 16, kernel=3, padding=1),
            nn.Flatten(),
            nn.Linear(64, 32),
            nn.Dropout(0.0),
            nn.ReLU(),
            nn.Linear(32, classes),
        )
    )


def on_device(make: Callable[[], nn.Module], device: torch.device) -> nn.Module:
    """A fresh network on a device."""
    return make().to(device)
