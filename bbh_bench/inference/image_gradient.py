"""A convolution of images with few channels whose gradient to the images is fast on a CPU.

An attack needs that gradient in every step. PyTorch computes it as a convolution with one or three output channels, which uses
a small part of the vector units: for LeNet's first layer it takes four times as long as the forward pass. Here it is one
matrix product, of gradients with kernels, whose patches are added up at their places.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FEWEST_POSITIONS = 256
"""Outputs per image and channel from which it pays: images of 8x8 pixels are left to PyTorch."""
MOST_CHANNELS = 4
"""Channels of the images up to which it pays."""


def convolution(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Images ``[B, C, H, W]`` with ``weight`` ``[O, C, h, w]`` and the geometry of a layer without groups.

    The same values as ``torch.nn.functional.conv2d``, and the same gradients up to rounding.
    """
    if not _pays(layer, x, weight, bias):
        return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation)
    output: Tensor = _Convolution.apply(x, weight, bias, layer.stride, layer.padding, layer.dilation)
    return output


def _pays(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Where only the images need a gradient, and are large."""
    others = weight.requires_grad or (bias is not None and bias.requires_grad)
    if others or not (x.requires_grad and torch.is_grad_enabled()) or x.is_cuda or isinstance(layer.padding, str):
        return False
    positions = x[0, 0].numel() // (layer.stride[0] * layer.stride[1])
    return x.shape[1] <= MOST_CHANNELS and positions >= FEWEST_POSITIONS


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.geometry = (x.shape[2:], weight.shape[2:], dilation, padding, stride)
        return F.conv2d(x, weight, bias, stride, padding, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (weight,) = ctx.saved_tensors
        patches = gradient.permute(0, 2, 3, 1).flatten(1, 2) @ weight.flatten(1)
        return F.fold(patches.transpose(1, 2), *ctx.geometry), None, None, None, None, None
