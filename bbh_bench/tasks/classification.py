"""Classification tasks. A data set is one object of this kind; the posteriors of all methods are evaluated in the same way."""

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from bbh_bench.api import (
    Architecture,
    Arrays,
    Attack,
    Augmentation,
    Augmented,
    Categorical,
    Metric,
    OodDetector,
    Posterior,
    Problem,
    Scored,
    Stage,
    TaskDescription,
    is_differentiable,
)
from bbh_bench.attacks import evaluate as attacks
from bbh_bench.attacks.access import NO_GRADIENTS, NOT_ATTACKED, REMEDY, without_gradients
from bbh_bench.attacks.audit import audit
from bbh_bench.attacks.builtin import (
    ADAPTIVE_L2,
    ADAPTIVE_LINF,
    FGSM,
    GRID,
    NOISE_LINF,
    PAPER_FGSM,
    SQUARE_LINF,
    TRANSFER,
)
from bbh_bench.attacks.context import AttackContext
from bbh_bench.attacks.robustness import directions, robustness
from bbh_bench.attacks.threat_model import threat_model
from bbh_bench.attacks.uncertainty import UncertaintyAttack
from bbh_bench.attacks.uncertainty import attacked as uncertainty_attacked
from bbh_bench.attacks.uncertainty_scores import DIRECTIONS as UNCERTAINTY_DIRECTIONS
from bbh_bench.attacks.uncertainty_scores import uncertainty_scores
from bbh_bench.errors import BenchError, BenchWarning, ContractError
from bbh_bench.evaluation import classification, fidelity
from bbh_bench.evaluation.metrics import nll
from bbh_bench.evaluation.ood_scores import scored
from bbh_bench.evaluation.predictive import decode, predict
from bbh_bench.evaluation.stored import TEST, ood_prefix, store_labels, store_shift, under
from bbh_bench.records.identity import describe
from bbh_bench.tasks.expected import EvaluationSets, faults
from bbh_bench.tasks.networks import on_device
from bbh_bench.tasks.reference import Reference, stated_prior, stated_reference
from bbh_bench.tasks.shifts import Shift, Shifted

VALIDATION = "validation"
EVALUATION = 3
"""Raise it when ``evaluate`` or ``score`` could give other scores."""

FEW = 100
"""Images of the most expensive attacks."""
ATTACKS = (
    ADAPTIVE_LINF,
    replace(FGSM, epsilons=GRID),
    replace(PAPER_FGSM, epsilons=GRID),
    NOISE_LINF,
    TRANSFER,
    replace(ADAPTIVE_L2, epsilons=(1.0, 2.0), images=FEW),
    SQUARE_LINF,
)
"""The attacks of a task that names none of its own, sized for MNIST: ``docs/threat-model.md`` explains the numbers."""
UNCERTAINTY = UncertaintyAttack(epsilons=(0.025, 0.05, 0.1), images=FEW)
"""The attack on the uncertainty of such a task."""


@dataclass(frozen=True)
class ImageData:
    """A data set on the CPU: images ``[N, C, H, W]`` in [0, 1], labels ``[N]``, and OOD images by the name of their set."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    ood: Mapping[str, Tensor]
    originals: Tensor | None = None
    """Training images as the task's augmentation takes them, ``[N, ...]``."""


class Source(Protocol):
    """Where a data set comes from."""

    def load(self, folder: Path) -> ImageData:
        """Read and check it. Raises ``DataError``."""
        ...

    def digests(self) -> Mapping[str, str]:
        """SHA-256 of each part that the data must have, known without reading them."""
        ...


@dataclass(frozen=True)
class ClassificationTask:
    """Classify images, be uncertain about other images, and resist attacks."""

    name: str
    title: str
    version: int
    source: Source = field(repr=False)
    network: Architecture = field(repr=False)
    classes: int
    epochs: int
    batch_size: int
    attacks: tuple[Attack, ...] = ATTACKS
    extra_attacks: tuple[Attack, ...] = ()
    """Attacks that a run adds. They are not part of the task's definition."""
    uncertainty: UncertaintyAttack | None = UNCERTAINTY
    """The attack on the uncertainty of test and OOD images, for posteriors with gradients. None: none."""
    samples: int = 100
    """Networks in the predictive distribution."""
    attacked: int = 1000
    """Number of test images that are attacked, stratified, the same for every method; all if there are fewer. An attack may
    name a smaller number."""
    bounds: tuple[float, float] = (0.0, 1.0)
    """Range of pixel values."""
    augmentation: Augmentation | None = None
    """Computes the inputs of a training step from ``ImageData.originals``. None: they are the training images themselves."""
    shifts: tuple[Shift, ...] = ()
    """Changes of the test images with increasing severity. They give curves beside the scores."""
    sets: EvaluationSets | None = None
    """How the test and OOD images are recognised in the stored arrays of others. None: they are not."""
    threads: int | None = None
    prior_scale: float | None = None
    """Standard deviation of the prior that every method uses, see ``api.Problem``. None: each method has its own."""
    reference: Reference | None = None
    """The predictive distribution of the exact posterior, with which those of all methods are compared. None: unknown."""
    headline: str = "test/nll"
    """A proper score. The error would not distinguish methods on a small test set."""

    def describe(self) -> TaskDescription:
        """See ``api.Task``."""
        augmentation = {} if self.augmentation is None else {"augmentation": describe(self.augmentation)}
        return TaskDescription(
            kind="classification",
            title=self.title,
            headline=self.headline,
            fit={
                "data": dict(self.source.digests()),
                "network": self.network.describe(),
                "classes": self.classes,
                "epochs": self.epochs,
                "batch_size": self.batch_size,
            }
            | augmentation
            | stated_prior(self.prior_scale),
            evaluation={
                "version": EVALUATION,
                "samples": self.samples,
                "attacked": self.attacked,
                "bounds": list(self.bounds),
                "shifts": [describe(shift) for shift in self.shifts],
                "uncertainty": None if self.uncertainty is None else describe(self.uncertainty),
            }
            | stated_reference(self.reference),
            attacks=self.attacks,
            extra_attacks=self.extra_attacks,
            threat_model=threat_model(self.bounds, self.samples),
            threads=self.threads,
        )

    def with_attacks(self, attacks: Iterable[Attack]) -> "ClassificationTask":
        """The same task with extra attacks. Those that it has already are not added."""
        own = {attack.name for attack in self.attacks}
        return replace(self, extra_attacks=tuple(attack for attack in attacks if attack.name not in own))

    def load(self, folder: Path) -> "LoadedClassification":
        """Read and check the data. Raises ``DataError``."""
        return LoadedClassification(self, self.source.load(folder))

    def faults(self, arrays: Arrays) -> list[str]:
        """See ``api.Recognised``."""
        return faults(self, arrays)

    def score(self, arrays: Arrays, metrics: Iterable[Metric]) -> Scored:
        """Scores of predictions, curves of attacks, and the audit, from stored arrays."""
        metrics = list(metrics)
        scores, curves = classification.score(arrays, metrics)
        under_attack, attack_curves = robustness(arrays)
        of_uncertainty, uncertainty_curves = uncertainty_scores(arrays)
        better = {metric.name: metric.better for metric in metrics} | directions(under_attack)
        better |= UNCERTAINTY_DIRECTIONS if of_uncertainty else {}
        if self.reference is not None:
            scores |= fidelity.of_classification(arrays, self.reference.load()) | self.reference.floors()
            better |= fidelity.DIRECTIONS
        return Scored(
            scores | under_attack | of_uncertainty, curves | attack_curves | uncertainty_curves, better, audit(arrays)
        )


@dataclass(frozen=True)
class LoadedClassification:
    """A classification task with its data in memory."""

    task: ClassificationTask
    data: ImageData

    def problem(self, device: torch.device) -> Problem:
        """Training images and labels on the device, and nothing of the test set."""
        x, y = self.data.train
        return Problem(
            x=x.to(device, copy=True),  # a method may change its copy; the next one gets another
            y=y.to(device, copy=True),
            network=partial(on_device, self.task.network, device),  # no reference to the test data
            likelihood=Categorical(self.task.classes),
            epochs=self.task.epochs,
            batch_size=self.task.batch_size,
            augmented=self._augmented(device),
            prior_scale=self.task.prior_scale,
        )

    def _augmented(self, device: torch.device) -> Augmented | None:
        augmentation, originals = self.task.augmentation, self.data.originals
        if augmentation is None:
            return None
        if originals is None:
            raise ContractError(
                f"the task '{self.task.name}' has an augmentation, but its source loads no `originals`."
            )
        return Augmented(originals.to(device, copy=True), augmentation)

    def evaluate(self, posterior: Posterior, device: torch.device, seed: int, stage: Stage) -> Arrays:
        """Predict the test and OOD sets with the same samples, then the shifted images; attack."""
        x, y = self.data.test
        arrays = store_labels(y)
        sets = {TEST: x} | {ood_prefix(name): images for name, images in self.data.ood.items()}
        with stage("predict", images=sum(map(len, sets.values()))):
            networks = posterior.sample(self.task.samples)
            for name, images in sets.items():
                arrays |= under(name, predict(networks, images, device, self.task.classes))
        if isinstance(posterior, OodDetector):
            with stage("ood_score", images=sum(map(len, sets.values()))):
                for name, images in sets.items():
                    arrays |= under(name, scored(posterior, images, device))
        for shift in self.task.shifts:
            arrays |= self._shift(shift, posterior, device, stage)
        return arrays | self._attack(posterior, device, seed, stage)

    def validation_nll(self, posterior: Posterior, device: torch.device, stage: Stage) -> float:
        """See ``api.Validated``. As many networks are averaged as for the test set."""
        x, y = self.data.validation
        if len(x) == 0:
            raise BenchError(f"Task '{self.task.name}' has no validation images. Choose another task.")
        with stage("validate", images=len(x)):
            predicted = predict(posterior.sample(self.task.samples), x, device, self.task.classes)
        return nll(decode(under(VALIDATION, predicted), VALIDATION), y.numpy())

    def _attack(self, posterior: Posterior, device: torch.device, seed: int, stage: Stage) -> Arrays:
        """By all attacks; without gradients, by those that need none, with a warning. Nothing if none is left."""
        x, y = self.data.test
        all_attacks = [*self.task.attacks, *self.task.extra_attacks]
        gradients = is_differentiable(posterior) and attacks.gradients_reach_inputs(posterior, x[:1].to(device))
        if not gradients:
            all_attacks = without_gradients(all_attacks)
            text = NO_GRADIENTS if all_attacks else NOT_ATTACKED
            if is_differentiable(posterior):
                warnings.warn(f"{text}. {REMEDY}", BenchWarning, stacklevel=2)
            elif all_attacks:
                warnings.warn(text, BenchWarning, stacklevel=2)
        if not all_attacks:
            return {}
        task = self.task
        context = AttackContext(x, y, task.classes, task.bounds, task.samples, task.attacked, device)
        problem = partial(self.problem, device)
        arrays = attacks.attacked(context, posterior, all_attacks, problem, seed, stage)
        if gradients and task.uncertainty is not None:
            arrays |= uncertainty_attacked(context, posterior, self.data.ood, task.uncertainty, stage)
        return arrays | attacks.shared(context, task.attacks)

    def _shift(self, shift: Shift, posterior: Posterior, device: torch.device, stage: Stage) -> Arrays:
        """Predict the images at all values with the same samples. Changing the images is in no stage: it costs no method."""
        shifted = _shifted(shift, self.data.test, stage)
        images = shifted.images.flatten(0, 1)
        with stage(f"shift/{shift.name}", images=len(images)):
            predicted = predict(posterior.sample(self.task.samples), images, device, self.task.classes)
        return store_shift(shift.name, shift.axis, shift.values, shifted.labels, predicted)


def _shifted(shift: Shift, test: tuple[Tensor, Tensor], stage: Stage) -> Shifted:
    """The changed test images, computed by the first cell that needs them."""

    def compute() -> Arrays:
        shifted = shift.apply(*test)
        labels = {} if shifted.labels is None else {"labels": shifted.labels.numpy()}
        return {"images": shifted.images.numpy()} | labels

    arrays = stage.shared(json.dumps({"shift": describe(shift)}, sort_keys=True), compute)
    labels = torch.from_numpy(arrays["labels"]) if "labels" in arrays else None
    return Shifted(torch.from_numpy(arrays["images"]), labels)
