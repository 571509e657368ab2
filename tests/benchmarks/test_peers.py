"""Bayes by Backprop against other libraries, where they are installed (``tox -e peers``): LeNet, batches of 128."""

import pytest
import torch
import torch.nn.functional as F
from test_prediction import CPU, loop
from torch import nn

from bbh_bench.api import Categorical, Problem
from bbh_bench.evaluation.predictive import predict
from bbh_bench.methods.bbb import Bbb
from bbh_bench.tasks.networks import lenet

STEPS, BATCH, IMAGES, SAMPLES = 4, 128, 200, 100
PEERS = ["bayesian_torch", "torch_uncertainty", "blitz"]


def lenet_of(convolution, dense):
    """The textbook's LeNet from a library's layers."""
    return nn.Sequential(
        *(convolution(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(convolution(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), dense(800, 500), nn.ReLU(), dense(500, 10)),
    )


def bayesian_torch():
    layers = pytest.importorskip("bayesian_torch.layers")
    network = lenet_of(layers.Conv2dReparameterization, layers.LinearReparameterization)
    for layer in network:
        if hasattr(layer, "dnn_to_bnn_flag"):
            layer.dnn_to_bnn_flag = True  # outputs alone: the KL is asked for below
    return network, lambda: sum(layer.kl_loss() for layer in network if hasattr(layer, "kl_loss"))


def torch_uncertainty():
    layers = pytest.importorskip("torch_uncertainty.layers.bayesian")
    losses = pytest.importorskip("torch_uncertainty.losses.bayesian")
    network = lenet_of(layers.BayesConv2d, layers.BayesLinear)
    return network, losses.KLDiv(network)


def blitz():
    modules = pytest.importorskip("blitz.modules")
    losses = pytest.importorskip("blitz.losses")
    network = lenet_of(lambda i, o, k: modules.BayesianConv2d(i, o, (k, k)), modules.BayesianLinear)
    return network, lambda: losses.kl_divergence_from_nn(network)


def peer(name):
    return {"bayesian_torch": bayesian_torch, "torch_uncertainty": torch_uncertainty, "blitz": blitz}[name]()


@pytest.fixture
def problem():
    torch.manual_seed(0)
    x, y = torch.rand(STEPS * BATCH, 1, 28, 28), torch.randint(10, (STEPS * BATCH,))
    return Problem(x, y, lenet, Categorical(10), epochs=1, batch_size=BATCH)


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("name", PEERS)
def test_bbb_step_against_a_peer(problem, compare, name, samples):
    network, kl = peer(name)
    optimiser = torch.optim.Adam(network.parameters())

    def theirs():
        for x, y in problem.batches():
            optimiser.zero_grad()
            likelihood = torch.stack([F.cross_entropy(network(x), y) for _ in range(samples)]).mean()
            (likelihood + kl() / len(problem.x)).backward()
            optimiser.step()

    row = f"training step of bbb, {samples} sample{'s' * (samples > 1)}"
    method = Bbb(likelihood_samples=samples)
    compare(lambda: method.fit(problem), theirs, goal=1.0, rounds=3, warm=1, row=row, against=name)


@pytest.mark.parametrize(("name", "goal"), list(zip(PEERS, (1 / 2.2, 1 / 4, 1.0), strict=True)))
def test_prediction_against_a_peer(problem, compare, name, goal):
    network, _ = peer(name)
    networks, x = Bbb().fit(problem).sample(SAMPLES), torch.rand(IMAGES, 1, 28, 28)
    ours, theirs = lambda: predict(networks, x, CPU, 10), lambda: loop([network] * SAMPLES, x)
    compare(ours, theirs, goal, rounds=3, warm=0, row="prediction with 100 samples of weights", against=name)
