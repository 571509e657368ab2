"""The audit: whether the robustness scores of a record can be trusted. A defence that masks gradients should fail it.

After Carlini et al. 2019, "On evaluating adversarial robustness", arXiv 1902.06705, section 5. All items are computed from the
stored arrays. Accuracies are compared in points, on the same images at the same epsilon. Beside the limit, two standard errors
of the difference are allowed, computed from the images on which the two disagree (McNemar).
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from bbh_bench.api import Arrays
from bbh_bench.attacks.stored import MORE_SAMPLES, StoredAttack, StoredAudit, stored_attacks
from bbh_bench.records.record import Check, Verdict

AUDITED, ONE_STEP = "pgd-linf", "fgsm"
WEAKER_LIMIT = 2.0
"""Points by which an attack may be weaker than one that it should beat."""
GAIN_LIMIT = 5.0
"""Points that more steps, restarts or samples may gain, and by which fresh samples may differ from the attacker's."""
WIDEST_LIMIT = 2.0
"""Per cent of images that may be correct at an epsilon that spans the range of pixel values."""
VANISHING_LIMIT = 1.0
"""Per cent of images that may have no gradient."""

Difference = tuple[float, float]
"""Of two accuracies, in points, and its standard error."""

DESCRIPTIONS = {
    "pgd_vs_fgsm": f"accuracy under {AUDITED} minus accuracy under {ONE_STEP}, at the worst epsilon",
    "white_vs_black": (
        "accuracy under the white-box attacks together minus accuracy under a black-box attack, at the worst epsilon"
    ),
    "white_vs_transfer": (
        "accuracy under the white-box attacks together minus accuracy under a transfer attack, at the worst epsilon"
    ),
    "widest": f"accuracy under {AUDITED} at an epsilon that spans the range of pixel values",
    "monotone": f"largest increase of accuracy under {AUDITED} from one epsilon to the next",
    "more_steps": "accuracy lost if the attack takes 2.5 times the steps, where it failed on the attacker's samples",
    "more_restarts": "accuracy lost if the attack takes twice the random starts, where it failed on the attacker's samples",
    "more_samples": "accuracy lost if the attacker has four times the samples, where the attack failed on its samples",
    "gradients": "images whose gradient is zero or not finite",
    "fresh_samples": (
        f"accuracy on fresh samples minus accuracy on the attacker's samples, under {AUDITED}, at the worst epsilon"
    ),
}


def audit(arrays: Arrays) -> dict[str, Check]:
    """The checks by name. Empty for a posterior that was not attacked."""
    attacks = stored_attacks(arrays)
    if not attacks:
        return {}
    white = [attack for attack in attacks.values() if attack.access == "white"]
    audited = [attacks[AUDITED]] if AUDITED in attacks else []
    stored = StoredAudit(arrays)
    one_step = _less_accurate_together(audited, attacks[ONE_STEP]) if ONE_STEP in attacks else []
    return {
        "pgd_vs_fgsm": _difference_check("pgd_vs_fgsm", one_step, WEAKER_LIMIT),
        "white_vs_black": _difference_check("white_vs_black", _versus(white, attacks, "black"), WEAKER_LIMIT),
        "white_vs_transfer": _difference_check("white_vs_transfer", _versus(white, attacks, "transfer"), WEAKER_LIMIT),
        "widest": _share_check("widest", stored.widest, WIDEST_LIMIT),
        "monotone": _difference_check("monotone", _increases(audited), WEAKER_LIMIT),
        "more_steps": _gain_check("more_steps", stored, "iterations"),
        "more_restarts": _gain_check("more_restarts", stored, "restarts"),
        "more_samples": _gain_check("more_samples", stored, MORE_SAMPLES),
        "gradients": _share_check("gradients", stored.vanishing, VANISHING_LIMIT),
        "fresh_samples": _difference_check("fresh_samples", _fresh_versus_attacker(audited), GAIN_LIMIT),
    }


def difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """Accuracy of the first minus that of the second, which say for the same images whether they are correct ``[N]``."""
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    points = 100 / len(first)
    return points * (only_first - only_second), points * math.sqrt(only_first + only_second)


def _less_accurate_together(strong: Iterable[StoredAttack], weak: StoredAttack) -> Iterator[Difference]:
    """At each positive epsilon that they share: an image is correct under the strong attacks if it is under all of them."""
    same_norm = [attack for attack in strong if attack.norm == weak.norm]
    for j, epsilon in enumerate(weak.epsilons):
        sets = [
            (attack.index, attack.correct[attack.epsilons.index(epsilon)])
            for attack in same_norm
            if epsilon in attack.epsilons and epsilon > 0
        ]
        if sets:
            common = weak.index
            for index, _ in sets:
                common = np.intersect1d(common, index)
            together = np.all([correct[np.searchsorted(index, common)] for index, correct in sets], axis=0)
            yield difference(together, weak.correct[j][np.searchsorted(weak.index, common)])


def _versus(white: list[StoredAttack], attacks: dict[str, StoredAttack], access: str) -> Iterator[Difference]:
    for attack in attacks.values():
        if attack.access == access:
            yield from _less_accurate_together(white, attack)


def _increases(audited: Iterable[StoredAttack]) -> Iterator[Difference]:
    for attack in audited:
        for smaller, larger in zip(attack.correct, attack.correct[1:], strict=False):
            yield difference(larger, smaller)


def _fresh_versus_attacker(audited: Iterable[StoredAttack]) -> Iterator[Difference]:
    for attack in audited:
        for fresh, attacker in zip(attack.correct, attack.attacker_correct, strict=True):
            yield difference(fresh, attacker)


def _gain_check(name: str, stored: StoredAudit, what: str) -> Check:
    base, stronger = stored.base, stored.stronger(what)
    return _difference_check(name, [] if base is None or stronger is None else [difference(base, stronger)], GAIN_LIMIT)


def _difference_check(name: str, differences: Iterable[Difference], allowed: float) -> Check:
    """The difference that exceeds its limit most, or comes nearest to it."""
    limits = [(points, allowed + 2 * error) for points, error in differences]
    if not limits:
        return _check(name, None, None, "points")
    return _check(name, *max(limits, key=lambda pair: pair[0] - pair[1]), "points")


def _share_check(name: str, hits: np.ndarray | None, allowed: float) -> Check:
    return _check(name, None if hits is None else 100 * float(np.mean(hits)), allowed, "%")


def _check(name: str, value: float | None, limit: float | None, unit: str) -> Check:
    description = DESCRIPTIONS[name]
    if value is None or limit is None:
        return Check(verdict="not applicable", value=None, limit=None, unit=unit, description=description)
    verdict: Verdict = "pass" if value <= limit else "fail"
    return Check(verdict=verdict, value=value, limit=limit, unit=unit, description=description)
