"""Low-rank Adam. Oracle: torch's Adam on nn.Linear."""

import torch
from torch import nn

from bbh_bench.inference.low_rank_adam import BLOCK, LowRankAdam, LowRankLinear


def test_the_steps_equal_those_of_adam_with_the_whole_gradient():
    torch.manual_seed(0)
    low_rank = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), LowRankLinear(8, 2 * BLOCK + 7))
    plain = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2 * BLOCK + 7))
    plain.load_state_dict(low_rank.state_dict())
    ours, theirs = LowRankAdam(low_rank, lr=0.01, eps=1e-5), torch.optim.Adam(plain.parameters(), lr=0.01, eps=1e-5)
    for step in range(6):
        x = torch.randn(5, 3)
        for network, optimiser in ((low_rank, ours), (plain, theirs)):
            optimiser.zero_grad()
            for rows in (x[:2], x[2:]):  # two backward passes add up
                network(rows).sin().square().sum().backward()
            optimiser.step()
        for weight, expected in zip(low_rank.parameters(), plain.parameters(), strict=True):
            assert torch.allclose(weight, expected, rtol=1e-4, atol=1e-6), step


def test_inputs_get_the_gradient_of_a_linear_layer():
    torch.manual_seed(0)
    layer, x = LowRankLinear(4, 9), torch.randn(3, 4, requires_grad=True)
    (layer(x) * torch.arange(9.0)).sum().backward()
    assert torch.allclose(x.grad, (torch.arange(9.0) @ layer.weight).expand(3, 4), atol=1e-5)
    assert layer.weight.grad is None


def test_a_layer_without_a_gradient_does_not_change():
    layer = LowRankLinear(4, 9)
    before = layer.weight.clone()
    LowRankAdam(layer, lr=0.1).step()
    assert layer.weight.equal(before)
