"""A plugin file, as ``--plugin`` takes it: a task whose cells take milliseconds, and methods that behave in various ways."""

import os
import signal
import sys
import time
import warnings
from dataclasses import dataclass

import torch
from torch import nn

from bbh_bench import BenchError, BenchWarning, Gaussian, Problem, hookimpl
from bbh_bench.acceleration import accelerated
from bbh_bench.api import Scored, TaskDescription


@dataclass(frozen=True)
class Line:
    """Fit a straight line to eight points."""

    name: str = "line"
    version: int = 1
    disk: str = "here"
    """Or ``gone``: then the data cannot be read."""

    def describe(self):
        return TaskDescription("line", "a straight line", "test/mse", fit={"points": 8}, evaluation={}, threads=1)

    def with_attacks(self, attacks):
        raise BenchError("a line is not attacked")

    def load(self, folder):
        if self.disk == "gone":
            raise OSError("the disk is gone")
        return LoadedLine()

    def score(self, arrays, metrics):
        error = (arrays["test/outputs"] - arrays["test/targets"]) ** 2
        return Scored({"test/mse": float(error.mean())}, {}, {"mse": "lower"})


class LoadedLine:
    """The eight points."""

    def problem(self, device):
        x = torch.linspace(-1, 1, 8, device=device).unsqueeze(1)
        return Problem(x, 2 * x.squeeze(1), lambda: nn.Linear(1, 1).to(device), Gaussian(0.1), epochs=5, batch_size=4)

    def evaluate(self, posterior, device, seed, stage):
        problem = self.problem(device)
        with stage("predict", 8), torch.no_grad():
            outputs = posterior.sample(4)(problem.x).mean(0).squeeze(1)
        return {"test/outputs": outputs.numpy(), "test/targets": problem.y.numpy()}


class OneNetwork:
    """A posterior of one network."""

    parameters = 2

    def __init__(self, network):
        self.network = network.requires_grad_(False)

    def sample(self, n):
        return lambda x: self.network(x).unsqueeze(0)


def fit(problem):
    network = problem.network()
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)
    for step, (x, y) in enumerate(problem.batches(), start=1):
        optimiser.zero_grad()
        loss = problem.likelihood(network(x), y)
        loss.backward()
        optimiser.step()
        problem.progress(step / problem.steps, loss.item())
    return OneNetwork(network)


@dataclass(frozen=True)
class Straight:
    """Gradient descent."""

    name: str = "straight"
    version: int = 1
    lr: float = 1e-3

    def fit(self, problem):
        return fit(problem)


@dataclass(frozen=True)
class Talking:
    """Prints while it fits."""

    name: str = "talking"
    version: int = 1

    def fit(self, problem):
        print("a whole line")
        for percent in (10, 100):
            print(f"\rprogress {percent} %", end="", flush=True)
        print("\nhalf a line", end="")
        print("an error message", file=sys.stderr)
        return fit(problem)


@dataclass(frozen=True)
class Warned:
    """Warns while it fits."""

    name: str = "warned"
    version: int = 1

    def fit(self, problem):
        warnings.warn("the fit is rough", BenchWarning, stacklevel=1)
        return fit(problem)


class Asked(OneNetwork):
    """Warns whether it is sampled with accelerations."""

    def sample(self, n):
        warnings.warn(f"accelerated in sample: {accelerated()}", BenchWarning, stacklevel=1)
        return super().sample(n)


@dataclass(frozen=True)
class Asking:
    """Warns whether it fits with accelerations."""

    name: str = "asking"
    version: int = 1

    def fit(self, problem):
        warnings.warn(f"accelerated in fit: {accelerated()}", BenchWarning, stacklevel=1)
        return Asked(fit(problem).network)


@dataclass(frozen=True)
class Broken:
    """Raises while it fits."""

    name: str = "broken"
    version: int = 1

    def fit(self, problem):
        raise TypeError("this fit does not work.\nA second line says more.")


@dataclass(frozen=True)
class Waiting:
    """Fits for long, and says so."""

    name: str = "waiting"
    version: int = 1
    seconds: float = 60.0

    def fit(self, problem):
        problem.progress(0.45, 1.0)
        print("waiting")
        time.sleep(self.seconds)
        return fit(problem)


@dataclass(frozen=True)
class Deadly:
    """Ends its whole process, by itself or by a signal."""

    name: str = "deadly"
    version: int = 1
    code: int = 7

    def fit(self, problem):
        if self.code < 0:
            os.kill(os.getpid(), -self.code)
        os._exit(self.code)


@hookimpl
def bbh_tasks():
    return [Line()]


@hookimpl
def bbh_methods():
    return [
        Straight(),
        Talking(),
        Warned(),
        Asking(),
        Broken(),
        Waiting(),
        Deadly(),
        Deadly("deadlier", code=-signal.SIGKILL),
    ]
