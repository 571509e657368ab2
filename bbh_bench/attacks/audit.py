"""Whether a record's figures of robustness mean what they seem to: checks that a masked gradient doesn't pass.

After Carlini et al. 2019, "On evaluating adversarial robustness", arXiv 1902.06705, section 5. All of them are computed from
the stored arrays. Accuracies are compared in points, on the same images at the same epsilon, and two standard errors of the
difference, which its discordant images give (McNemar), are allowed for.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from bbh_bench.api import Arrays, Check
from bbh_bench.attacks.robustness import Attacked, attacks

AUDITED, ONE_STEP = "pgd-linf", "fgsm"
NO_WEAKER = 2.0
"""Points by which an attack may be weaker than one that it should outdo."""
LITTLE = 5.0
"""Points that more steps, restarts or draws may gain, and that fresh networks may differ from the attacker's."""
WIDEST = 2.0
"""Per cent of images that may be right at an epsilon that spans the pixels' range."""
VANISHING = 1.0
"""Per cent of images that may have no gradient."""

Difference = tuple[float, float]
"""In points, and its standard error."""

LINES = {
    "pgd_vs_fgsm": f"accuracy under {AUDITED} less that under {ONE_STEP}, at the worst epsilon",
    "white_vs_black": "accuracy under the white-box attacks together less that under a black-box one, at the worst epsilon",
    "white_vs_transfer": "accuracy under the white-box attacks together less that under a transferred one, the same way",
    "widest": f"accuracy under {AUDITED} at an epsilon that spans the pixels' range",
    "monotone": f"largest rise of accuracy under {AUDITED} from one epsilon to the next",
    "more_steps": "points that two and a half times the steps gain, on images that weren't turned",
    "more_restarts": "points that twice the random starts gain there",
    "more_draws": "points that four times the attacker's draws gain there",
    "gradients": "images whose gradient is zero or not finite",
    "fresh_draws": f"accuracy by fresh networks less that by the attacker's, under {AUDITED}, at the worst epsilon",
}


def audit(arrays: Arrays) -> dict[str, Check]:
    """The items by name; empty for a posterior that wasn't attacked."""
    held = attacks(arrays)
    if not held:
        return {}
    white = [attack for attack in held.values() if attack.access == "white"]
    audited = held.get(AUDITED)
    return {
        "pgd_vs_fgsm": _weaker("pgd_vs_fgsm", _against([audited] if audited else [], held.get(ONE_STEP))),
        "white_vs_black": _weaker("white_vs_black", _versus(white, held, "black")),
        "white_vs_transfer": _weaker("white_vs_transfer", _versus(white, held, "transfer")),
        "widest": _share("widest", WIDEST, _right(arrays, "widest")),
        "monotone": _weaker("monotone", _rises(audited)),
        "more_steps": _gain("more_steps", arrays, "iterations"),
        "more_restarts": _gain("more_restarts", arrays, "restarts"),
        "more_draws": _gain("more_draws", arrays, "draws"),
        "gradients": _share("gradients", VANISHING, arrays.get("audit/vanishing")),
        "fresh_draws": _little("fresh_draws", _own(audited)),
    }


def difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """The accuracy of the first less that of the second, of verdicts on the same images ``[N]``."""
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    points = 100 / len(first)
    return points * (only_first - only_second), points * math.sqrt(only_first + only_second)


def _against(strong: list[Attacked], weak: Attacked | None) -> Iterator[Difference]:
    """At each epsilon that they share: what one of the strong ones turned they turned together."""
    if weak is None:
        return
    there = [attack for attack in strong if attack.norm == weak.norm]
    for j, epsilon in enumerate(weak.epsilons):
        sets = [
            (a["index"], a.right[a.epsilons.index(epsilon)]) for a in there if epsilon in a.epsilons and epsilon > 0
        ]
        if sets:
            common = weak["index"]
            for index, _ in sets:
                common = np.intersect1d(common, index)
            together = np.all([right[np.searchsorted(index, common)] for index, right in sets], axis=0)
            yield difference(together, weak.right[j][np.searchsorted(weak["index"], common)])


def _versus(white: list[Attacked], held: dict[str, Attacked], access: str) -> Iterator[Difference]:
    for attack in held.values():
        if attack.access == access:
            yield from _against(white, attack)


def _rises(attack: Attacked | None) -> Iterator[Difference]:
    if attack is not None:
        for smaller, larger in zip(attack.right, attack.right[1:], strict=False):
            yield difference(larger, smaller)


def _own(attack: Attacked | None) -> Iterator[Difference]:
    if attack is not None:
        for fresh, own in zip(attack.right, attack.right_own, strict=True):
            yield difference(fresh, own)


def _right(arrays: Arrays, what: str) -> np.ndarray | None:
    """Whether fresh networks are right about the audit's images ``[P]``."""
    if f"audit/{what}" not in arrays:
        return None
    return np.asarray(arrays[f"audit/{what}"] == arrays["audit/labels"])


def _gain(name: str, arrays: Arrays, what: str) -> Check:
    base, stronger = _right(arrays, "base"), _right(arrays, f"stronger/{what}")
    return _little(name, [] if base is None or stronger is None else [difference(base, stronger)])


def _weaker(name: str, differences: Iterable[Difference]) -> Check:
    return _compared(name, differences, NO_WEAKER)


def _little(name: str, differences: Iterable[Difference]) -> Check:
    return _compared(name, differences, LITTLE)


def _compared(name: str, differences: Iterable[Difference], allowed: float) -> Check:
    """The difference that exceeds what is allowed by most."""
    limits = [(points, allowed + 2 * error) for points, error in differences]
    if not limits:
        return _check(name, None, None, "points")
    return _check(name, *max(limits, key=lambda pair: pair[0] - pair[1]), "points")


def _share(name: str, allowed: float, hits: np.ndarray | None) -> Check:
    return _check(name, None if hits is None else 100 * float(np.mean(hits)), allowed, "%")


def _check(name: str, figure: float | None, limit: float | None, unit: str) -> Check:
    if figure is None or limit is None:
        return Check("not applicable", None, None, unit, LINES[name])
    return Check("pass" if figure <= limit else "fail", figure, limit, unit, LINES[name])
