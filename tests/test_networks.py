"""Architectures: their identities, their layers against the usual order, and the memory layout of images."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bbh_bench.tasks.networks import LENET, SMALL_LENET, ChannelsLast, initialise, lenet, on_device, small_lenet
from bbh_bench.tasks.toy import ONE_HIDDEN_LAYER


def test_parameter_counts():
    assert sum(p.numel() for p in lenet().parameters()) == 431_080
    assert sum(p.numel() for p in small_lenet(5).parameters()) == 3_493


@pytest.mark.parametrize(
    ("architecture", "name", "parameters"),
    [(LENET, "lenet", 431_080), (SMALL_LENET, "small-lenet", 3_493), (ONE_HIDDEN_LAYER, "one-hidden-layer", 301)],
    ids=["lenet", "small-lenet", "one-hidden-layer"],
)
def test_an_architecture_describes_itself(architecture, name, parameters):
    """No random number is used for it."""
    state = torch.get_rng_state()
    described = architecture.describe()
    assert torch.equal(torch.get_rng_state(), state)
    assert (described["name"], described["version"]) == (name, 1)
    assert sum(math.prod(shape) for shape in described["parameters"]) == parameters


def test_on_device_builds_a_newly_initialised_network(cpu):
    networks = []
    for network in (SMALL_LENET, SMALL_LENET.build):
        torch.manual_seed(0)
        networks.append(on_device(network, cpu))
    for first, second in zip(*(network.parameters() for network in networks), strict=True):
        assert first.device == cpu
        assert torch.equal(first, second)
    assert not torch.equal(next(on_device(SMALL_LENET, cpu).parameters()), next(networks[0].parameters()))


def test_pooling_before_the_rectifier_equals_the_usual_order_also_with_dropout():
    torch.manual_seed(0)
    network = lenet().eval()
    masks = [torch.rand(20, 24, 24).round() * 2, torch.rand(50, 8, 8).round() * 2]
    conv1, conv2, fc1, fc2 = (layer for layer in network if isinstance(layer, nn.Conv2d | nn.Linear))
    x = torch.rand(3, 1, 28, 28)
    usual = F.max_pool2d(masks[0] * conv1(x).relu(), 2)
    usual = F.max_pool2d(masks[1] * conv2(usual).relu(), 2)
    usual = fc2(fc1(usual.flatten(1)).relu())
    sites = iter(masks)
    handles = [
        layer.register_forward_hook(
            lambda module, inputs, output: output * mask if (mask := next(sites, None)) is not None else output
        )
        for layer in network
        if isinstance(layer, nn.Dropout)
    ]
    assert torch.allclose(network(x), usual, atol=1e-5)
    assert len(handles) == 3


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_keeps_values_and_reaches_the_convolution(channels):
    x = torch.rand(4, channels, 8, 8)
    stored = ChannelsLast()(x)
    assert stored.equal(x)
    convolution = nn.Conv2d(channels, 6, 3).to(memory_format=torch.channels_last)
    # With one channel, contiguous() would not be enough.
    assert convolution(stored).is_contiguous(memory_format=torch.channels_last)


def test_gradients_flow_through_channels_last():
    x = torch.rand(2, 1, 28, 28, requires_grad=True)
    lenet()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_initial_weights_have_variance_one_over_fan_in_and_biases_are_zero():
    torch.manual_seed(0)
    layer = initialise(nn.Linear(400, 300))
    # A normal distribution truncated at two standard deviations has 0.7737 of its variance.
    assert layer.weight.var().item() == pytest.approx(0.7737 / 400, rel=0.02)
    assert layer.weight.abs().max().item() <= 2 / 20
    assert (layer.bias == 0).all()
