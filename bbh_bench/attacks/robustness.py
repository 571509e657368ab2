"""Scores and curves of a posterior under attack, from stored arrays alone; ``adversarial`` says what is stored."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bbh_bench.api import Arrays, Curves, Scores
from bbh_bench.evaluation.metrics import auroc, entropy, entropy_auc, nll
from bbh_bench.evaluation.predictive import STORED, Predictions, decode

LEVEL = 0.95
"""Of the intervals around accuracies."""


@dataclass(frozen=True)
class Attacked:
    """One attack's arrays, of N images and E epsilons."""

    arrays: Arrays
    name: str

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[f"attack/{self.name}/{key}"]

    def has(self, key: str) -> bool:
        """Whether there is such an array."""
        return f"attack/{self.name}/{key}" in self.arrays

    @property
    def norm(self) -> str:
        """Of the ball: linf or l2."""
        return str(self["norm"])

    @property
    def access(self) -> str:
        """What it used: white, black or transfer."""
        return str(self["access"])

    @cached_property
    def epsilons(self) -> list[float]:
        """Rising ``[E]``."""
        return [float(epsilon) for epsilon in self["epsilons"]]

    @cached_property
    def labels(self) -> np.ndarray:
        """The right classes ``[N]``."""
        return self["labels"].astype(np.int64)

    @cached_property
    def judged(self) -> list[Predictions]:
        """The predictive of fresh networks at each epsilon."""
        return [decode(self.arrays, f"attack/{self.name}/{k}") for k in range(len(self.epsilons))]

    @cached_property
    def right(self) -> np.ndarray:
        """Whether fresh networks are right ``[E, N]``."""
        return np.stack([predictions.log_probs.argmax(axis=1) == self.labels for predictions in self.judged])

    @cached_property
    def right_own(self) -> np.ndarray:
        """Whether the attacker's networks are right ``[E, N]``."""
        return self["own"] == self.labels

    @cached_property
    def clean(self) -> Predictions:
        """The predictive of the same images, not attacked."""
        return decode({f"test/{key}": self.arrays[f"test/{key}"][self["index"]] for key in STORED}, "test")

    @cached_property
    def turned(self) -> np.ndarray:
        """The smallest perturbation at which fresh networks are wrong ``[N]``, in the attack's norm; infinity if none is.

        An attack that minimises is judged at the sizes that it found too; 0 where the clean image is misclassified.
        """
        found = [np.where(right, np.inf, epsilon) for epsilon, right in zip(self.epsilons, self.right, strict=True)]
        if self.has("stretch/fresh"):
            found += list(np.where(self["stretch/fresh"] == self.labels, np.inf, self["stretch/size"]))
        found.append(np.where(self.clean.log_probs.argmax(axis=1) == self.labels, np.inf, 0.0))
        return np.min(found, axis=0)


def attacks(arrays: Arrays) -> dict[str, Attacked]:
    """By name, in the order they were run."""
    names = dict.fromkeys(key.split("/")[1] for key in arrays if key.startswith("attack/"))
    return {name: Attacked(arrays, name) for name in names}


def robustness(arrays: Arrays) -> tuple[Scores, Curves]:
    """Each attack's curves and their areas, smallest perturbations, and the worst case over the attacks in each norm."""
    scores: Scores = {}
    curves: Curves = {}
    held = attacks(arrays)
    for name, attack in held.items():
        curves[f"attack/{name}"] = curve = attack_curve(attack)
        scores[f"attack/{name}/accuracy_area"] = accuracy_area(curve["epsilon"], curve["accuracy"])
        if attack.has("stretch/fresh"):
            median = float(np.median(attack.turned))
            scores |= {f"attack/{name}/median_distance": median} if np.isfinite(median) else {}
    for norm in ("linf", "l2"):
        if f"robust/{norm}/epsilons" in arrays:
            curves[f"robust/{norm}"] = curve = worst_case(arrays, norm, [a for a in held.values() if a.norm == norm])
            scores[f"robust/{norm}/accuracy_area"] = accuracy_area(curve["epsilon"], curve["accuracy"])
    return scores, curves


def attack_curve(attack: Attacked) -> dict[str, list[float]]:
    """Accuracy with its Wilson interval, mean entropy, entropy AUC and negative log-likelihood at each epsilon.

    They are by networks that the attacker didn't see. Beside them: the accuracy by the attacker's own networks; ``flagged``,
    the area under the ROC curve of entropy that tells the attacked images from the same ones as they were; and the mean
    absolute change of a pixel.
    """
    accuracy = attack.right.mean(axis=1).tolist()
    low, high = intervals(accuracy, len(attack.labels))
    return {
        "epsilon": attack.epsilons,
        "accuracy": accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "own_accuracy": attack.right_own.mean(axis=1).tolist(),
        "entropy": [entropy(predictions) for predictions in attack.judged],
        "entropy_auc": [entropy_auc(predictions) for predictions in attack.judged],
        "nll": [nll(predictions, attack.labels) for predictions in attack.judged],
        "flagged": [auroc(attack.clean, predictions) for predictions in attack.judged],
        "moved": attack["moved"].astype(np.float64).mean(axis=1).tolist(),
        "images": [len(attack.labels)] * len(attack.epsilons),
    }


def worst_case(arrays: Arrays, norm: str, held: list[Attacked]) -> dict[str, list[float]]:
    """Accuracy where an image counts as right only if no attack turned it, at that epsilon or a smaller one.

    The images and epsilons are those that the task fixed, so that one more attack can only lower the curve: an image that it
    wasn't run on is one that it didn't turn.
    """
    index = arrays[f"robust/{norm}/index"]
    epsilons = [0.0, *map(float, arrays[f"robust/{norm}/epsilons"])]
    turned = np.full(len(index), np.inf)
    for attack in held:
        _, ours, theirs = np.intersect1d(index, attack["index"], assume_unique=True, return_indices=True)
        turned[ours] = np.minimum(turned[ours], attack.turned[theirs])
    accuracy = [float(np.mean(turned > epsilon)) for epsilon in epsilons]
    low, high = intervals(accuracy, len(index))
    return {"epsilon": epsilons, "accuracy": accuracy, "accuracy_low": low, "accuracy_high": high} | {
        "images": [len(index)] * len(epsilons)
    }


def accuracy_area(epsilons: list[float], accuracy: list[float]) -> float:
    """Area under the accuracy curve over its range of epsilon, by the trapezoid rule: 1 is unharmed, 0 never right.

    The suite's one number for attack degradation.
    """
    if len(epsilons) == 1:
        return accuracy[0]
    return float(np.trapezoid(accuracy, epsilons) / (epsilons[-1] - epsilons[0]))


def intervals(accuracy: list[float], n: int) -> tuple[list[float], list[float]]:
    """Ends of the Wilson 95 % intervals of shares of n images."""
    from scipy.stats import binomtest  # noqa: PLC0415  (a report of stored scores needs none of this)

    ends = [binomtest(round(share * n), n).proportion_ci(LEVEL, method="wilson") for share in accuracy]
    return [float(end.low) for end in ends], [float(end.high) for end in ends]
