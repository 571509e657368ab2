"""Attacks on the predictive distribution of frozen samples, against a Python loop over networks inside the attacked model."""

from dataclasses import replace

import foolbox
import pytest
import torch
from test_prediction import plain
from torch import nn

from bbh_bench.attacks.builtin import PGD_LINF
from bbh_bench.attacks.gradient import Pgd
from bbh_bench.attacks.threat_model import craft
from bbh_bench.inference.weights import WeightPosterior
from bbh_bench.methods.dropout import DropoutPosterior, with_sites
from bbh_bench.methods.map import Map
from bbh_bench.running.stages import seed_everything
from bbh_bench.tasks.digits5 import TASK
from bbh_bench.tasks.networks import lenet, small_lenet

CPU = torch.device("cpu")
SAMPLES, STEPS = 16, 3
ATTACK = replace(PGD_LINF, epsilons=(0.1,), algorithm=Pgd(steps=STEPS))


class Loop(nn.Module):
    """The obvious implementation."""

    def __init__(self, networks):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x):
        return torch.stack([network(x).softmax(-1) for network in self.networks]).mean(0).clamp_min(1e-12).log()


def attacked(model, x, y):
    pgd = foolbox.attacks.LinfPGD(rel_stepsize=0.1, steps=STEPS)
    return pgd(foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device=CPU), x, y, epsilons=[0.1])


def sampled(network):
    """Samples of weights that differ a little, so that no image is misclassified for certain."""

    def sample_weights(n):
        return {name: w + torch.randn(n, *w.shape) / 100 for name, w in network.named_parameters()}

    return WeightPosterior(network, sample_weights, 0).sample(SAMPLES)


def plain_small():
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 5)),
    )


def test_pgd_on_sampled_lenets(compare):
    x, y = torch.rand(100, 1, 28, 28), torch.arange(100) % 10
    networks, model = sampled(lenet()), Loop([plain(dropout=False) for _ in range(SAMPLES)])
    ours, theirs = lambda: craft(ATTACK, networks, x, y, (0, 1), CPU), lambda: attacked(model, x, y)
    compare(ours, theirs, goal=1 / 2, rounds=5, row="attack through 16 LeNets", against="a naive loop")


@pytest.mark.parametrize("n", [10, 30, 100])
def test_pgd_on_sampled_small_networks(compare, n):
    x, y = torch.rand(n, 1, 8, 8), torch.arange(n) % 5
    networks, model = sampled(small_lenet(5)), Loop([plain_small() for _ in range(SAMPLES)])
    ours, theirs = lambda: craft(ATTACK, networks, x, y, (0, 1), CPU), lambda: attacked(model, x, y)
    compare(
        ours, theirs, goal=1 / 2, row=f"attack on {n} images of 8x8 through 16 small LeNets", against="a naive loop"
    )


def test_pgd_on_frozen_masks(compare):
    """The loop has live masks: it attacks other networks at every step."""
    x, y = torch.rand(100, 1, 28, 28), torch.arange(100) % 10
    networks = DropoutPosterior(with_sites(lenet(), 0.5), x[:1]).sample(SAMPLES)
    model = Loop([plain(dropout=True)] * SAMPLES)
    compare(lambda: craft(ATTACK, networks, x, y, (0, 1), CPU), lambda: attacked(model, x, y), goal=1 / 1.8, rounds=5)


def test_epsilon_sweep_against_separate_epsilons(compare):
    """On digits5 and a trained network: images that a smaller epsilon misclassifies for certain are not attacked again."""
    loaded = TASK.load("")
    seed_everything(0)
    networks = Map().fit(loaded.problem(CPU)).sample(1)
    x, y = loaded.data.test
    epsilons = (0.05, 0.1, 0.2)

    def separately():
        for epsilon in epsilons:
            craft(replace(PGD_LINF, epsilons=(epsilon,)), networks, x, y, (0, 1), CPU)

    compare(lambda: craft(replace(PGD_LINF, epsilons=epsilons), networks, x, y, (0, 1), CPU), separately, goal=0.9)
