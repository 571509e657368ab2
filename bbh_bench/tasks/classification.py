"""Classification tasks: a data set is one object of this kind, and every posterior is judged in the same way."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bbh_bench import scoring
from bbh_bench.api import Arrays, Attack, Categorical, Curves, Metric, Posterior, Problem, Scores, Stage
from bbh_bench.attacks import Fgsm
from bbh_bench.data import stratified
from bbh_bench.networks import on_device
from bbh_bench.predictive import predict
from bbh_bench.record import describe
from bbh_bench.shifts import Shift, Shifted
from bbh_bench.threat import craft

EVALUATION = 1  # goes up when `evaluate` or `scoring.classification` could give another score


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
    attacks: tuple[Attack, ...] = (Fgsm(),)
    extra: tuple[Attack, ...] = ()
    """Attacks that a run asks for beyond the task's own; no part of its definition."""
    draws: int = 100
    """Networks in the predictive."""
    attacked: int = 1000
    """Test images attacked, stratified, the same for every method; all where there are fewer."""
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
        """See ``bbh_bench.scoring.classification``."""
        return scoring.classification(arrays, metrics)


@dataclass(frozen=True)
class LoadedClassification:
    """A classification task with its data in memory."""

    task: ClassificationTask
    data: ImageData
    shifted: Mapping[str, Shifted]

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
                arrays |= _under(name, predict(networks, images, device, self.task.classes))
        for shift in self.task.shifts:
            arrays |= _under(f"shift/{shift.name}", self._shift(shift, posterior, device, stage))
        if getattr(posterior, "differentiable", True):
            chosen = stratified(y, self.task.attacked)
            for attack in self.task.all_attacks:
                arrays |= _under(
                    f"attack/{attack.name}", self._attack(attack, posterior, x[chosen], y[chosen], device, stage)
                )
        return arrays

    def _shift(self, shift: Shift, posterior: Posterior, device: torch.device, stage: Stage) -> Arrays:
        """Predict the images at all values with the same draws; the axis is the name of its values."""
        shifted = self.shifted[shift.name]
        arrays: Arrays = {f"axis/{shift.axis}": np.array(shift.values)}
        if shifted.labels is not None:
            arrays["labels"] = shifted.labels.numpy().astype(np.uint8)
        images = shifted.images.flatten(0, 1)
        with stage(f"shift/{shift.name}", images=len(images)):
            return arrays | predict(posterior.sample(self.task.draws), images, device, self.task.classes)

    def _attack(
        self, attack: Attack, posterior: Posterior, x: Tensor, y: Tensor, device: torch.device, stage: Stage
    ) -> Arrays:
        """Craft on the attacker's own draws, judge on fresh ones."""
        with stage(f"attack/{attack.name}", images=len(x)):
            crafted = craft(attack, posterior.sample(attack.draws), x, y, self.task.bounds, device)
        arrays: Arrays = {"labels": y.numpy().astype(np.uint8), "epsilons": np.array(attack.epsilons)}
        with stage(f"judge/{attack.name}", images=len(x) * len(crafted)):
            networks = posterior.sample(self.task.draws)
            for k, images in enumerate(crafted):
                arrays |= _under(str(k), predict(networks, images, device, self.task.classes))
        return arrays


def _under(prefix: str, arrays: Arrays) -> Arrays:
    return {f"{prefix}/{key}": array for key, array in arrays.items()}
