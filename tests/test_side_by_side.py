"""Networks side by side against the plain loop over samples, in values and gradients."""

import pytest
import torch
from torch import nn

from bbh_bench.inference import side_by_side
from bbh_bench.inference.weights import forward, looped_forward, networks_with
from bbh_bench.methods.ensemble import EnsemblePosterior
from bbh_bench.methods.map import PointPosterior
from bbh_bench.tasks.networks import lenet, small_lenet


def nested():
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding="valid", bias=False), nn.GELU(), nn.AvgPool2d(2)),
        nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, dilation=1, groups=2), nn.Tanh(), nn.AdaptiveMaxPool2d(2)),
        nn.Flatten(),
        nn.Linear(24, 3, bias=False),
    )


NETWORKS = {
    "small": (lambda: small_lenet(5), (1, 8, 8)),
    "lenet": (lenet, (1, 28, 28)),
    "nested": (nested, (2, 13, 13)),
    "dense": (lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.0), nn.Linear(8, 3)), (6,)),
    "one layer": (lambda: nn.Linear(4, 2), (4,)),
    "normalised first": (lambda: nn.Sequential(nn.Flatten(), nn.LayerNorm(9), nn.Linear(9, 3)), (1, 3, 3)),
}


def samples_of(network, n, keep=lambda name: True):
    return {k: w.detach() + 0.1 * torch.randn(n, *w.shape) for k, w in network.named_parameters() if keep(k)}


@pytest.mark.parametrize("inputs", [3, 130], ids=["one call", "chunks"])
@pytest.mark.parametrize("case", NETWORKS)
def test_values_and_gradients_are_those_of_the_loop(case, inputs):
    make, shape = NETWORKS[case]
    torch.manual_seed(0)
    network = make().requires_grad_(False)
    samples = samples_of(network, 5, keep=lambda name: not name.startswith("1.") or case != "normalised first")
    samples = {name: w.requires_grad_() for name, w in samples.items()}
    x = torch.rand(inputs, *shape, requires_grad=True)
    expected = looped_forward(network, samples, x)
    networks = side_by_side.plan(network, samples)
    assert networks is not None
    outputs = networks(x)
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)
    weights = torch.randn_like(expected)
    wanted = [x, *samples.values()]
    for ours, theirs in zip(
        torch.autograd.grad((outputs * weights).sum(), wanted),
        torch.autograd.grad((expected * weights).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


class Doubled(nn.Linear):
    """A subclass that computes something else."""

    def forward(self, x):
        return 2 * super().forward(x)


def shared_layer():
    layer = nn.Linear(3, 3)
    return nn.Sequential(layer, nn.Tanh(), layer)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(Doubled(3, 3)),
        shared_layer,
        lambda: nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)),
        lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)),
        lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 3)),
        lambda: nn.Sequential(nn.Linear(3, 3), nn.Unflatten(1, (3, 1)), nn.Flatten()),
    ],
    ids=["subclass", "layer used twice", "normalisation", "dropout", "dropout first", "unknown layer"],
)
def test_other_networks_are_left_to_the_loop(make):
    network = make().train()
    assert side_by_side.plan(network, samples_of(network, 2)) is None


def test_inputs_of_an_unexpected_shape_are_left_to_the_loop():
    """A dense layer also takes sequences of vectors."""
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    samples, x = samples_of(network, 3), torch.rand(5, 7, 3)
    assert torch.equal(forward(network, samples, x), looped_forward(network, samples, x))


def test_repeated_calls_give_the_same():
    network, x = small_lenet(5), torch.rand(20, 1, 8, 8)
    networks = networks_with(network, samples_of(network, 16))
    assert torch.equal(networks(x), networks(x))


def test_members_of_an_ensemble_give_what_each_gives_alone():
    members = [PointPosterior(small_lenet(5)) for _ in range(3)]
    x = torch.rand(4, 1, 8, 8)
    outputs = EnsemblePosterior(members).sample(3)(x)
    assert torch.allclose(outputs, torch.cat([member.sample(1)(x) for member in members]), atol=1e-5)


def test_networks_that_differ_are_not_put_side_by_side():
    networks = [nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Sequential(nn.Linear(2, 2), nn.Tanh())]
    assert side_by_side.plan_of(networks) is None
    x = torch.rand(3, 2)
    outputs = EnsemblePosterior([PointPosterior(network) for network in networks]).sample(2)(x)
    assert torch.equal(outputs, torch.stack([network(x) for network in networks]))
