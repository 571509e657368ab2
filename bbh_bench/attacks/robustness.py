"""Scores and curves of a posterior under attack, computed from stored arrays only."""

import math
from collections.abc import Iterable

import numpy as np

from bbh_bench.api import Arrays, Curves, Scores
from bbh_bench.attacks.stored import StoredAttack, StoredWorstCase, stored_attacks, stored_worst_cases
from bbh_bench.evaluation.metrics import auroc, entropy, entropy_auc, nll
from bbh_bench.records.record import Direction

LEVEL = 0.95
"""Of the intervals around accuracies."""
DIRECTIONS: dict[str, Direction] = {
    "robust_accuracy_auc": "higher",
    "degradation": "lower",
    "median_distance": "higher",
    "accuracy": "higher",
    "known_accuracy": "higher",
}
"""Which values are better, by the last part of a score's name up to ``@``."""


def directions(scores: Iterable[str]) -> dict[str, Direction]:
    """Which values are better, by the last part of the names of ``scores`` that ``robustness`` returns."""
    parts = dict.fromkeys(name.rpartition("/")[2] for name in scores)
    return {part: DIRECTIONS[part.partition("@")[0]] for part in parts}


def robustness(arrays: Arrays) -> tuple[Scores, Curves]:
    """Curves of each attack and of the worst case over the attacks in each norm, and the scores that summarise them.

    Every curve has ``robust_accuracy_auc`` and ``degradation``. An attack that minimises has ``median_distance``, the median
    size of the smallest perturbation that is misclassified, if it is finite. A worst case has ``accuracy@<epsilon>``, its
    accuracy at the middle one of the positive epsilons, and ``known_accuracy@<epsilon>`` if an attack was run on known
    networks. A norm in which nothing was attacked has no worst case.
    """
    scores: Scores = {}
    curves: Curves = {}
    attacks = stored_attacks(arrays)
    for name, attack in attacks.items():
        curves[f"attack/{name}"] = curve = attack_curve(attack)
        scores |= {f"attack/{name}/{key}": value for key, value in summary(curve, attack.clean_correct).items()}
        if attack.minimises:
            median = float(np.median(attack.smallest_misclassified))
            scores |= {f"attack/{name}/median_distance": median} if np.isfinite(median) else {}
    for shared in stored_worst_cases(arrays):
        same = [attack for attack in attacks.values() if attack.norm == shared.norm]
        if not same:
            continue
        curves[f"robust/{shared.norm}"] = curve = worst_case(shared, same)
        scores |= {f"robust/{shared.norm}/{key}": value for key, value in summary(curve, shared.clean_correct).items()}
        middle = (len(shared.epsilons) - 1) // 2
        score = f"robust/{shared.norm}/accuracy@{shared.epsilons[middle]:g}"
        scores[score] = curve["accuracy"][1 + middle]  # the curve starts at epsilon 0
        if "known_accuracy" in curve:
            scores[f"robust/{shared.norm}/known_accuracy@{shared.epsilons[middle]:g}"] = curve["known_accuracy"][
                1 + middle
            ]
    return scores, curves


def summary(curve: dict[str, list[float]], clean_correct: np.ndarray) -> Scores:
    """Robust-accuracy AUC, and degradation where there is a positive epsilon.

    ``clean_correct``: whether the predicted class of the same images without perturbation is correct ``[N]``.
    """
    scores = {"robust_accuracy_auc": robust_accuracy_auc(curve["epsilon"], curve["accuracy"])}
    if any(curve["epsilon"]):
        scores["degradation"] = degradation(float(clean_correct.mean()), curve["epsilon"], curve["accuracy"])
    return scores


def attack_curve(attack: StoredAttack) -> dict[str, list[float]]:
    """Accuracy with its Wilson interval, mean entropy, entropy AUC and negative log-likelihood at each epsilon.

    These are on fresh samples. Also: ``attacker_accuracy``, on the attacker's samples; ``detection_auroc``, the area under the
    ROC curve for detecting the adversarial examples among the same images without perturbation, by entropy; and
    ``mean_perturbation``, the mean absolute perturbation of a pixel.
    """
    accuracy = attack.correct.mean(axis=1).tolist()
    low, high = intervals(accuracy, len(attack.labels))
    return {
        "epsilon": attack.epsilons,
        "accuracy": accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "attacker_accuracy": attack.attacker_correct.mean(axis=1).tolist(),
        "entropy": [entropy(predictions) for predictions in attack.predictions],
        "entropy_auc": [entropy_auc(predictions) for predictions in attack.predictions],
        "nll": [nll(predictions, attack.labels) for predictions in attack.predictions],
        "detection_auroc": [auroc(attack.clean, predictions) for predictions in attack.predictions],
        "mean_perturbation": attack.mean_perturbation.mean(axis=1).tolist(),
        "images": [len(attack.labels)] * len(attack.epsilons),
    }


def worst_case(shared: StoredWorstCase, attacks: Iterable[StoredAttack]) -> dict[str, list[float]]:
    """Accuracy where an image counts as correct only if no attack misclassified it, at that epsilon or a smaller one.

    Images and epsilons are fixed by the task, so that one more attack can only lower the curve. An attack that was not run on
    an image did not misclassify it. ``known_accuracy``, if an attack was run on known networks, is the same on these.
    """
    attacks = list(attacks)
    epsilons = [0.0, *shared.epsilons]
    smallest = _smallest(shared, ((attack.index, attack.smallest_misclassified) for attack in attacks))
    accuracy = [float(np.mean(smallest > epsilon)) for epsilon in epsilons]
    low, high = intervals(accuracy, len(shared.index))
    curve = {"epsilon": epsilons, "accuracy": accuracy, "accuracy_low": low, "accuracy_high": high}
    known = [(attack.index, sizes) for attack in attacks if (sizes := attack.smallest_known) is not None]
    if known:
        smallest = _smallest(shared, known)
        curve["known_accuracy"] = [float(np.mean(smallest > epsilon)) for epsilon in epsilons]
    return curve | {"images": [len(shared.index)] * len(epsilons)}


def _smallest(shared: StoredWorstCase, attacks: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Smallest size ``[N]`` over attacks, which are given by their images and the sizes of these."""
    smallest = np.full(len(shared.index), np.inf)
    for index, sizes in attacks:
        _, ours, theirs = np.intersect1d(shared.index, index, assume_unique=True, return_indices=True)
        smallest[ours] = np.minimum(smallest[ours], sizes[theirs])
    return smallest


def robust_accuracy_auc(epsilons: list[float], accuracy: list[float]) -> float:
    """Area under the accuracy curve over its range of epsilon, by the trapezoid rule, divided by that range: in [0, 1].

    1 if all images are correct at every epsilon. For a single epsilon, the accuracy there.
    """
    if len(epsilons) == 1:
        return accuracy[0]
    return float(np.trapezoid(accuracy, epsilons) / (epsilons[-1] - epsilons[0]))


def degradation(clean_accuracy: float, epsilons: list[float], accuracy: list[float]) -> float:
    """Mean over the positive epsilons of the accuracy that is lost: clean accuracy minus accuracy there, in [-1, 1]."""
    under_attack = [value for epsilon, value in zip(epsilons, accuracy, strict=True) if epsilon > 0]
    return float(np.mean([clean_accuracy - value for value in under_attack]))


def intervals(accuracy: list[float], n: int) -> tuple[list[float], list[float]]:
    """Lower and upper ends of the Wilson 95 % intervals of accuracies on n images (Wilson 1927).

    The arithmetic of ``scipy.stats.binomtest(...).proportion_ci``, without its test, which takes longer than all metrics.
    """
    from scipy.special import ndtri

    z = float(ndtri(0.5 + 0.5 * LEVEL))
    low, high = [], []
    for share in accuracy:
        k = round(share * n)
        p = k / n
        scale = 2 * (n + z**2)
        centre = (2 * n * p + z**2) / scale
        half = z / scale * math.sqrt(4 * n * p * (1 - p) + z**2)
        low.append(0.0 if k == 0 else centre - half)
        high.append(1.0 if k == n else centre + half)
    return low, high
