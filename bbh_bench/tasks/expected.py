"""What the stored arrays of a classification must be, whatever the method: it follows from the task.

Scores that are computed from arrays say nothing if the arrays can be chosen: with other labels, fewer images, larger epsilons
or without the strongest attack, any score is possible.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bbh_bench.api import Arrays, Attack
from bbh_bench.attacks.access import without_gradients
from bbh_bench.attacks.auditing import AUDITED, can_be_audited, stronger_variants
from bbh_bench.attacks.context import AttackContext
from bbh_bench.attacks.evaluate import shared
from bbh_bench.attacks.uncertainty import UncertaintyAttack
from bbh_bench.data import stratified
from bbh_bench.evaluation.predictive import OOD_SCORE
from bbh_bench.evaluation.stored import TEST, ood_prefix

if TYPE_CHECKING:
    from bbh_bench.tasks.classification import ClassificationTask

Wanted = dict[str, "np.ndarray | Form"]
"""By key: an array that is the same in every cell, or the form of one that the method decides."""
ROUNDING = 1e-3
"""By which a stored perturbation may exceed its epsilon, relative."""
LARGEST = float(np.finfo(np.float32).max)
"""Of the absolute values of scores, which are stored in single precision."""


@dataclass(frozen=True)
class Form:
    """Shape and type of an array, and the range of its values. None in a shape: any length."""

    shape: tuple[int | None, ...]
    dtype: str
    low: float = -np.inf
    high: float = np.inf

    def fault(self, array: np.ndarray) -> str:
        """What is wrong with an array; empty if nothing is."""
        same = array.ndim == len(self.shape) and all(
            n in (None, m) for n, m in zip(self.shape, array.shape, strict=True)
        )
        if not same or array.dtype != self.dtype:
            return f"is {array.dtype} {list(array.shape)} in place of {self.dtype} {list(self.shape)}"
        values = array.astype(float)
        if np.isnan(values).any() or (values < self.low).any() or (values > self.high).any():
            return f"has values outside [{self.low:g}, {self.high:g}]"
        return ""


@dataclass(frozen=True)
class EvaluationSets:
    """The images on which a task evaluates, as far as they can be recognised without the data."""

    labels: str
    """SHA-256 of the test labels as they are stored: uint8, in their order."""
    ood: Mapping[str, int]
    """Number of images of each OOD set."""
    optional: Mapping[str, int] = field(default_factory=dict)
    """The same of sets that are used only where the data folder has them."""


def faults(task: "ClassificationTask", arrays: Arrays) -> list[str]:
    """In what stored arrays are not those of a cell of the task: a phrase each, empty if nothing is wrong.

    For a task that does not name its sets, labels and OOD sets are taken as they are.
    """
    labels = arrays.get("test/labels")
    if labels is None or labels.dtype != np.uint8 or labels.ndim != 1 or len(labels) == 0:
        return ["the labels of the test images are missing, or are not uint8"]
    if task.sets is not None and hashlib.sha256(labels.tobytes()).hexdigest() != task.sets.labels:
        return ["the labels of the test images are not those of the data set"]
    if int(labels.max()) >= task.classes:
        return [f"a label of the test images is not below {task.classes}"]
    wanted = _predictions(task, arrays, len(labels)) | _attacks(task, arrays, torch.from_numpy(labels.astype(np.int64)))
    wrong = [f"{key} {fault}" for key, each in wanted.items() if (fault := _fault(arrays.get(key), each))]
    wrong += [f"{key} is nothing that this task stores" for key in arrays if key not in wanted and key != "test/labels"]
    return wrong


def _fault(array: np.ndarray | None, wanted: "np.ndarray | Form") -> str:
    if array is None:
        return "is missing"
    if isinstance(wanted, Form):
        return wanted.fault(array)
    return "" if array.dtype == wanted.dtype and np.array_equal(array, wanted) else "is not what the task says"


def _predicted(images: int | None, classes: int) -> Wanted:
    """Log odds relative to the most probable class, and mutual information."""
    return {
        "log_odds": Form((images, classes), "float16", high=0.0),
        "mutual_information": Form((images,), "float16", 0.0, np.log(classes) * (1 + ROUNDING)),
    }


def _under(prefix: str, wanted: Wanted) -> Wanted:
    return {f"{prefix}/{key}": each for key, each in wanted.items()}


def _ood(task: "ClassificationTask", arrays: Arrays) -> Mapping[str, int | None]:
    """Number of images of each OOD set."""
    stored = dict.fromkeys(key.split("/")[1] for key in arrays if key.startswith(ood_prefix("")))
    if task.sets is None:
        return dict.fromkeys(stored)
    return dict(task.sets.ood) | {name: n for name, n in task.sets.optional.items() if name in stored}


def _predictions(task: "ClassificationTask", arrays: Arrays, images: int) -> Wanted:
    sets: dict[str, int | None] = {TEST: images}
    sets |= {ood_prefix(name): n for name, n in _ood(task, arrays).items()}
    wanted: Wanted = {}
    for prefix, n in sets.items():
        wanted |= _under(prefix, _predicted(n, task.classes))
    if any(f"{prefix}/{OOD_SCORE}" in arrays for prefix in sets):  # then of all: a method has scores, or has none
        wanted |= {f"{prefix}/{OOD_SCORE}": Form((n,), "float32", -LARGEST, LARGEST) for prefix, n in sets.items()}
    for shift in task.shifts:
        prefix = f"shift/{shift.name}"
        wanted[f"{prefix}/axis/{shift.axis}"] = np.array(shift.values)
        if f"{prefix}/labels" in arrays:
            wanted[f"{prefix}/labels"] = Form((None,), "uint8", 0, task.classes - 1)
        wanted |= _under(prefix, _predicted(None, task.classes))
    return wanted


def _attacks(task: "ClassificationTask", arrays: Arrays, y: Tensor) -> Wanted:
    """Of all attacks; of a posterior without gradients, those that need none, or no attack at all."""
    attacks = [*task.attacks, *task.extra_attacks]
    gradients = any(f"attack/{attack.name}/labels" in arrays for attack in attacks if attack.access == "white")
    if not gradients:
        attacks = without_gradients(attacks)
        if not any(key.startswith("attack/") for key in arrays):
            return {}
    context = AttackContext(y, y, task.classes, (0.0, 1.0), 1, task.attacked, torch.device("cpu"))
    wanted: Wanted = {}
    for attack in attacks:
        wanted |= _under(f"attack/{attack.name}", _attack(context, attack, arrays))
    audited = next((attack for attack in attacks if can_be_audited(attack)), None)
    if audited is not None:
        wanted |= _under("audit", _audit(context, audited, arrays))
    if gradients and task.uncertainty is not None:
        wanted |= _under("uncertainty", _uncertainty(task, task.uncertainty, arrays, y))
    return wanted | shared(context, task.attacks)


def _attack(context: AttackContext, attack: Attack, arrays: Arrays) -> Wanted:
    index, epsilons = context.index(attack), np.array(attack.epsilons)
    n, classes = len(index), Form((len(epsilons), len(index)), "uint8", 0, context.classes - 1)
    wanted: Wanted = {
        "norm": np.array(attack.norm),
        "access": np.array(attack.access),
        "labels": context.y[index].numpy().astype(np.uint8),
        "index": index.numpy().astype(np.uint32),
        "epsilons": epsilons,
        "own": classes,
        "moved": Form((len(epsilons), n), "float32", 0.0, _largest_mean(attack)),
    }
    if attack.algorithm.checks:
        wanted["known"] = classes
    for k in range(len(epsilons)):
        wanted |= _under(str(k), _predicted(n, context.classes))
    if attack.algorithm.minimises:
        wanted |= {"stretch/size": Form((None, n), "float32", 0.0), "stretch/fresh": Form((None, n), "uint8")}
    return wanted


def _largest_mean(attack: Attack) -> float:
    """Of the absolute perturbation of pixels: in L-infinity at most epsilon, in L2 below it, too."""
    return max(attack.epsilons) * (1 + ROUNDING) + 1e-6


def _audit(context: AttackContext, attack: Attack, arrays: Arrays) -> Wanted:
    index = context.index(attack)
    labels = context.y[index[stratified(context.y[index], AUDITED)]].numpy().astype(np.uint8)
    classes = Form((len(labels),), "uint8", 0, context.classes - 1)
    positive = [epsilon for epsilon in attack.epsilons if epsilon > 0]
    stored = arrays.get("audit/epsilon")
    epsilon = next((e for e in positive if stored is not None and stored.shape == () and stored == e), positive[0])
    stronger = {f"stronger/{what}": classes for what in stronger_variants(attack, epsilon)}
    return {
        "base": classes,
        "widest": classes,
        **stronger,
        "epsilon": np.array(epsilon),
        "labels": labels,
        "vanishing": Form((len(index),), "bool"),
    }


def _uncertainty(task: "ClassificationTask", attack: UncertaintyAttack, arrays: Arrays, y: Tensor) -> Wanted:
    sizes = {name: n for name, n in _ood(task, arrays).items() if attack.ood is None or name in attack.ood}
    index: dict[str, np.ndarray | Form] = {"test": stratified(y, attack.images).numpy().astype(np.uint32)}
    for name, n in sizes.items():
        known = None if n is None else stratified(torch.zeros(n), attack.images).numpy().astype(np.uint32)
        index[f"ood/{name}"] = Form((None,), "uint32") if known is None else known
    epsilons = np.array((0.0, *attack.epsilons))
    wanted: Wanted = {"epsilons": epsilons}
    for name, places in index.items():
        n = len(places) if isinstance(places, np.ndarray) else None
        wanted[f"{name}/index"] = places
        for k in range(len(epsilons)):
            wanted |= _under(f"{name}/{k}", _predicted(n, task.classes))
    return wanted
