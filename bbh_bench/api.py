"""The nouns of the suite: what a plugin brings and what it is given.

A method returns a posterior, ``posterior.sample(n)`` freezes n networks as one differentiable function, and everything
that is scored sees only that function.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Predict: TypeAlias = Callable[[Tensor], Tensor]
"""Inputs ``[B, ...]`` -> outputs of n frozen networks ``[n, B, K]``: logits, or the mean for regression.

The same inputs give the same outputs at every call, an image's outputs don't depend on the other images of the batch,
and the function is differentiable in its input unless its posterior says otherwise.
"""


class Posterior(Protocol):
    """What a method has learnt: a distribution over networks. Inherit for the default of ``differentiable``."""

    parameters: int
    """How many numbers were learnt and are kept for prediction: the size column of the leaderboard."""

    differentiable: bool = True
    """Whether gradients with respect to inputs flow. False spares the posterior from gradient attacks: it gets a dash."""

    def sample(self, n: int) -> Predict:
        """Freeze n draws, made with torch's global random generator, which the runner has seeded.

        A posterior with fewer networks than n (one, for a point estimate) returns those it has.
        """
        ...


class Likelihood(Protocol):
    """How well outputs explain targets."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Outputs ``[B, K]`` and targets ``[B]`` -> the batch's mean negative log-likelihood, a scalar, in nats."""
        ...


@dataclass(frozen=True)
class Categorical:
    """Classes: the outputs are logits ``[B, K]``, the targets class numbers ``[B]``."""

    classes: int

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy, averaged over the batch."""
        return F.cross_entropy(outputs, targets)


@dataclass(frozen=True)
class Gaussian:
    """A number with normal noise of a known standard deviation: the outputs are means ``[B, 1]``, the targets ``[B]``."""

    std: float

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Minus the log-density, with its constant, averaged over the batch."""
        error = (targets - outputs.squeeze(-1)) / self.std
        return error.square().mean() / 2 + math.log(self.std * math.sqrt(2 * math.pi))


def _silent(fraction: float, loss: float) -> None:
    pass


@dataclass(frozen=True)
class Problem:
    """All that a method may see: training data, an architecture, a likelihood and a budget. Test data aren't in it."""

    x: Tensor
    """Training inputs ``[N, ...]``, on the device the method is to use."""
    y: Tensor
    """Training targets ``[N]``."""
    network: Callable[[], nn.Module]
    """Makes a fresh network on that device, initialised with torch's global random generator.

    A plain module of standard layers; ``nn.Dropout(p=0)`` marks the places where a method may drop units.
    """
    likelihood: Likelihood
    epochs: int
    batch_size: int
    progress: Callable[[float, float], None] = _silent
    """Tells the runner the share of ``fit`` that is done, in [0, 1], and the current loss."""

    @property
    def steps(self) -> int:
        """How many batches one call of ``batches`` gives."""
        return self.epochs * -(-len(self.x) // self.batch_size)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole budget, shuffled anew every epoch. An ensemble takes it once a member, and pays for it in time."""
        for _ in range(self.epochs):
            for index in torch.randperm(len(self.x), device=self.x.device).split(self.batch_size):
                yield self.x[index], self.y[index]


class Method(Protocol):
    """Learns a posterior. Write it as a frozen dataclass: its fields are its hyperparameters, and are recorded."""

    @property
    def name(self) -> str:
        """Lower-case letters, digits and hyphens: the row's name and the folder of its records."""
        ...

    def fit(self, problem: Problem) -> Posterior:
        """Learn from the problem's data within its budget, with torch's global random generator alone."""
        ...


class Attack(Protocol):
    """A named, versioned setting of a Foolbox attack. Write it as a frozen dataclass.

    It may have the fields of ``Terms`` as well, which have defaults.
    """

    @property
    def name(self) -> str:
        """Lower-case letters, digits and hyphens."""
        ...

    @property
    def version(self) -> int:
        """Goes up when the same posterior could get another result."""
        ...

    @property
    def norm(self) -> Literal["linf", "l2"]:
        """The norm in which ``epsilons`` are measured, over an image's pixels, in units of the pixels."""
        ...

    @property
    def epsilons(self) -> tuple[float, ...]:
        """Budgets, rising. 0 is allowed and means the clean images."""
        ...

    @property
    def draws(self) -> int:
        """How many frozen draws the attacker takes its gradients from."""
        ...

    def foolbox(self) -> object:
        """The Foolbox attack, to be called as ``attack(model, inputs, labels, epsilons=...)``."""
        ...


@dataclass(frozen=True)
class Terms:
    """What an attack may say of itself as well: any of these, as fields of its own."""

    access: Literal["white", "black", "transfer"] = "white"
    """What it uses: gradients of the posterior's networks, their answers alone, or another method's networks."""
    images: int | None = None
    """How many test images it is run on, stratified, the same for every method; None for the task's ``attacked``."""
    minimises: bool = False
    """Whether it looks for the smallest perturbation. It is called with ``epsilons=[None]`` then; the perturbation that it
    finds is stretched, or shrunk, to each epsilon."""
    surrogate: Method | None = None
    """The method whose networks it attacks instead, fitted to the task's problem with random numbers of the run's seed."""

    @staticmethod
    def of(attack: Attack) -> "Terms":
        """Those of an attack, with the defaults of what it doesn't say."""
        said: dict[str, Any] = {field.name: getattr(attack, field.name, field.default) for field in fields(Terms)}
        return Terms(**said)


Scope: TypeAlias = Literal["labelled", "inputs", "outliers"]


@dataclass(frozen=True)
class Metric:
    """A number computed from stored predictions, for every set of the task that ``scope`` names.

    ``labelled``: ``compute(predictions, labels)``, on the test set. ``inputs``: ``compute(predictions)``, on the test set
    and every outlier set. ``outliers``: ``compute(test, outlier)``, on every outlier set against the test set.
    """

    name: str
    scope: Scope
    better: Literal["lower", "higher", "neither"]
    line: str
    """What it is, in one line, with its unit."""
    compute: Callable[..., float]


Scores: TypeAlias = dict[str, float]
"""Flat and unrounded: ``test/error``, ``outlier/notmnist/auroc``, ``attack/fgsm/accuracy_area``."""

Curves: TypeAlias = dict[str, dict[str, list[float]]]
"""Named curves, each a few columns of equal length: ``test/entropy_cdf`` has ``entropy`` and ``share``."""

Arrays: TypeAlias = dict[str, np.ndarray]
"""What a cell stores of its predictions, and all that its scores are computed from."""


@dataclass(frozen=True)
class Check:
    """One item of a record's audit: whether its figures of robustness mean what they seem to."""

    verdict: Literal["pass", "fail", "not applicable"]
    figure: float | None
    """What was measured, in ``unit``; None where the item doesn't apply."""
    limit: float | None
    """The most that passes."""
    unit: str
    line: str
    """What is measured, in one line."""


class Stage(Protocol):
    """Opens a timed part of a cell with random numbers of its own; the runner gives one to ``evaluate``."""

    def __call__(self, name: str, images: int = 0) -> AbstractContextManager[None]:
        """Seed on entry, and book the seconds spent inside, and the images they were spent on, under ``name``.

        Names: ``predict``, ``shift/<name>`` for a shift, ``attack/<name>`` and ``judge/<name>`` for an attack, and
        ``surrogate/<name>`` for what it needs that isn't of this method.
        """
        ...


class LoadedTask(Protocol):
    """A task with its data in memory."""

    def problem(self, device: torch.device) -> Problem:
        """The method's view: training data on the device, and no other."""
        ...

    def evaluate(self, posterior: Posterior, device: torch.device, stage: Stage) -> Arrays:
        """Predict and attack. The arrays are stored, and scores are computed from them as stored."""
        ...


class Task(Protocol):
    """What is learnt, with which network and budget, and how it is judged. Write it as a frozen dataclass."""

    @property
    def name(self) -> str:
        """Lower-case letters, digits and hyphens."""
        ...

    @property
    def version(self) -> int:
        """Goes up when any score could change."""
        ...

    @property
    def title(self) -> str:
        """One line for a reader of the leaderboard."""
        ...

    @property
    def headline(self) -> str:
        """The score by which rows are ordered, such as ``test/error``."""
        ...

    @property
    def threads(self) -> int | None:
        """How many processor threads its network can use; None for all. A small one waits for a second more than it gains."""
        ...

    def specification(self) -> Mapping[str, object]:
        """All that the scores depend on, data digests included, as JSON values: its hash is the task's fingerprint."""
        ...

    def load(self, folder: Path) -> LoadedTask:
        """Read and check the data in the data folder, once a run. Raises ``DataError``."""
        ...

    def score(self, arrays: Arrays, metrics: Iterable[Metric]) -> tuple[Scores, Curves]:
        """Scores and curves from stored arrays: no model, no data set, no random numbers.

        A task that attacks may also have ``audit(arrays)``, which gives the items of its audit, ``Check`` by name.
        """
        ...
