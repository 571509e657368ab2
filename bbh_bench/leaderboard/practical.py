"""How probable it is that a method is better than another, or that their difference is too small to matter.

A test says whether a difference is there; with enough seeds, any difference is. Here a region of practical equivalence (ROPE)
says which differences matter: the Bayesian t test of Benavoli et al. 2017 (JMLR 18, "Time for a Change", section 4) on paired
differences by seed. It has no correlation, unlike their test for cross-validation, since the seeds are independent runs on the
same split. As everywhere on a board, "these images" is part of the claim.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtr

from bbh_bench.leaderboard.comparison import FEWEST_SEEDS


@dataclass(frozen=True)
class Practical:
    """Posterior probabilities of where the mean difference is. They add up to 1."""

    better: float
    equal: float
    """Inside the region of practical equivalence."""
    worse: float


@dataclass(frozen=True)
class Rope:
    """Half of the width of a score's region of practical equivalence: the largest of its parts."""

    absolute: float = 0.0
    """In the unit of the score."""
    relative: float = 0.0
    """Of the reference's mean."""
    images: float = 0.0
    """In test images: this number divided by how many there are."""
    reason: str = ""

    def half_width(self, reference: float, images: int | None = None) -> float:
        """For the mean ``reference`` of the method that is compared with; ``images`` of the score: None if unknown."""
        of_images = self.images / images if images else 0.0
        return max(self.absolute, self.relative * abs(reference), of_images)


_LIKELIHOOD = Rope(relative=0.05, reason="likelihoods have no scale of their own: 5 % of the reference's mean")
_ATTACKED = Rope(absolute=0.02, images=1, reason="an attack that shares no code with ours may find two points more")
ROPES: dict[str, Rope] = {
    "error": Rope(absolute=0.005, images=1, reason="half a point, but at least one test image"),
    "nll": _LIKELIHOOD,
    "nll_scaled": _LIKELIHOOD,
    "brier": Rope(relative=0.05, reason="as a likelihood"),
    "rmse": Rope(relative=0.05, reason="as a likelihood"),
    "ece": Rope(absolute=0.005, reason="confidence that is wrong by half a point, as the error"),
    "adaptive_ece": Rope(absolute=0.005, reason="as ECE"),
    "classwise_ece": Rope(absolute=0.005, reason="as ECE"),
    "aurc": Rope(absolute=0.0025, reason="half of that of the error, which it averages over all coverages"),
    "eaurc": Rope(absolute=0.0025, reason="as AURC"),
    "auroc": Rope(absolute=0.01, reason="one pair of a test and an OOD image in a hundred changes its order"),
    "auroc_expected_entropy": Rope(absolute=0.01, reason="as AUROC"),
    "auroc_mutual_information": Rope(absolute=0.01, reason="as AUROC"),
    "auroc_ood_score": Rope(absolute=0.01, reason="as AUROC"),
    "aupr": Rope(absolute=0.01, reason="as AUROC"),
    "fpr95": Rope(absolute=0.02, reason="a single threshold varies about twice as much as the area"),
    "auroc_ood": Rope(absolute=0.02, reason="as accuracy under attack: attacks are not exact"),
    "auroc_test": Rope(absolute=0.02, reason="as accuracy under attack: attacks are not exact"),
    "auroc_both": Rope(absolute=0.02, reason="as accuracy under attack: attacks are not exact"),
    "accuracy": _ATTACKED,
    "known_accuracy": _ATTACKED,
    "degradation": _ATTACKED,
    "robust_accuracy_auc": _ATTACKED,
}
"""By the last part of a score's name, without its epsilon. Other scores have none: what matters is not known."""


def rope(score: str) -> Rope | None:
    """The region of a score, such as ``test/error`` or ``robust/linf/accuracy@0.1``; None if it has none."""
    return ROPES.get(score.rpartition("/")[2].partition("@")[0])


def practical(
    differences: Sequence[float], half_width: float, better: Literal["lower", "higher"] = "lower"
) -> Practical | None:
    """Probabilities that a method is better, practically equal and worse than another.

    ``differences``: values of the method minus those of the other one, on the same seeds. ``half_width``: of the region of
    practical equivalence, around zero, in the same unit. ``better``: which values of the score are.

    With the improper prior 1 / variance, the posterior of the mean difference of n seeds is a Student t distribution with n - 1
    degrees of freedom around their mean, with the scale s / sqrt(n).

    None for fewer than ``FEWEST_SEEDS`` differences, for equal ones, whose noise is unknown, and for any that is not finite.
    Raises ``ValueError`` if the half width is negative or not finite.
    """
    if not 0 <= half_width < np.inf:
        raise ValueError(f"the half width of a region of practical equivalence must be at least 0, not {half_width}.")
    d = np.asarray(differences, dtype=float)
    if len(d) < FEWEST_SEEDS or not np.isfinite(d).all() or np.ptp(d) == 0:
        return None
    mean, scale, freedom = d.mean(), d.std(ddof=1) / len(d) ** 0.5, len(d) - 1
    below = float(stdtr(freedom, (-half_width - mean) / scale))
    above = float(stdtr(freedom, (mean - half_width) / scale))
    equal = max(0.0, 1 - below - above)
    return Practical(below, equal, above) if better == "lower" else Practical(above, equal, below)
