"""The residual network against a second implementation, its layers against torch's own, and every method on it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bbh_bench.api import Categorical, Problem
from bbh_bench.inference.weights import batched_forward, forward
from bbh_bench.methods.bbb import Bbb
from bbh_bench.methods.bbh import Bbh
from bbh_bench.methods.dropout import Dropout
from bbh_bench.methods.ensemble import Ensemble
from bbh_bench.methods.map import Map
from bbh_bench.methods.mnf import Mnf
from bbh_bench.tasks.resnet import RESNET_32, ImageNorm, Standardise, resnet

IMAGES = torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def gradient_of(output, x, create_graph=False):
    (gradient,) = torch.autograd.grad(output, x, create_graph=create_graph)
    return gradient


@pytest.fixture
def network():
    """With random weights in all layers, also in those that start from constants."""
    torch.manual_seed(1)
    network = resnet(5)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() == 1:
                weight.add_(0.2 * torch.randn_like(weight))
    return network


def reference(weights, x):
    """The network as the protocol describes it, from its weights in order."""
    weights = iter(weights)

    def norm(x):
        scale, shift = next(weights), next(weights)
        return F.instance_norm(x, weight=scale, bias=shift, eps=1e-3)

    def convolution(x, stride=1):
        kernel, bias = next(weights), next(weights)
        padded = F.pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))
        return F.conv2d(padded, kernel, bias, stride)

    flat = x.flatten(1)
    deviation = flat.std(1, correction=0).clamp_min(1728**-0.5)
    x = ((flat - flat.mean(1, keepdim=True)) / deviation[:, None]).view_as(x)
    x = convolution(x)
    for channels in (16, 32, 64):
        for stride in (2, 1, 1, 1, 1):
            shortcut = x
            if stride == 2:
                added = (channels - x.shape[1]) // 2
                zeros = torch.zeros(len(x), added, x.shape[2] // 2, x.shape[3] // 2)
                shortcut = torch.cat([zeros, F.avg_pool2d(x, 2), zeros], 1)
            x = convolution(norm(x).relu(), stride)
            x = shortcut + convolution(norm(x).relu())
            assert x.shape[1] == channels
    x = norm(x).relu().mean((2, 3))
    output = x @ next(weights).T + next(weights)
    assert next(weights, None) is None
    return output


def test_it_has_the_papers_weights_and_the_normalisation_parameters_of_every_layer():
    named = dict(RESNET_32.build().named_parameters())
    counts = {"weights": 0, "normalisation": 0}
    for name, weight in named.items():
        counts["normalisation" if name.endswith(("scale", "shift")) else "weights"] += weight.numel()
    assert counts == {"weights": 462_693, "normalisation": 2_144 + 128}


def test_it_has_32_weight_layers_and_31_dropout_sites():
    modules = list(resnet(5).modules())
    assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in modules) == 32
    assert sum(isinstance(layer, nn.Dropout) for layer in modules) == 31


def test_it_equals_a_second_implementation(network):
    expected = reference(network.parameters(), IMAGES)
    assert torch.allclose(network(IMAGES), expected, atol=1e-4)
    assert network.eval()(IMAGES).equal(network.train()(IMAGES))


def test_its_gradients_equal_those_of_the_second_implementation(network):
    leaf = IMAGES.clone().requires_grad_()
    inputs = [leaf, *network.parameters()]
    own = torch.autograd.grad(network(leaf).square().sum(), inputs)
    expected = torch.autograd.grad(reference(inputs[1:], leaf).square().sum(), inputs)
    for first, second in zip(own, expected, strict=True):
        assert (first - second).norm() <= 1e-3 * (second.norm() + 1)


def test_the_output_of_an_image_does_not_depend_on_the_others(network):
    together = network(IMAGES)
    alone = torch.cat([network(image) for image in IMAGES.split(1)])
    assert torch.allclose(together, alone, atol=1e-4)


def test_every_convolution_gets_and_gives_the_channels_last(network):
    seen = []

    def look(layer, inputs, output):
        seen.extend(x.is_contiguous(memory_format=torch.channels_last) for x in (*inputs, output))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(look)
    network(IMAGES)
    assert seen == [True] * 62


@pytest.mark.parametrize("shape", [(4, 16, 6, 6), (2, 3, 5, 4)])
def test_the_normalisation_of_an_image_equals_instance_normalisation(shape):
    torch.manual_seed(0)
    layer = ImageNorm(shape[1]).double()
    with torch.no_grad():
        layer.scale.uniform_(0.5, 2)
        layer.shift.normal_()
    x = (3 * torch.randn(shape, dtype=torch.float64) + 1).contiguous(memory_format=torch.channels_last).requires_grad_()
    inputs = [x, layer.scale, layer.shift]
    factor = torch.randn(shape, dtype=torch.float64)
    own = layer(x)
    expected = F.instance_norm(x, weight=layer.scale, bias=layer.shift, eps=1e-3)
    assert torch.allclose(own, expected)
    assert own.is_contiguous(memory_format=torch.channels_last)
    gradients = (torch.autograd.grad((factor * output).sum(), inputs) for output in (own, expected))
    for first, second in zip(*gradients, strict=True):
        assert torch.allclose(first, second)


def test_a_second_derivative_is_refused_instead_of_wrong():
    x = torch.rand(1, 2, 3, 3, requires_grad=True)
    gradient = gradient_of(ImageNorm(2)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_standardisation_gives_mean_0_and_deviation_1_whatever_the_brightness():
    standardised = Standardise()(IMAGES)
    assert torch.allclose(standardised.mean((1, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(standardised.std((1, 2, 3), correction=0), torch.ones(3), atol=1e-5)
    assert torch.allclose(Standardise()(IMAGES + 0.3), standardised, atol=1e-4)


def test_standardisation_of_an_almost_even_image_does_not_amplify_its_noise():
    even = torch.full((1, 3, 24, 24), 0.5)
    assert (Standardise()(even) == 0).all()
    even[0, 0, 0, 0] += 0.01
    assert Standardise()(even).max().item() == pytest.approx(0.01 * 1728**0.5, rel=0.01)


def test_samples_of_the_weights_can_be_batched(network):
    samples = {
        name: torch.stack([w, 1.1 * w, 0.9 * w]).detach() for name, w in network.named_parameters() if w.dim() > 1
    }
    x = IMAGES.clone().requires_grad_()
    batched, loop = batched_forward(network, samples, x), forward(network, samples, x)
    assert torch.allclose(batched, loop, atol=1e-4)
    assert torch.allclose(gradient_of(batched.sum(), x), gradient_of(loop.sum(), x), atol=1e-3)


SMALL = {"units": (4, 4), "noise": 2}
METHODS = [
    Map(),
    Ensemble(members=2),
    Dropout(),
    Bbb(),
    Bbb(local=True),
    Mnf(flow_hidden=4),
    Bbh(**SMALL),
    Bbh(generator="sliced", **SMALL),
    Bbh(generator="single", **SMALL),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: getattr(method, "generator", method.name))
@pytest.mark.filterwarnings("ignore::bbh_bench.methods.bbh.DeadGeneratorWarning")
def test_every_method_fits_the_network_with_its_normalisation(method):
    torch.manual_seed(0)
    built = []

    def network():
        built.append(resnet(5))
        return built[-1]

    posterior = method.fit(Problem(IMAGES, torch.arange(3), network, Categorical(5), epochs=1, batch_size=3))
    x = IMAGES.clone().requires_grad_()
    outputs = posterior.sample(2)(x)
    assert outputs.isfinite().all()
    assert gradient_of(outputs.sum(), x).abs().sum() > 0
    shifts = torch.cat([w.flatten() for name, w in built[0].named_parameters() if name.endswith("shift")])
    assert (shifts != 0).any()  # they are trained as point estimates
