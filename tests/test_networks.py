"""Parameter counts of the paper, the order of layers against the textbook's, and the memory layout that is fast."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bbh_bench.tasks.networks import ChannelsLast, initialise, lenet, small_lenet


def test_parameter_counts():
    assert sum(p.numel() for p in lenet().parameters()) == 431_080
    assert sum(p.numel() for p in small_lenet(5).parameters()) == 3_493


def test_pooling_before_the_rectifier_equals_the_textbook_order_with_dropout_too():
    torch.manual_seed(0)
    network = lenet().eval()
    masks = [torch.rand(20, 24, 24).round() * 2, torch.rand(50, 8, 8).round() * 2]
    conv1, conv2, fc1, fc2 = (layer for layer in network if isinstance(layer, nn.Conv2d | nn.Linear))
    x = torch.rand(3, 1, 28, 28)
    textbook = F.max_pool2d(masks[0] * conv1(x).relu(), 2)
    textbook = F.max_pool2d(masks[1] * conv2(textbook).relu(), 2)
    textbook = fc2(fc1(textbook.flatten(1)).relu())
    sites = iter(masks)
    handles = [
        layer.register_forward_hook(
            lambda module, inputs, output: output * mask if (mask := next(sites, None)) is not None else output
        )
        for layer in network
        if isinstance(layer, nn.Dropout)
    ]
    assert torch.allclose(network(x), textbook, atol=1e-5)
    assert len(handles) == 3


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_keeps_values_and_reaches_the_convolution(channels):
    x = torch.rand(4, channels, 8, 8)
    laid = ChannelsLast()(x)
    assert laid.equal(x)
    convolution = nn.Conv2d(channels, 6, 3).to(memory_format=torch.channels_last)
    assert convolution(laid).is_contiguous(
        memory_format=torch.channels_last
    )  # with one channel, contiguous() doesn't do it


def test_gradients_flow_through_channels_last():
    x = torch.rand(2, 1, 28, 28, requires_grad=True)
    lenet()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_initial_weights_have_variance_one_over_fan_in_and_biases_are_zero():
    torch.manual_seed(0)
    layer = initialise(nn.Linear(400, 300))
    # A normal cut at two deviations has 0.7737 of its variance.
    assert layer.weight.var().item() == pytest.approx(0.7737 / 400, rel=0.02)
    assert layer.weight.abs().max().item() <= 2 / 20
    assert (layer.bias == 0).all()
