"""The audit: whether the robustness scores of a record can be trusted. A defence that masks gradients should fail it.

After Carlini et al. 2019, "On evaluating adversarial robustness", arXiv 1902.06705, section 5. All items are computed from the
stored arrays. Accuracies are compared in points, on the same images at the same epsilon, with the standard error of their
difference from the images on which the two disagree (McNemar).

Two attacks can be audited. The audit of ``adaptive-linf`` is of version 3 of the attacks: a difference fails if it exceeds
both its limit and two standard errors, so that it is neither small nor an accident. That of ``pgd-linf`` belongs to records of
before and is kept so that they can be read and verified: there, two standard errors are added to the limit.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from bbh_bench.api import Arrays
from bbh_bench.attacks.stored import MORE_SAMPLES, StoredAttack, StoredAudit, stored_attacks
from bbh_bench.records.record import Check, Verdict

AUDITED, AUDITED_BEFORE, ONE_STEP = "adaptive-linf", "pgd-linf", "fgsm"
WEAKER_LIMIT = 2.0
"""Points by which an attack may be weaker than one that it should beat, and that a stronger variant may gain."""
GAIN_LIMIT_BEFORE = 5.0
"""Points that a stronger variant of ``pgd-linf`` may gain."""
WIDEST_LIMIT = 2.0
"""Per cent of images that may be correct at an epsilon that spans the range of pixel values."""
VANISHING_LIMIT = 1.0
"""Per cent of images that may have no gradient."""

Difference = tuple[float, float]
"""Of two accuracies, in points, and its standard error."""

DESCRIPTIONS = {
    "pgd_vs_fgsm": "accuracy under {attack} minus accuracy under {one_step}, at the worst epsilon",
    "white_vs_black": (
        "accuracy under the white-box attacks together minus accuracy under a black-box attack, at the worst epsilon"
    ),
    "white_vs_transfer": (
        "accuracy under the white-box attacks together minus accuracy under a transfer attack, at the worst epsilon"
    ),
    "widest": "accuracy under {attack} at an epsilon that spans the range of pixel values",
    "monotone": "largest increase of accuracy under {attack} from one epsilon to the next",
    "more_steps": "accuracy lost if the attack takes 2.5 times the steps",
    "more_restarts": "accuracy lost if the attack is done twice, the second time from random starts",
    "more_samples": "accuracy lost if the attacker has four times the samples",
    "other_losses": "accuracy lost if the attack increases other losses, and goes towards single classes",
    "outside_attack": "accuracy lost if another library's attack takes its place (Foolbox's fast minimum-norm attack)",
    "gradients": "images whose gradient is zero or not finite where an attack starts",
    "fresh_samples": (
        "accuracy on fresh samples minus accuracy on the attacker's samples, under {attack}, at the worst epsilon"
    ),
}
STRONGER = {
    "more_steps": "iterations",
    "more_restarts": "restarts",
    "more_samples": MORE_SAMPLES,
    "other_losses": "losses",
    "outside_attack": "outside",
}
"""Names of checks, and of the stronger variants that they compare with the audited attack."""
ADDED = ("other_losses", "outside_attack")
"""Checks that the audit of ``pgd-linf`` does not have."""


def audit(arrays: Arrays) -> dict[str, Check]:
    """The checks by name. Empty for a posterior that was not attacked."""
    attacks = stored_attacks(arrays)
    if not attacks:
        return {}
    name = AUDITED_BEFORE if AUDITED_BEFORE in attacks and AUDITED not in attacks else AUDITED
    white = [attack for attack in attacks.values() if attack.access == "white"]
    audited = [attacks[name]] if name in attacks else []
    stored = StoredAudit(arrays)
    one_step = _less_accurate_together(audited, attacks[ONE_STEP]) if ONE_STEP in attacks else []
    before = name == AUDITED_BEFORE
    limits = _Limits(before)
    gain_limit = GAIN_LIMIT_BEFORE if before else WEAKER_LIMIT
    gains = {
        check: limits.difference(_gain(stored, what), gain_limit)
        for check, what in STRONGER.items()
        if not (before and check in ADDED)
    }
    checks = {
        "pgd_vs_fgsm": limits.difference(one_step, WEAKER_LIMIT),
        "white_vs_black": limits.difference(_versus(white, attacks, "black"), WEAKER_LIMIT),
        "white_vs_transfer": limits.difference(_versus(white, attacks, "transfer"), WEAKER_LIMIT),
        "widest": _share(stored.widest, WIDEST_LIMIT),
        "monotone": limits.difference(_increases(audited), WEAKER_LIMIT),
        **gains,
        "gradients": _share(stored.vanishing, VANISHING_LIMIT),
    }
    if before:
        checks["fresh_samples"] = limits.difference(_fresh_versus_attacker(audited), GAIN_LIMIT_BEFORE)
    return {
        check: _check(DESCRIPTIONS[check].format(attack=name, one_step=ONE_STEP), *checks[check]) for check in checks
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


Measured = tuple[float | None, float | None, str]
"""Value, limit and unit of a check. None if it does not apply."""


def _gain(stored: StoredAudit, what: str) -> Iterator[Difference]:
    base, stronger = stored.base, stored.stronger(what)
    if base is not None and stronger is not None:
        yield difference(base, stronger)


@dataclass(frozen=True)
class _Limits:
    """How a limit allows for chance."""

    added: bool
    """Two standard errors are added to it. Otherwise the larger of the two counts."""

    def difference(self, differences: Iterable[Difference], allowed: float) -> Measured:
        """The difference that exceeds its limit most, or comes nearest to it."""
        limits = [
            (points, allowed + 2 * error if self.added else max(allowed, 2 * error)) for points, error in differences
        ]
        return (*max(limits, key=lambda pair: pair[0] - pair[1]), "points") if limits else (None, None, "points")


def _share(hits: np.ndarray | None, allowed: float) -> Measured:
    return (None, None, "%") if hits is None else (100 * float(np.mean(hits)), allowed, "%")


def _check(description: str, value: float | None, limit: float | None, unit: str) -> Check:
    if value is None or limit is None:
        return Check(verdict="not applicable", value=None, limit=None, unit=unit, description=description)
    verdict: Verdict = "pass" if value <= limit else "fail"
    return Check(verdict=verdict, value=value, limit=limit, unit=unit, description=description)
