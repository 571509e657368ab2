"""Regression tasks on a line: fit a function to noisy points, and be uncertain where there are none."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bbh_bench.api import (
    Architecture,
    Arrays,
    Attack,
    Gaussian,
    Metric,
    Posterior,
    Problem,
    Scored,
    Stage,
    TaskDescription,
)
from bbh_bench.data import check_open, digest
from bbh_bench.errors import BenchError, ContractError
from bbh_bench.evaluation import fidelity, regression
from bbh_bench.evaluation.stored import StoredRegression
from bbh_bench.tasks.networks import on_device
from bbh_bench.tasks.reference import Reference, stated_prior, stated_reference

EVALUATION = 1
"""Raise it when ``evaluate`` or ``score`` could give other scores."""
DECIMALS = 9
"""Of the data that identify a task."""


@dataclass(frozen=True)
class LineData:
    """Training points ``[N]``, and a grid ``[G]`` with the true function ``[G]`` and R noisy observations ``[R, G]`` of it."""

    x: np.ndarray
    y: np.ndarray
    grid: np.ndarray
    truth: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class RegressionTask:
    """Fit a function of one variable under normal noise of known standard deviation."""

    name: str
    title: str
    version: int
    data: Callable[[], LineData] = field(repr=False)
    """Returns the same data at every call."""
    network: Architecture = field(repr=False)
    noise: float
    """Standard deviation of the targets."""
    epochs: int
    batch_size: int
    samples: int = 100
    """Networks in the predictive distribution."""
    threads: int | None = 1
    prior_scale: float | None = None
    """Standard deviation of the prior that every method uses, see ``api.Problem``. None: each method has its own."""
    reference: Reference | None = None
    """The predictive distribution of the exact posterior, with which those of all methods are compared. None: unknown."""
    headline: str = "inside/nll"

    def describe(self) -> TaskDescription:
        """See ``api.Task``."""
        data = self.data()
        parts = [data.x, data.y, data.grid, data.truth, data.targets]
        # Rounded: the last bits of powers differ between processors. Adding 0 makes -0 and 0 the same.
        rounded = [np.round(part, DECIMALS) + 0.0 for part in parts]
        return TaskDescription(
            kind="regression",
            title=self.title,
            headline=self.headline,
            fit={
                "data": digest(rounded),
                "network": self.network.describe(),
                "noise": self.noise,
                "epochs": self.epochs,
                "batch_size": self.batch_size,
            }
            | stated_prior(self.prior_scale),
            evaluation={"version": EVALUATION, "samples": self.samples} | stated_reference(self.reference),
            threads=self.threads,
        )

    def with_attacks(self, attacks: Iterable[Attack]) -> "RegressionTask":
        """Raises ``BenchError``: a regression is not attacked."""
        names = ", ".join(attack.name for attack in attacks)
        raise BenchError(
            f"--attack {names}: the task '{self.name}' is a regression, which is not attacked. Choose other tasks."
        )

    def load(self, folder: Path) -> "LoadedRegression":
        """Create the data; ``folder`` is not used."""
        check_open(self.name)
        return LoadedRegression(self, self.data())

    def score(self, arrays: Arrays, metrics: Iterable[Metric]) -> Scored:
        """See ``evaluation.regression``. Metrics of classifications do not apply."""
        scores, curves = regression.score(arrays)
        better = dict(regression.DIRECTIONS)
        if self.reference is not None:
            scores |= fidelity.of_regression(arrays, self.reference.load()) | self.reference.floors()
            better |= fidelity.DIRECTIONS
        return Scored(scores, curves, better)


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
            prior_scale=self.task.prior_scale,
        )

    def evaluate(self, posterior: Posterior, device: torch.device, seed: int, stage: Stage) -> Arrays:
        """What n frozen networks predict along the grid. Raises ``ContractError`` for a wrong shape or values not finite."""
        grid = torch.from_numpy(self.data.grid).float().unsqueeze(1).to(device)
        with stage("predict", images=len(grid)), torch.no_grad():
            outputs = posterior.sample(self.task.samples)(grid)
        shape = list(outputs.shape)
        if len(shape) != 3 or shape[0] == 0 or shape[1:] != [len(grid), 1]:
            raise ContractError(f"the posterior's networks returned the shape {shape}; it must be [n, {len(grid)}, 1].")
        if not outputs.isfinite().all():
            raise ContractError(
                "the posterior's networks returned values that are not finite: the training has diverged."
            )
        return StoredRegression(
            train_x=self.data.x,
            train_y=self.data.y,
            grid=self.data.grid,
            truth=self.data.truth,
            targets=self.data.targets,
            outputs=outputs.squeeze(-1).cpu().numpy(),
            noise=self.task.noise,
        ).arrays()
