"""The predictive distribution with frozen masks and weights against plain loops."""

import torch
from torch import nn

from bbh_bench.evaluation.predictive import predict
from bbh_bench.inference.weights import WeightPosterior
from bbh_bench.methods.dropout import DropoutPosterior, with_sites
from bbh_bench.tasks.networks import lenet

CPU = torch.device("cpu")
SAMPLES = 20


def plain(dropout):
    """PyTorch's memory layout, dropout as torch has it, one pass per sample."""
    rate = 0.5 if dropout else 0.0
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.Dropout(rate), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 50, 5), nn.ReLU(), nn.Dropout(rate), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Dropout(rate), nn.Linear(500, 10)),
    ).train()


@torch.no_grad()
def loop(networks, x):
    return torch.stack([network(x).softmax(-1) for network in networks]).mean(0)


def test_dropout_against_a_loop_with_live_dropout(compare):
    x = torch.rand(200, 1, 28, 28)
    networks, network = DropoutPosterior(with_sites(lenet(), 0.5), x[:1]).sample(SAMPLES), plain(dropout=True)
    compare(lambda: predict(networks, x, CPU, 10), lambda: loop([network] * SAMPLES, x), goal=1 / 2.5)


def test_sampled_weights_against_a_loop_over_networks(compare):
    x = torch.rand(200, 1, 28, 28)
    network = lenet()

    def sample_weights(n):
        return {name: torch.randn(n, *w.shape) / 10 for name, w in network.named_parameters()}

    networks = WeightPosterior(network, sample_weights, 0).sample(SAMPLES)
    others = [plain(dropout=False) for _ in range(SAMPLES)]
    compare(lambda: predict(networks, x, CPU, 10), lambda: loop(others, x), goal=1 / 1.8)
