"""Imports and compiles, before any clock starts, what the first cell of a process would pay for otherwise."""

from importlib import import_module

import torch
from torch import nn

MODULES = (
    "foolbox",
    "scipy.stats",
    "sklearn.datasets",
    "torchmetrics.functional.classification",
)


def warm_up(device: torch.device) -> None:
    """Import what scoring and attacks use, and let torch replace ``Adam.step`` by its hooked form, as the first optimiser does.

    On a CPU, also take a step of training with small layers.

    Load plugins first: those of the suite prepare what Foolbox needs. A GPU is not used: a process that has used one cannot be
    forked. The state of the random generators is changed.
    """
    for module in MODULES:
        import_module(module)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 3))
    optimiser = torch.optim.Adam(network.parameters(), fused=True)
    if device.type != "cpu":
        return
    loss = nn.functional.cross_entropy(network(torch.rand(4, 1, 8, 8)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    optimiser.step()  # the first use imports a compiler: a second
