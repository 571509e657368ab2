"""The contracts between the suite and its plugins: what a plugin provides, and what it is given.

A method returns a posterior. ``posterior.sample(n)`` freezes n networks as one differentiable function from inputs to logits.
Prediction, attacks and scores use that function and nothing else, so that all methods are treated alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from bbh_bench.posterior import OodDetector as OodDetector
from bbh_bench.posterior import Posterior as Posterior
from bbh_bench.posterior import PredictFn as PredictFn
from bbh_bench.posterior import is_differentiable as is_differentiable
from bbh_bench.problem import Augmentation as Augmentation
from bbh_bench.problem import Augmented as Augmented
from bbh_bench.problem import Batches as Batches
from bbh_bench.problem import Categorical as Categorical
from bbh_bench.problem import Gaussian as Gaussian
from bbh_bench.problem import Likelihood as Likelihood
from bbh_bench.problem import Problem as Problem
from bbh_bench.problem import Stateful as Stateful
from bbh_bench.records.identity import describe, fingerprint
from bbh_bench.records.record import Check, Direction
from bbh_bench.search_space import Choices as Choices
from bbh_bench.search_space import LogUniform as LogUniform
from bbh_bench.search_space import OneOf as OneOf
from bbh_bench.search_space import Uniform as Uniform


class Method(Protocol):
    """Fits a posterior. Write it as a frozen dataclass: its fields are its hyperparameters, and are recorded."""

    @property
    def name(self) -> str:
        """Lower-case letters, digits, hyphens and underscores: the name of its row and of the folder of its records."""
        ...

    @property
    def version(self) -> int:
        """Raise it when the same hyperparameters could give another posterior."""
        ...

    def fit(self, problem: Problem) -> Posterior:
        """Fit to the problem's data within its budget. Use torch's global random generator only."""
        ...


@runtime_checkable
class Searchable(Protocol):
    """A method whose hyperparameters ``bbh-bench tune`` can search. Optional."""

    def search_space(self) -> Mapping[str, Choices]:
        """The values that may be tried, by the name of the field. ``base.lr`` is the field ``lr`` of the field ``base``.

        What belongs to the model, such as the prior, is not searched: all methods have the same.
        """
        ...


@runtime_checkable
class Preparable(Protocol):
    """A method whose library takes seconds to import. Optional."""

    def prepare(self) -> None:
        """Import what ``fit`` uses, before its clock starts. It gets no data, and random numbers are seeded after it."""
        ...


@dataclass(frozen=True)
class Architecture:
    """A network, identified by its name, its version and the shapes of its parameters."""

    name: str
    version: int
    """Raise it when the same weights could give other outputs."""
    build: Callable[[], nn.Module]
    """Returns a newly initialised network."""

    def describe(self) -> dict[str, object]:
        """Its identity, as JSON values. Layers without parameters do not change it."""
        with torch.device("meta"):  # shapes only: no memory, no random numbers
            shapes = [list(weight.shape) for weight in self.build().parameters()]
        return {"name": self.name, "version": self.version, "parameters": shapes}


Norm: TypeAlias = Literal["linf", "l2"]
Access: TypeAlias = Literal["white", "black", "transfer"]
RunAttack: TypeAlias = Callable[..., tuple[Any, list[Tensor], Any]]
"""Called as a Foolbox attack: ``run(model, inputs, labels, epsilons=[...])``. The second part of its result is the list of
adversarial examples, one tensor ``[B, ...]`` for each epsilon. ``model(inputs)`` gives the log of the mean probabilities
``[B, K]``, ``model.networks(inputs)`` the logits of the attacker's samples ``[n, B, K]``. ``model.bounds`` is the range of
pixel values."""


class AttackAlgorithm(ABC):
    """How adversarial examples are crafted. Write it as a frozen dataclass: its fields are recorded."""

    @property
    def minimises(self) -> bool:
        """Whether it searches for the smallest perturbation that changes the class.

        It is then called with ``epsilons=[None]``, and the perturbation that it finds is scaled to each epsilon.
        """
        return False

    @property
    def groups(self) -> int:
        """Number of groups into which the attacker's samples are divided: ``model.networks.groups``.

        An attack that computes each gradient from another group cannot adapt to single networks. A field of the same name may
        take the place of this property.
        """
        return 1

    @property
    def checks(self) -> int:
        """Number of further samples, ``model.networks.check``, on which the attack looks for what is still correct. May be 0.

        With them, the attack is also run on the *known* networks, those that decide. It is then called with the result on
        unknown networks as ``starting_points``: images ``[B, ...]`` for each epsilon.
        """
        return 0

    @abstractmethod
    def foolbox(self, norm: Norm) -> RunAttack:
        """A Foolbox attack, or a function that is called in the same way."""

    def stronger(self) -> Mapping[str, "AttackAlgorithm"]:
        """Stronger variants by what is increased. The audit compares them with the attack. May be empty."""
        return {}


@dataclass(frozen=True)
class Attack:
    """A named, versioned setting of an attack algorithm, with what the attacker may do and know."""

    name: str
    version: int
    """Raise it when the same posterior could get another result."""
    norm: Norm
    """Norm in which ``epsilons`` are measured, over the pixels of an image, in units of pixel values."""
    epsilons: tuple[float, ...]
    """Sizes of the perturbation, increasing. 0 is allowed and means clean images."""
    algorithm: AttackAlgorithm
    samples: int = 16
    """Number of frozen networks that the attacker samples and computes its gradients from."""
    access: Access = "white"
    """What it uses: gradients of the posterior's networks, only their predictions, or the networks of another method."""
    images: int | None = None
    """Number of test images, stratified by class, the same for every method. None: as many as the task attacks by default."""
    surrogate: Method | None = None
    """Transfer attacks: the method whose networks are attacked instead, fitted to the same problem with the run's seed."""

    @property
    def description(self) -> str:
        """One line."""
        line = (self.algorithm.__doc__ or "").partition("\n")[0]
        return line if self.surrogate is None else f"{line} On the networks of {self.surrogate.name}, a surrogate."


Scope: TypeAlias = Literal["labelled", "inputs", "ood"]


@dataclass(frozen=True)
class Metric:
    """A score that is computed from stored predictions, for every set of the task that ``scope`` names.

    ``labelled``: ``compute(predictions, labels)``, on the test set. ``inputs``: ``compute(predictions)``, on the test set
    and on every OOD set. ``ood``: ``compute(test, ood)``, on every OOD set together with the test set. Predictions are
    ``bbh_bench.evaluation.predictive.Predictions``; labels are ``[N]``.
    """

    name: str
    scope: Scope
    better: Direction
    description: str
    """One line, with the unit."""
    compute: Callable[..., float]
    """Raises ``NotApplicable`` for predictions that have not what it needs, such as a method's own OOD score: the score is then
    absent from the record. Any other exception, and a value that is not finite, is a mistake of the metric."""


Scores: TypeAlias = dict[str, float]
"""Flat and unrounded: ``test/error``, ``ood/notmnist/auroc``, ``attack/fgsm/robust_accuracy_auc``."""

Curves: TypeAlias = dict[str, dict[str, list[float]]]
"""Named curves. Each has columns of equal length; the first column is the horizontal axis."""

Arrays: TypeAlias = dict[str, np.ndarray]
"""What a cell stores of its predictions. All scores are computed from it."""


@dataclass(frozen=True)
class Scored:
    """Everything that is computed from the stored arrays of one cell."""

    scores: Scores
    curves: Curves
    directions: Mapping[str, Direction]
    """Which values are better, by the last part of a score's name."""
    audit: Mapping[str, Check] = field(default_factory=dict)
    """Checks of the attacks, by name. Empty if there were none."""


class Stage(Protocol):
    """Opens a timed stage of a cell. The runner passes it to ``evaluate``."""

    def __call__(self, name: str, images: int = 0) -> AbstractContextManager[None]:
        """Seed the random generators from the run's seed and ``name``; add seconds and ``images`` to the stage's totals.

        Names: ``predict``, ``ood_score``, ``validate``, ``shift/<name>``, ``attack/<name>`` for crafting adversarial examples,
        ``evaluate/<name>`` for evaluating them on fresh samples, and ``surrogate/<name>`` for what is not part of the
        method's own cost.
        """
        ...

    def count(self, attack: str, forward: int, backward: int, images: int) -> None:
        """Add forward and backward passes, of single networks and images, to the cost of an attack on this many ``images``.

        The record has their number per image, ``attack/<attack>/forward_passes`` and ``attack/<attack>/backward_passes``.
        """
        ...

    def shared(self, key: str, compute: Callable[[], Arrays]) -> Arrays:
        """Arrays that do not depend on the method: ``compute()`` in the first cell that needs them, then read by the others.

        The runner adds the task's fingerprint, the device and the version of torch to ``key``. It must hold everything else
        that the arrays depend on, such as the run's seed.
        """
        ...


class LoadedTask(Protocol):
    """A task with its data in memory."""

    def problem(self, device: torch.device) -> Problem:
        """What a method may use: training data on the device, and no other data."""
        ...

    def evaluate(self, posterior: Posterior, device: torch.device, seed: int, stage: Stage) -> Arrays:
        """Predict and attack. The returned arrays are stored; ``seed`` is the run's."""
        ...


@runtime_checkable
class Validated(Protocol):
    """A loaded task with validation data, on which ``bbh-bench tune`` can choose hyperparameters. Optional."""

    def validation_nll(self, posterior: Posterior, device: torch.device, stage: Stage) -> float:
        """Mean negative log-likelihood of the validation data under the predictive distribution, in nats.

        It opens the stage ``validate``, and looks at no test or OOD data. Raises ``BenchError`` if there are no such data.
        """
        ...


@runtime_checkable
class Recognised(Protocol):
    """A task that knows which of the stored arrays follow from it, so that others cannot choose them. Optional."""

    def faults(self, arrays: Arrays) -> list[str]:
        """In what arrays are not those of a cell of the task, whatever its method: a phrase each. Needs no data."""
        ...


@dataclass(frozen=True)
class TaskDescription:
    """What a record stores of a task. All mappings hold JSON values."""

    kind: str
    """``classification``, ``regression``, or a name of your own: the leaderboard chooses its tables by it."""
    title: str
    """One line for a reader of the leaderboard."""
    headline: str
    """Name of the score by which methods are ranked, such as ``test/nll``."""
    fit: Mapping[str, object]
    """Everything that a fit depends on: digests of the data, architecture, likelihood, budget."""
    evaluation: Mapping[str, object]
    """Everything else that scores depend on."""
    attacks: tuple[Attack, ...] = ()
    """Those that belong to the task."""
    extra_attacks: tuple[Attack, ...] = ()
    """Those that this run adds. They are not part of the fingerprint."""
    threat_model: Mapping[str, object] | None = None
    threads: int | None = None
    """Number of processor threads that its network can use; None for all. A second thread slows a small network down."""


class Task(Protocol):
    """Data, a network, a budget and an evaluation. Write it as a frozen dataclass."""

    @property
    def name(self) -> str:
        """Lower-case letters, digits, hyphens and underscores."""
        ...

    @property
    def version(self) -> int:
        """Raise it when any score could change."""
        ...

    def describe(self) -> TaskDescription:
        """What records store of it. Must not need the data."""
        ...

    def with_attacks(self, attacks: Iterable[Attack]) -> "Task":
        """The same task with extra attacks. Raises ``BenchError`` if its posteriors cannot be attacked."""
        ...

    def load(self, folder: Path) -> LoadedTask:
        """Read and check the data, once per run. Raises ``DataError``."""
        ...

    def score(self, arrays: Arrays, metrics: Iterable[Metric]) -> Scored:
        """Compute scores from stored arrays only: no model, no data set, no random numbers."""
        ...


def task_fingerprint(task: Task, described: TaskDescription | None = None) -> str:
    """Hash of name, version and everything that the scores depend on. Two records are comparable if theirs are equal.

    ``described`` is what ``task.describe()`` returned, if the caller has it already.
    """
    described = described or task.describe()
    attacks = [describe(attack) for attack in described.attacks]
    parts = {"fit": describe(described.fit), "evaluation": describe(described.evaluation), "attacks": attacks}
    return fingerprint({"name": task.name, "version": task.version} | parts)
