"""The networks of the tasks: plain sequences of standard layers, the same for every method.

``nn.Dropout(p=0)`` marks where a method may drop units. A convolution is followed by dropout, pooling and the rectifier, in
this order. That equals the usual order (rectifier, dropout, pooling): all three are monotone and the factors of dropout are
not negative. It applies the rectifier to a quarter of the values.

There is no batch normalisation: its running statistics belong to no sample of the weights, and with the statistics of a test
batch the output of an image would depend on other images.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from bbh_bench.api import Architecture


class ChannelsLast(nn.Module):
    """Stores images ``[B, C, H, W]`` with the channels last in memory: pooling is then six times faster on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """The same values."""
        if x.shape[1] == 1:
            # With one channel, contiguous(memory_format=channels_last) keeps strides that convolutions take for channels
            # first, and they would use the slow kernels again.
            x = x.contiguous()
            return x.as_strided(x.shape, (x.stride(0), 1, x.shape[3], 1))
        return x.contiguous(memory_format=torch.channels_last)


def initialise(network: nn.Module) -> nn.Module:
    """Initialise a network as in the paper, by variance scaling, and return it.

    Kernels are sampled from a normal distribution of variance 1 / fan-in, truncated at two standard deviations; biases are 0.
    """
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
    """LeNet for 28x28 images and 10 classes: 431,080 parameters (LeCun et al. 1998, in the version of Caffe and the paper)."""
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
    """A small LeNet for 8x8 images: 3,493 parameters for 5 classes."""
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


LENET = Architecture("lenet", 1, lenet)
SMALL_LENET = Architecture("small-lenet", 1, partial(small_lenet, classes=5))


def on_device(network: Architecture | Callable[[], nn.Module], device: torch.device) -> nn.Module:
    """A newly initialised network, of an architecture or from the function that builds it, on a device."""
    build = network.build if isinstance(network, Architecture) else network
    return build().to(device)
