"""The predictive distribution with frozen masks and weights against plain loops."""

import pytest
import torch
from torch import nn

from bbh_bench.api import Categorical, Problem
from bbh_bench.evaluation.predictive import predict
from bbh_bench.inference.weights import WeightPosterior
from bbh_bench.methods.bbb import Bbb
from bbh_bench.methods.bbh import SINGLE, SLICED, Bbh
from bbh_bench.methods.dropout import Dropout, DropoutPosterior, with_sites
from bbh_bench.methods.ensemble import Ensemble
from bbh_bench.methods.map import Map
from bbh_bench.methods.mnf import Mnf
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


METHODS = [Map(), Ensemble(), Dropout(), Bbb(), Mnf(), SINGLE, SLICED, Bbh()]


@pytest.mark.filterwarnings("ignore:method 'bbh")  # one step learns nothing
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_prediction_of_every_method_against_a_loop_over_networks(method, compare):
    """As many networks in the loop as the method samples: one for a point estimate, five members of an ensemble."""
    x, y = torch.rand(128, 1, 28, 28), torch.randint(10, (128,))
    posterior = method.fit(Problem(x, y, lenet, Categorical(10), epochs=1, batch_size=128))
    networks, images = posterior.sample(SAMPLES), torch.rand(200, 1, 28, 28)
    others = [plain(dropout=method.name == "dropout") for _ in range(len(networks(images[:1])))]
    row, against = f"prediction of {method.name}", "a loop over plain networks"
    ours, theirs = lambda: predict(networks, images, CPU, 10), lambda: loop(others, images)
    compare(ours, theirs, goal=1 / 1.8, rounds=3, warm=1, row=row, against=against)
