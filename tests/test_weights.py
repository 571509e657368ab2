"""The forward pass with sampled weights against a loop over networks with these weights, in values and gradients."""

import pytest
import torch
from torch import nn

from bbh_bench.inference.weights import (
    MIN_BATCHED_SAMPLES,
    WeightPosterior,
    batched_forward,
    forward,
    noise_like,
    sample_gaussian,
    squared,
)
from bbh_bench.tasks.networks import ChannelsLast, lenet, small_lenet


def mlp():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def normalised():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


CASES = {
    "lenet": (lenet, (1, 28, 28)),
    "small": (lambda: small_lenet(5), (1, 8, 8)),
    "mlp": (mlp, (6,)),
    "norm": (normalised, (1, 9, 9)),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_networks_with_those_weights(case):
    make, shape = CASES[case]
    torch.manual_seed(0)
    network = make()
    x = torch.rand(3, *shape, requires_grad=True)
    sampled = {k: w for k, w in network.named_parameters() if w.dim() > 1}  # biases and scales remain the network's own
    samples = {k: (w + 0.1 * torch.randn(4, *w.shape)).detach().requires_grad_() for k, w in sampled.items()}
    outputs = forward(network, samples, x)
    outputs.square().sum().backward()
    x_grad, x.grad = x.grad, None
    for k in range(4):
        copy = make()
        copy.load_state_dict(network.state_dict() | {name: weights[k].detach() for name, weights in samples.items()})
        alone = copy(x)
        assert torch.allclose(outputs[k], alone, atol=1e-5)
        alone.square().sum().backward()
        for name, weight in copy.named_parameters():
            if name in samples:
                assert torch.allclose(samples[name].grad[k], weight.grad, rtol=1e-3, atol=1e-4)
    assert torch.allclose(x_grad, x.grad, rtol=1e-3, atol=1e-4)


def test_sample_freezes_the_weights():
    torch.manual_seed(0)
    network = mlp()
    posterior = WeightPosterior(network, lambda n: {"0.weight": torch.randn(n, 8, 6)}, parameters=48)
    networks, x = posterior.sample(5), torch.rand(2, 6)
    first = networks(x)
    assert first.shape == (5, 2, 3)
    assert not posterior.sample(5)(x).equal(first)
    assert networks(x).equal(first)
    assert all(not weight.requires_grad for weight in network.parameters())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_noise_is_standard_normal_in_every_layout(layout):
    """120,000 random numbers, four standard errors; neighbours along every dimension are not correlated."""
    torch.manual_seed(0)
    x = torch.zeros(40, 5, 20, 30).to(memory_format=layout)
    noise = noise_like(x)
    assert noise.shape == x.shape
    assert noise.stride() == x.stride()
    assert abs(noise.mean()) < 4 / noise.numel() ** 0.5
    assert abs(noise.var() - 1) < 4 * (2 / noise.numel()) ** 0.5
    assert all(abs((noise * noise.roll(1, dim)).mean()) < 4 / noise.numel() ** 0.5 for dim in range(4))


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("block", [50, 2**17])
def test_gaussian_samples_have_the_gradients_of_the_formula(scaled, layout, block, monkeypatch):
    """Oracle: automatic differentiation of scale mean + std noise, with the noise that was sampled; several blocks, or one."""
    monkeypatch.setattr("bbh_bench.inference.weights.BLOCK_VALUES", block)
    torch.manual_seed(0)
    mean = torch.randn(7, 3, 4, 2, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    variance = torch.rand(7, 3, 4, 2, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    scale = torch.rand(7, 3, 1, 1, dtype=torch.float64, requires_grad=True) if scaled else None
    inputs = [mean, variance, *([] if scale is None else [scale])]
    sample = sample_gaussian(mean, variance, scale)
    centre = mean if scale is None else scale * mean
    noise = ((sample - centre) / variance.sqrt()).detach()
    weights = torch.randn_like(sample)
    ours = torch.autograd.grad((weights * sample).sum(), inputs)
    theirs = torch.autograd.grad((weights * (centre + variance.sqrt() * noise)).sum(), inputs)
    assert all(torch.allclose(*pair) for pair in zip(ours, theirs, strict=True))
    assert noise.unique().numel() == noise.numel()


def test_gaussian_samples_are_standard_normal_over_blocks(monkeypatch):
    monkeypatch.setattr("bbh_bench.inference.weights.BLOCK_VALUES", 1000)
    torch.manual_seed(0)
    mean, variance = torch.full((300, 400), 3.0), torch.full((300, 400), 4.0)
    noise = (sample_gaussian(mean, variance) - 3) / 2
    assert abs(noise.mean()) < 4 / noise.numel() ** 0.5
    assert abs(noise.var() - 1) < 4 * (2 / noise.numel()) ** 0.5
    assert sample_gaussian(mean, 0 * variance).equal(mean)


@pytest.mark.parametrize("channels", [1, 3])
def test_squares_keep_the_layout_in_memory_and_the_gradient(channels):
    """With the strides of PyTorch's own squares, the convolution of one channel answers with channels first."""
    x = torch.randn(2, channels, 6, 5, requires_grad=True)
    images = ChannelsLast()(x)
    squares = squared(images)
    assert squares.equal(x.square())
    assert squares.stride() == images.stride()
    convolution = nn.Conv2d(channels, 4, 3).to(memory_format=torch.channels_last)
    assert convolution(squares).is_contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(squares.sum(), x)
    assert torch.allclose(gradient, 2 * x)


@pytest.mark.parametrize("case", CASES)
def test_batched_samples_give_the_same_as_a_loop(case):
    """In values and gradients, in training mode, where dropout (of rate 0) is on."""
    make, shape = CASES[case]
    network = make().train()
    samples = {name: w + 0.1 * torch.randn(9, *w.shape) for name, w in network.named_parameters()}
    x = torch.rand(5, *shape).requires_grad_()
    loop = torch.cat([forward(network, {name: w[k : k + 1] for name, w in samples.items()}, x) for k in range(9)])
    together = batched_forward(network, samples, x)
    assert torch.allclose(together, loop, atol=1e-5)
    weights = torch.randn_like(loop)
    gradients = [torch.autograd.grad((outputs * weights).sum(), x)[0] for outputs in (loop, together)]
    assert torch.allclose(*gradients, atol=1e-4)


class DataDependent(nn.Module):
    """A layer that cannot be batched: its control flow depends on its input."""

    def forward(self, x):
        return x if x.sum().item() > 0 else -x


def test_a_network_that_cannot_be_batched_is_looped():
    network = nn.Sequential(nn.Linear(3, 2), DataDependent())
    samples = {name: torch.randn(MIN_BATCHED_SAMPLES, *w.shape) for name, w in network.named_parameters()}
    x = torch.rand(4, 3)
    with pytest.raises(RuntimeError):
        batched_forward(network, samples, x)
    one = {name: w[-1] for name, w in samples.items()}
    assert torch.allclose(forward(network, samples, x)[-1], torch.func.functional_call(network, one, (x,)))
