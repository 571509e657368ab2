"""Classification tasks: a data set is one object of this kind, and every posterior is judged in the same way."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bbh_bench.api import Arrays, Attack, Categorical, Check, Curves, Metric, Posterior, Problem, Scores, Stage
from bbh_bench.attacks.algorithms import GRID, PGD_L2, PGD_LINF, Boundary, Fgsm, NoiseLinf, PaperFgsm, Transfer
from bbh_bench.attacks.audit import audit
from bbh_bench.attacks.evaluate import Surrogates, Terrain, attacked, shared, under
from bbh_bench.attacks.threat_model import Crafted, threat_model
from bbh_bench.evaluation import scoring
from bbh_bench.evaluation.predictive import predict
from bbh_bench.records.record import describe
from bbh_bench.tasks.networks import on_device
from bbh_bench.tasks.shifts import Shift, Shifted

EVALUATION = 2  # goes up when `evaluate` or `scoring.classification` could give another score


ATTACKS = (
    PGD_LINF,
    Fgsm(epsilons=GRID),
    PaperFgsm(epsilons=GRID),
    NoiseLinf(),
    Transfer(),
    replace(PGD_L2, epsilons=(1.0, 2.0)),
    Boundary(epsilons=(1.0, 2.0), steps=150),
)
"""What a task attacks with unless it says otherwise, sized for MNIST: ``docs/threat-model.md`` has the arithmetic."""


@dataclass(frozen=True)
class ImageData:
    """A loaded data set on the CPU: images ``[N, C, H, W]`` in [0, 1] and labels ``[N]``; outliers by name."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    outliers: Mapping[str, Tensor]


class Source(Protocol):
    """Where a data set comes from."""

    def load(self, folder: Path) -> ImageData:
        """Read and check it. Raises ``DataError``."""
        ...

    def digests(self) -> Mapping[str, str]:
        """What the data must be, known without reading them: SHA-256 by part."""
        ...


@dataclass(frozen=True)
class ClassificationTask:
    """Learn the classes of images, be uncertain about other images, and withstand attacks."""

    name: str
    title: str
    version: int
    source: Source = field(repr=False)
    network: Callable[[], nn.Module] = field(repr=False)
    classes: int
    epochs: int
    batch_size: int
    attacks: tuple[Attack, ...] = ATTACKS
    extra: tuple[Attack, ...] = ()
    """Attacks that a run asks for beyond the task's own; no part of its definition."""
    draws: int = 100
    """Networks in the predictive."""
    attacked: int = 1000
    """Test images attacked, stratified, the same for every method; all where there are fewer. An attack may take fewer."""
    bounds: tuple[float, float] = (0.0, 1.0)
    shifts: tuple[Shift, ...] = ()
    """Test images changed by degrees: curves beside the scores."""
    threads: int | None = None
    headline: str = "test/nll"
    """A proper score of the predictive, not the error, which a small test set can't tell apart."""

    @property
    def all_attacks(self) -> tuple[Attack, ...]:
        """Its own, and those that the run asks for."""
        return (*self.attacks, *self.extra)

    def with_attacks(self, attacks: Iterable[Attack]) -> "ClassificationTask":
        """The same task, attacked by these as well."""
        own = {attack.name for attack in self.attacks}
        return replace(self, extra=tuple(attack for attack in attacks if attack.name not in own))

    def specification(self) -> dict[str, object]:
        """All that scores depend on, as JSON values."""
        with torch.device("meta"):  # the architecture alone: no memory, no random numbers
            network = str(self.network())
        shifts = {"shifts": [describe(shift) for shift in self.shifts]} if self.shifts else {}
        return shifts | {
            "name": self.name,
            "version": self.version,
            "evaluation": EVALUATION,
            "data": dict(self.source.digests()),
            "network": network,
            "classes": self.classes,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "attacks": [describe(attack) for attack in self.attacks],
            "draws": self.draws,
            "attacked": self.attacked,
            "bounds": list(self.bounds),
        }

    def load(self, folder: Path) -> "LoadedClassification":
        """Read and check the data, and change test images as the shifts say. Raises ``DataError``."""
        data = self.source.load(folder)
        return LoadedClassification(self, data, {shift.name: shift.apply(*data.test) for shift in self.shifts})

    def score(self, arrays: Arrays, metrics: Iterable[Metric]) -> tuple[Scores, Curves]:
        """See ``bbh_bench.evaluation.scoring.classification``."""
        return scoring.classification(arrays, metrics)

    def audit(self, arrays: Arrays) -> dict[str, Check]:
        """See ``bbh_bench.attacks.audit``."""
        return audit(arrays)

    @property
    def threat_model(self) -> dict[str, object]:
        """What its attackers know and may do, for the record."""
        return threat_model(self.bounds, self.draws)


@dataclass(frozen=True)
class LoadedClassification:
    """A classification task with its data in memory."""

    task: ClassificationTask
    data: ImageData
    shifted: Mapping[str, Shifted]
    transferred: dict[tuple[str, int], tuple[Crafted, np.ndarray]] = field(default_factory=dict, repr=False)
    """What ``Surrogates`` keep from cell to cell."""

    def problem(self, device: torch.device) -> Problem:
        """Training images and labels on the device, and nothing of the test set."""
        x, y = self.data.train
        return Problem(
            x=x.to(device, copy=True),  # a method may spoil its copy; the next one gets another
            y=y.to(device, copy=True),
            network=partial(on_device, self.task.network, device),  # holds no reference to the test data
            likelihood=Categorical(self.task.classes),
            epochs=self.task.epochs,
            batch_size=self.task.batch_size,
        )

    def evaluate(self, posterior: Posterior, device: torch.device, stage: Stage) -> Arrays:
        """Predict the test and outlier sets with the same draws, then shifted images; attack where gradients flow."""
        x, y = self.data.test
        arrays: Arrays = {"test/labels": y.numpy().astype(np.uint8)}
        sets = {"test": x} | {f"outlier/{name}": images for name, images in self.data.outliers.items()}
        with stage("predict", images=sum(map(len, sets.values()))):
            networks = posterior.sample(self.task.draws)
            for name, images in sets.items():
                arrays |= under(name, predict(networks, images, device, self.task.classes))
        for shift in self.task.shifts:
            arrays |= under(f"shift/{shift.name}", self._shift(shift, posterior, device, stage))
        if getattr(posterior, "differentiable", True):
            terrain = self._terrain(device)
            surrogates = Surrogates(partial(self.problem, device), self.transferred)
            arrays |= attacked(terrain, posterior, self.task.all_attacks, surrogates, stage)
            arrays |= shared(terrain, self.task.attacks)
        return arrays

    def _terrain(self, device: torch.device) -> Terrain:
        task = self.task
        return Terrain(*self.data.test, task.classes, task.bounds, task.draws, task.attacked, device)

    def _shift(self, shift: Shift, posterior: Posterior, device: torch.device, stage: Stage) -> Arrays:
        """Predict the images at all values with the same draws; the axis is the name of its values."""
        shifted = self.shifted[shift.name]
        arrays: Arrays = {f"axis/{shift.axis}": np.array(shift.values)}
        if shifted.labels is not None:
            arrays["labels"] = shifted.labels.numpy().astype(np.uint8)
        images = shifted.images.flatten(0, 1)
        with stage(f"shift/{shift.name}", images=len(images)):
            return arrays | predict(posterior.sample(self.task.draws), images, device, self.task.classes)
