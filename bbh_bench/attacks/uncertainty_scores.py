"""Scores and curves of OOD detection under the attack on the uncertainty, computed from stored arrays only."""

from collections.abc import Sequence

import numpy as np

from bbh_bench.api import Arrays, Curves, Scores
from bbh_bench.attacks.robustness import robust_accuracy_auc as mean_over_epsilon
from bbh_bench.attacks.stored_uncertainty import ATTACK, StoredUncertainty
from bbh_bench.evaluation.detection import area_under_roc
from bbh_bench.evaluation.predictive import Predictions
from bbh_bench.records.record import Direction

ATTACKED = ("ood", "test", "both")
"""Which images are attacked: those of the OOD set, the test images, or both."""
DIRECTIONS: dict[str, Direction] = {f"auroc_{which}": "higher" for which in ATTACKED}
"""Which values are better, by the last part of a score's name."""


def uncertainty_scores(arrays: Arrays) -> tuple[Scores, Curves]:
    """A curve ``uncertainty/<set>`` for each attacked OOD set, and the scores ``uncertainty/<set>/auroc_<which>``.

    The columns ``auroc_<which>`` are the area under the ROC curve of OOD detection by predictive entropy where only the OOD
    images are attacked (``ood``), only the test images, or both; ``mi_auroc_<which>`` are those of detection by mutual
    information, on the same images, which were not perturbed against it. ``entropy_test`` and ``entropy_ood`` are means in
    nats. A score is the mean of its column over the range of epsilon, from 0 on, by the trapezoid rule. Empty if nothing was
    attacked.
    """
    stored = StoredUncertainty(arrays)
    epsilons = stored.epsilons
    scores: Scores = {}
    curves: Curves = {}
    for name in stored.ood_sets:
        test, ood = stored.test(), stored.ood(name)
        entropies = [each.entropy for each in test], [each.entropy for each in ood]
        information = [each.mutual_information for each in test], [each.mutual_information for each in ood]
        by_entropy = {f"auroc_{which}": values for which, values in _detection(*entropies).items()}
        by_information = {f"mi_auroc_{which}": values for which, values in _detection(*information).items()}
        curves[f"{ATTACK}/{name}"] = {
            "epsilon": epsilons,
            **by_entropy,
            **by_information,
            "entropy_test": _means(entropies[0]),
            "entropy_ood": _means(entropies[1]),
            "images_test": _counts(test),
            "images_ood": _counts(ood),
        }
        scores |= {f"{ATTACK}/{name}/{key}": mean_over_epsilon(epsilons, values) for key, values in by_entropy.items()}
    return scores, curves


def _detection(test: Sequence[np.ndarray], ood: Sequence[np.ndarray]) -> dict[str, list[float]]:
    """The area under the ROC curve at each epsilon, from the uncertainties ``[N]`` at each; the first is clean."""
    pairs = {
        "ood": [(test[0], attacked) for attacked in ood],
        "test": [(attacked, ood[0]) for attacked in test],
        "both": list(zip(test, ood, strict=True)),
    }
    return {which: [area_under_roc(*pair) for pair in pairs[which]] for which in ATTACKED}


def _means(values: Sequence[np.ndarray]) -> list[float]:
    return [float(each.mean()) for each in values]


def _counts(predictions: Sequence[Predictions]) -> list[float]:
    return [float(len(each.log_probs)) for each in predictions]
