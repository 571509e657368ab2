"""Predictive distributions of chains, on the sets of a task."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bbh_bench.evaluation.fidelity import interval_probabilities
from bbh_bench.tasks.classification import LoadedClassification
from bbh_bench.tasks.regression import LoadedRegression

TRACED = 100
"""Inputs of a set whose predictions are examined for convergence."""
EVERY = 10
"""Points of a regression's grid are this many apart."""
INTERVALS_PER_NOISE = 4
"""Intervals of a regression's target for each standard deviation of its noise."""
TAILS = 5.0
"""Standard deviations of the noise by which the intervals go beyond the outputs of all networks."""


@dataclass(frozen=True)
class Draws:
    """Weights of the network by name, ``[chains, draws, *shape]``."""

    network: nn.Module
    weights: dict[str, Tensor]

    @property
    def chains(self) -> int:
        """Number of chains."""
        return len(next(iter(self.weights.values())))

    @torch.no_grad()
    def outputs(self, x: Tensor) -> Iterator[Tensor]:
        """Outputs ``[draws, N, K]`` of each chain, in float64 from there on, for inputs ``x`` ``[N, ...]``."""
        x = x.to(next(iter(self.weights.values())).dtype)
        networks = vmap(lambda weights: functional_call(self.network, weights, (x,)), chunk_size=50)
        for chain in range(self.chains):
            yield networks({name: w[chain] for name, w in self.weights.items()}).double()


@dataclass(frozen=True)
class Predictive:
    """Predictive distributions of single chains, and traces of single networks."""

    by_chain: dict[str, np.ndarray]
    """By set: probabilities ``[chains, N, K]``."""
    traces: dict[str, np.ndarray]
    """By set: quantities that are predicted for some of its inputs, ``[chains, draws, quantities]``."""
    described: dict[str, np.ndarray]
    """Arrays that the reference has beside the probabilities."""

    def arrays(self) -> dict[str, np.ndarray]:
        """What a reference consists of: see ``bbh_bench.evaluation.fidelity``."""
        return {name: chains.mean(axis=0) for name, chains in self.by_chain.items()} | self.described


def of_classification(draws: Draws, loaded: LoadedClassification) -> Predictive:
    """Class probabilities of the test set and of every OOD set."""
    sets = {"test": loaded.data.test[0]} | {f"ood/{name}": x for name, x in loaded.data.ood.items()}
    by_chain, traces = {}, {}
    for name, x in sets.items():
        traced = np.linspace(0, len(x) - 1, TRACED).astype(int)
        means, parts = [], []
        for outputs in draws.outputs(x):
            probs = outputs.softmax(-1)
            means.append(probs.mean(0).numpy())
            parts.append(probs[:, traced].flatten(1).numpy())
        by_chain[name], traces[name] = np.stack(means), np.stack(parts)
    return Predictive(by_chain, traces, {})


def of_regression(draws: Draws, loaded: LoadedRegression) -> Predictive:
    """Probabilities of intervals of the target, at points inside and outside the range of the training inputs."""
    grid, noise = loaded.data.grid[::EVERY], loaded.task.noise
    outputs = np.stack([o.squeeze(-1).numpy() for o in draws.outputs(torch.from_numpy(grid).unsqueeze(1))])
    low, high = outputs.min() - TAILS * noise, outputs.max() + TAILS * noise
    edges = np.arange(low, high, noise / INTERVALS_PER_NOISE)
    inside = (grid >= loaded.data.x.min()) & (grid <= loaded.data.x.max())
    by_chain, traces, described = {}, {}, {"edges": edges}
    for name, where in {"inside": inside, "outside": ~inside}.items():
        by_chain[name] = np.stack([interval_probabilities(chain[:, where], noise, edges) for chain in outputs])
        traces[name] = outputs[:, :, where]
        described[f"{name}/x"] = grid[where]
    return Predictive(by_chain, traces, described)
