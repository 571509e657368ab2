"""Regression tasks on a line: fit a function from noisy points, and be uncertain where there are none."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bbh_bench.api import Arrays, Curves, Gaussian, Metric, Posterior, Problem, Scores, Stage
from bbh_bench.data import check_open, digest
from bbh_bench.errors import ContractError
from bbh_bench.evaluation import scoring
from bbh_bench.tasks.networks import on_device

EVALUATION = 1  # goes up when `evaluate` or `scoring.regression` could give another score


@dataclass(frozen=True)
class LineData:
    """Training points ``[N]``, and a grid ``[G]`` with the true function and R noisy observations ``[R, G]`` of it."""

    x: np.ndarray
    y: np.ndarray
    grid: np.ndarray
    truth: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class RegressionTask:
    """Learn a function of one variable under normal noise of a known deviation."""

    name: str
    title: str
    version: int
    make: Callable[[], LineData] = field(repr=False)
    network: Callable[[], nn.Module] = field(repr=False)
    noise: float
    epochs: int
    batch_size: int
    draws: int = 100
    """Networks in the predictive."""
    threads: int | None = 1
    headline: str = "inside/nll"

    def specification(self) -> dict[str, object]:
        """All that scores depend on, as JSON values."""
        data = self.make()
        with torch.device("meta"):  # the architecture alone: no memory, no random numbers
            network = str(self.network())
        return {
            "name": self.name,
            "version": self.version,
            "evaluation": EVALUATION,
            "data": digest([data.x, data.y, data.grid, data.truth, data.targets]),
            "network": network,
            "noise": self.noise,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "draws": self.draws,
        }

    def load(self, folder: Path) -> "LoadedRegression":
        """Make the data; ``folder`` isn't used."""
        check_open(self.name)
        return LoadedRegression(self, self.make())

    def score(self, arrays: Arrays, metrics: Iterable[Metric]) -> tuple[Scores, Curves]:
        """See ``bbh_bench.evaluation.scoring.regression``; metrics of classifications don't apply."""
        return scoring.regression(arrays)


@dataclass(frozen=True)
class LoadedRegression:
    """A regression task with its data in memory."""

    task: RegressionTask
    data: LineData

    def problem(self, device: torch.device) -> Problem:
        """The training points on the device."""
        return Problem(
            x=torch.from_numpy(self.data.x).float().unsqueeze(1).to(device),
            y=torch.from_numpy(self.data.y).float().to(device),
            network=partial(on_device, self.task.network, device),
            likelihood=Gaussian(self.task.noise),
            epochs=self.task.epochs,
            batch_size=self.task.batch_size,
        )

    def evaluate(self, posterior: Posterior, device: torch.device, stage: Stage) -> Arrays:
        """What n frozen networks predict along the grid. Raises ``ContractError`` for another shape, or not finite."""
        grid = torch.from_numpy(self.data.grid).float().unsqueeze(1).to(device)
        with stage("predict", images=len(grid)), torch.no_grad():
            outputs = posterior.sample(self.task.draws)(grid)
        shape = list(outputs.shape)
        if len(shape) != 3 or shape[0] == 0 or shape[1:] != [len(grid), 1]:
            raise ContractError(
                f"the posterior's networks answered with shape {shape}; it must be [n, {len(grid)}, 1]."
            )
        if not outputs.isfinite().all():
            raise ContractError("the posterior's networks gave outputs that aren't finite: the training has diverged.")
        return {
            "train/x": self.data.x,
            "train/y": self.data.y,
            "grid/x": self.data.grid,
            "grid/truth": self.data.truth,
            "grid/targets": self.data.targets.astype(np.float32),
            "grid/outputs": outputs.squeeze(-1).cpu().numpy(),
            "noise": np.array(self.task.noise),
        }
