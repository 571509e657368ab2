"""Distributions over the images of a classification, from the stored predictions: confidence, accuracy, risk and entropy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bbh_bench.errors import RecordError
from bbh_bench.leaderboard.consistency import consistency_interval
from bbh_bench.leaderboard.images import MOST_RECORDS, ReadArrays
from bbh_bench.records.record import Record
from bbh_bench.risk_coverage import expected_errors

BINS = 10
"""Of the reliability diagram."""
POINTS = 41
"""Of an entropy's distribution function."""
COVERAGES = np.arange(1, 201) / 200
"""Of a risk-coverage curve."""


@dataclass(frozen=True)
class Bin:
    """A bin of confidence that is not empty, over all seeds of a method."""

    confidence: float
    """Mean."""
    accuracy: float
    images: int
    """Of all seeds together."""
    low: float
    high: float
    """Between these, 95 % of the accuracies of a calibrated method would lie."""


@dataclass(frozen=True)
class Distributions:
    """Of one method, over all its seeds."""

    reliability: list[Bin]
    risk: list[float]
    """Share of misclassified images among those with the highest confidence, at each of ``COVERAGES``; mean over seeds."""
    entropy: dict[str, list[float]]
    """By ``test`` or the name of an OOD set: the share of images whose entropy, divided by log K, is at most each of ``POINTS``
    values from 0 to 1."""


def distributions(records: Sequence[Record], read: ReadArrays) -> dict[str, Distributions]:
    """By method. Methods of which predictions are missing or damaged are left out: ``verify`` says why."""
    records = [record for record in records if record.finished and record.task.kind == "classification"]
    by_method: dict[str, list[Mapping[str, np.ndarray]]] = {}
    incomplete = set()
    for record in records if len(records) <= MOST_RECORDS else ():
        sets = list(dict.fromkeys(name.split("/")[1] for name in record.scores if name.startswith("ood/")))
        try:
            arrays = read(record, ("test/labels", "test/log_odds", *(f"outlier/{name}/log_odds" for name in sets)))
            by_method.setdefault(record.method.name, []).append(_of_record(arrays, sets))
        except (RecordError, KeyError, ValueError, IndexError, TypeError):
            incomplete.add(record.method.name)
    return {name: _together(parts) for name, parts in by_method.items() if name not in incomplete}


def _of_record(arrays: Mapping[str, np.ndarray], sets: Sequence[str]) -> dict[str, np.ndarray]:
    """``confidence`` and ``correct`` of test images, and the relative entropies of each set."""
    probs = _probabilities(arrays["test/log_odds"])
    labels = arrays["test/labels"].astype(int)
    entropies = {
        f"entropy/{name}": _relative_entropy(_probabilities(arrays[f"outlier/{name}/log_odds"])) for name in sets
    }
    correct = probs.argmax(axis=1) == labels
    return {"confidence": probs.max(axis=1), "correct": correct, "entropy/test": _relative_entropy(probs), **entropies}


def _probabilities(log_odds: np.ndarray) -> np.ndarray:
    odds = np.exp(log_odds.astype(float))  # the largest of a row is 0
    return odds / odds.sum(axis=1, keepdims=True)


def _relative_entropy(probs: np.ndarray) -> np.ndarray:
    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)
    return -(probs * logs).sum(axis=1) / np.log(probs.shape[1])


def _risk(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """At each of ``COVERAGES``, of at least one image."""
    answered = np.maximum(1, np.round(COVERAGES * len(correct)).astype(int))
    risks: np.ndarray = expected_errors(confidence, ~correct)[answered] / answered
    return risks


def _reliability(confidence: np.ndarray, correct: np.ndarray, seeds: int) -> list[Bin]:
    """Seeds have the same images, which makes their errors alike: the interval is that of the images of one seed."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    result = []
    for own in (bins == k for k in range(BINS)):
        if own.any():
            images, mean = int(own.sum()), float(confidence[own].mean())
            interval = consistency_interval(mean, max(1, round(images / seeds)))
            result.append(Bin(mean, float(correct[own].mean()), images, *interval))
    return result


def _together(parts: Sequence[Mapping[str, np.ndarray]]) -> Distributions:
    confidence, correct = (np.concatenate([part[key] for part in parts]) for key in ("confidence", "correct"))
    risk = np.mean([_risk(part["confidence"], part["correct"]) for part in parts], axis=0)
    grid = np.linspace(0, 1, POINTS)
    entropy = {}
    for key in parts[0]:
        if key.startswith("entropy/"):
            values = np.sort(np.concatenate([part[key] for part in parts if key in part]))
            shares = np.searchsorted(values, grid + 1e-9, side="right") / len(values)
            entropy[key.removeprefix("entropy/")] = shares.tolist()
    return Distributions(_reliability(confidence, correct, len(parts)), risk.tolist(), entropy)
