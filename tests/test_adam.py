"""Adam with one counter of steps against PyTorch's."""

import torch
from torch import nn

from bbh_bench.inference.adam import Adam
from bbh_bench.inference.training import adam


def trained(optimiser_of, steps, restart_at=None):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    first, second = list(network[0].parameters()), list(network[2].parameters())
    optimiser = optimiser_of(first)
    optimiser.add_param_group({"params": second, "lr": 0.1})
    x = torch.randn(8, 3)
    for step in range(steps):
        if step == restart_at:
            state = optimiser.state_dict()
            optimiser = optimiser_of(first)
            optimiser.add_param_group({"params": second})
            optimiser.load_state_dict(state)
        optimiser.zero_grad()
        (network(x) - x.sum(1, keepdim=True)).square().mean().backward()
        optimiser.step()
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def test_steps_are_those_of_torch_bit_by_bit():
    theirs = trained(lambda weights: torch.optim.Adam(weights, lr=1e-2, eps=1e-5, fused=True), steps=20)
    assert torch.equal(trained(lambda weights: adam(weights, 1e-2), steps=20), theirs)


def test_a_restored_optimiser_goes_on_with_the_same_bits():
    undisturbed = trained(lambda weights: adam(weights, 1e-2), steps=20)
    assert torch.equal(trained(lambda weights: adam(weights, 1e-2), steps=20, restart_at=7), undisturbed)


def test_a_parameter_without_gradient_stays():
    weight, other = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimiser = adam([weight, other], 0.1)
    weight.sum().backward()
    optimiser.step()
    assert torch.equal(other, torch.ones(2))
    assert torch.allclose(weight, torch.full((2,), 0.9), atol=1e-4)


def test_building_one_changes_no_class():
    """PyTorch wraps the step of a class at its first object, which a run would take for a replaced function."""
    step = Adam.step
    adam([torch.ones(2, requires_grad=True)], 0.1)
    assert Adam.step is step
