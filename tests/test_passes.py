"""Counts of forward and backward passes, from the networks to the cost columns of a record."""

import pytest
import torch

from bbh_bench.attacks.passes import PassCounter
from bbh_bench.running.cost import costs
from bbh_bench.running.reference import Step
from bbh_bench.running.stages import Stages

WEIGHTS = torch.arange(24.0).view(3, 4, 2)
X = torch.arange(20.0).view(5, 4)


def three_networks(x):
    return torch.einsum("bi,nik->nbk", x, WEIGHTS)


def test_forward_passes_are_networks_times_images():
    counter = PassCounter()
    networks = counter.counted(three_networks)
    assert networks(X).equal(three_networks(X))
    networks(X[:2])
    assert (counter.forward, counter.backward) == (3 * 5 + 3 * 2, 0)


def test_backward_passes_are_counted_when_they_are_done():
    counter = PassCounter()
    leaf = X.clone().requires_grad_()
    outputs = counter.counted(three_networks)(leaf)
    assert counter.backward == 0
    torch.autograd.grad(outputs.sum(), leaf, retain_graph=True)
    assert counter.backward == 15
    torch.autograd.grad(outputs[0].sum(), leaf)  # of one network, through the stack of all
    assert (counter.forward, counter.backward) == (15, 30)


def test_counting_does_not_change_gradients():
    leaf = X.clone().requires_grad_()
    (counted,) = torch.autograd.grad(PassCounter().counted(three_networks)(leaf).square().sum(), leaf)
    (plain,) = torch.autograd.grad(three_networks(leaf).square().sum(), leaf)
    assert counted.equal(plain)


def test_a_record_has_passes_per_image():
    stages = Stages(0, torch.device("cpu"))
    with stages("predict", 10):
        pass
    stages.count("a", 300, 100, 20)
    stages.count("a", 100, 0, 20)
    stages.count("uncertainty/test", 40, 30, 10)
    columns = costs(stages, [Step(0.1, 0.1)], 1, [], None)
    passes = {name: value for name, value in columns.items() if name.endswith("_passes")}
    assert passes == {
        "attack/a/forward_passes": pytest.approx(10),
        "attack/a/backward_passes": pytest.approx(2.5),
        "attack/uncertainty/test/forward_passes": pytest.approx(4),
        "attack/uncertainty/test/backward_passes": pytest.approx(3),
    }
