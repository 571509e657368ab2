"""The gradient to the images, against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bbh_bench.inference.image_gradient import convolution


def node(output):
    """Which function computes the gradient of an output."""
    return type(output.grad_fn).__name__


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("channels", "kernel"), [(1, 5), (3, 3), (4, (3, 2))])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (1, 2, 1), ((1, 2), (2, 1), 1), (1, 0, 2)])
def test_value_and_gradient_are_pytorchs(channels, kernel, stride, padding, dilation, bias):
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, 6, kernel, stride, padding, dilation, bias=bias, dtype=torch.float64)
    layer.requires_grad_(False)
    x = torch.rand(3, channels, 28, 24, dtype=torch.float64).requires_grad_()
    ours, theirs = convolution(layer, x, layer.weight, layer.bias), layer(x)
    assert "Convolution" in node(ours)
    assert node(ours) != node(theirs)
    assert torch.equal(ours, theirs)
    direction = torch.randn_like(theirs)
    (of_ours,), (of_theirs,) = (torch.autograd.grad(y, x, direction) for y in (ours, theirs))
    assert torch.allclose(of_ours, of_theirs, rtol=1e-12, atol=1e-12)


def test_gradients_of_weights_and_small_images_are_left_to_pytorch():
    layer = nn.Conv2d(1, 8, 3, padding=1)
    large, small = torch.rand(2, 1, 28, 28), torch.rand(2, 1, 8, 8)
    plain = node(F.conv2d(large, layer.weight, layer.bias))
    assert node(convolution(layer, large.clone().requires_grad_(), layer.weight, layer.bias)) == plain
    assert node(convolution(layer, large, layer.weight, layer.bias)) == plain
    layer.requires_grad_(False)
    assert node(convolution(layer, small.requires_grad_(), layer.weight, layer.bias)) == plain
