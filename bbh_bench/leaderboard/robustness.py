"""The board's part on attacks: worst cases, each attack, and the attack of the paper compared with stronger ones."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from bbh_bench.leaderboard.audit import audit_section
from bbh_bench.leaderboard.columns import NORMS, robustness_columns
from bbh_bench.leaderboard.page import Block, figure
from bbh_bench.leaderboard.rendering import BOUNDS, DASH, Table, escaped, paragraph, score_column, score_table
from bbh_bench.leaderboard.statistics import method_order
from bbh_bench.leaderboard.tables import Curve, TaskRecords

PAPER, STRONGER = "paper-fgsm", ("fgsm", "pgd-linf")
ACCESS = {"white": "white-box", "black": "black-box", "transfer": "transfer"}
BY_ATTACK = (
    "**Accuracy by attack**: accuracy % at each ε, evaluated on fresh samples of the posterior. In brackets: the accuracy of "
    "the attacker's samples, from which the adversarial examples were computed; for a transfer attack these are networks of "
    "the surrogate. At the largest ε: the mean predictive entropy in nats, and the *detection AUROC*, which says how well "
    "predictive entropy separates adversarial examples from the same images without an attack."
)
FIGURE = (
    "Accuracy and mean predictive entropy against ε. Lines are means over seeds; bands are 95 % t intervals over seeds. For "
    "a method with one seed, the band of the accuracy is its 95 % Wilson interval. Dashed lines: the audit failed."
)
WORST_CASE = (
    "an image counts as correct at ε only if it is classified correctly without an "
    "attack and no attack makes it misclassified at this ε or a smaller one."
)
KNOWN = "known_accuracy"
"""Column of the accuracy where the attacked networks are those that decide."""
KNOWN_AND_FRESH = (
    "**Known and fresh networks**: accuracy % where the attacker attacks the very networks that decide / where they are fresh, "
    "and in brackets the gap, which is what randomness gains."
)
CellText = Callable[[list[Curve], int], str]
"""A cell of a table of curves: the curves of a method's seeds and the index of an epsilon -> text."""


def attack_sections(group: TaskRecords) -> list[Block]:
    """Everything about attacks. Empty for records without attacks."""
    names = group.attacks()
    if not names:
        return []
    parts: list[Block] = [
        "## Attacks",
        *_worst_case(group),
        *_scores_by_attack(group, names),
        *_paper_comparison(group),
    ]
    parts.append(paragraph(BY_ATTACK))
    for name in names:
        parts += [f"**{escaped(name)}** ({_settings(group, name)})", _attack_table(group, name)]
    return [*parts, *audit_section(group)]


def averaged_over(group: TaskRecords, curve: str) -> str:
    """The epsilons above 0 of a curve, over which attack degradation is averaged."""
    return ", ".join(f"{epsilon:g}" for epsilon in group.curves(curve)[0]["epsilon"] if epsilon > 0)


def _worst_case(group: TaskRecords) -> list[Block]:
    norms = {norm: sign for norm, sign in NORMS.items() if group.has(f"robust/{norm}")}
    if not norms:
        return []
    parts: list[Block] = [
        figure(group, "attacks", "Accuracy and entropy against epsilon under each attack", FIGURE),
    ]
    for norm, sign in norms.items():
        curve = f"robust/{norm}"
        averaged = f" Attack degradation is averaged over ε = {averaged_over(group, curve)}."
        degradation = averaged if group.has(f"{curve}/degradation") else ""
        parts += [
            paragraph(f"**Worst case over the {sign} attacks**: {WORST_CASE}{degradation}"),
            score_table(group, robustness_columns(group, norm)),
            "Robust accuracy % in this worst case, and its 95 % Wilson interval: means over seeds",
            _curve_table(group, curve, _accuracy_with_interval),
            *_known_networks(group, curve),
        ]
    return parts


def _known_networks(group: TaskRecords, curve: str) -> list[Block]:
    """Accuracy on known and on fresh networks. Empty for records without known networks."""
    if not any(KNOWN in each for each in group.curves(curve)):
        return []
    return [paragraph(KNOWN_AND_FRESH), _curve_table(group, curve, _known_and_fresh)]


def _known_and_fresh(curves: list[Curve], k: int) -> str:
    """Of the seeds that have both."""
    both = [curve for curve in curves if KNOWN in curve]
    if not both:
        return DASH
    known, fresh = (100 * fmean(curve[column][k] for curve in both) for column in (KNOWN, "accuracy"))
    return f"{known:.1f} / {fresh:.1f} ({fresh - known:.1f})"


def _scores_by_attack(group: TaskRecords, names: Sequence[str]) -> list[Block]:
    """One table for each score that attacks have."""
    captions = {
        "robust_accuracy_auc": "**Robust-accuracy AUC by attack**, each over its own range of ε",
        "degradation": "**Attack degradation by attack**, in points of accuracy, averaged over the ε of each attack",
        "median_distance": "**Median smallest perturbation** that makes an image misclassified, in the norm of the attack",
    }
    parts: list[Block] = []
    for score, caption in captions.items():
        decimals, factor = (1, 100) if score == "degradation" else (3, 1)
        columns = [
            score_column(group, name, f"attack/{name}/{score}", decimals, factor)
            for name in names
            if group.has(f"attack/{name}/{score}")
        ]
        if columns:
            parts += [caption, score_table(group, columns)]
    return parts


def _accuracy_with_interval(curves: list[Curve], k: int) -> str:
    accuracy, low, high = (
        100 * fmean(curve[column][k] for curve in curves) for column in ("accuracy", "accuracy_low", "accuracy_high")
    )
    return f"{accuracy:.1f} [{low:.0f}, {high:.0f}]"


def _attack_table(group: TaskRecords, name: str) -> Table:
    """Accuracy at each epsilon, on fresh samples and on the attacker's; at the largest, entropy and detection AUROC."""

    def accuracy(curves: list[Curve], k: int) -> str:
        attacker = (
            f" ({_mean(curves, 'attacker_accuracy', k, 100)})"
            if any("attacker_accuracy" in curve for curve in curves)
            else ""
        )
        return _mean(curves, "accuracy", k, 100) + attacker

    return _curve_table(
        group,
        f"attack/{name}",
        accuracy,
        {
            "entropy": lambda curves: _mean(curves, "entropy", -1, digits=3),
            "detection AUROC": lambda curves: _mean(curves, "detection_auroc", -1, digits=3),
        },
    )


def _curve_table(
    group: TaskRecords, name: str, cell: CellText, last: Mapping[str, Callable[[list[Curve]], str]] | None = None
) -> Table:
    """A row for each method and a column for each epsilon. ``last``: further columns, by heading.

    The epsilons are those of the first record; seeds that were attacked at other epsilons are left out.
    """
    last = last or {}
    epsilons = group.curves(name)[0]["epsilon"]
    rows = []
    for method in method_order(group):
        curves = [curve for curve in group.curves(name, method) if curve["epsilon"] == epsilons]
        if curves:
            texts = [cell(curves, k) for k in range(len(epsilons))] + [text(curves) for text in last.values()]
            mark = "~~" if group.failed_checks(method) else ""
            bound = BOUNDS["higher"] if name.startswith("robust/") and group.only_bounds(method) else ""
            rows.append(
                [method, str(len(curves)), *[text if text == DASH else f"{mark}{bound}{text}{mark}" for text in texts]]
            )
        else:
            rows.append([method, DASH, *[DASH] * (len(epsilons) + len(last))])
    return Table(["accuracy % at ε =", "n", *(f"{epsilon:g}" for epsilon in epsilons), *last], rows)


def _mean(curves: list[Curve], column: str, k: int, factor: float = 1, digits: int = 1) -> str:
    """Of the seeds that have this column."""
    values = [curve[column][k] for curve in curves if column in curve]
    return f"{factor * fmean(values):.{digits}f}" if values else DASH


def _settings(group: TaskRecords, name: str) -> str:
    """The settings of an attack as the records give them, and the number of images, in one line."""
    attacks = (attack for record in group.finished for attack in record.task.attacks)
    settings: dict[str, Any] = next((attack for attack in attacks if attack["name"] == name), {})
    algorithm = {key: value for key, value in settings.get("algorithm", {}).items() if key != "type"}
    parts = []
    if settings:
        parts += [f"version {settings['version']}", f"{NORMS.get(settings['norm'], settings['norm'])} norm"]
        parts += [ACCESS.get(settings["access"], settings["access"])]
        parts += [f"surrogate {settings['surrogate']['name']}"] if settings["surrogate"] else []
        parts += [f"{settings['samples']} {'sample' if settings['samples'] == 1 else 'samples'} of the attacker"]
    parts += [f"{key.replace('_', ' ')} {value}" for key, value in algorithm.items()]
    images = group.curves(f"attack/{name}")[0].get("images", [])
    return escaped(", ".join([*parts, *(f"{n:.0f} images" for n in images[:1])]))


def _paper_comparison(group: TaskRecords) -> list[Block]:
    """The attack of the paper compared with stronger ones, at the epsilons that all of them have."""
    names = [name for name in (PAPER, *STRONGER) if group.has(f"attack/{name}")]
    if len(names) < 2 or names[0] != PAPER:
        return []
    grids = [group.curves(f"attack/{name}")[0]["epsilon"] for name in names]
    epsilons = sorted(set(grids[0]).intersection(*grids[1:]) - {0.0})
    if not epsilons:
        return []
    rows = []
    for method in method_order(group):
        curves = {name: group.curves(f"attack/{name}", method) for name in names}
        if all(curves.values()):
            accuracies = [
                " / ".join(_at(curves[name], epsilon, "accuracy", 100, 1) for name in names) for epsilon in epsilons
            ]
            perturbations = [_at(curves[name], epsilons[-1], "mean_perturbation", 1, 3) for name in names[:2]]
            rows.append([method, *accuracies, " / ".join(perturbations)])
    headings = [
        "accuracy % at ε =",
        *(f"{epsilon:g}" for epsilon in epsilons),
        f"mean perturbation at ε = {epsilons[-1]:g}",
    ]
    caption = (
        f"**The attack of the paper and stronger attacks**: accuracy % under {' / '.join(names)}, and the mean absolute "
        f"perturbation of a pixel by {' / '.join(names[:2])}. `{PAPER}` averages the adversarial examples of single networks. "
        "Where the networks disagree, their perturbations cancel out, and the average is smaller than ε allows."
    )
    return [paragraph(caption), Table(headings, rows)]


def _at(curves: list[Curve], epsilon: float, column: str, factor: float, digits: int) -> str:
    """Mean over the curves that have this epsilon."""
    values = [
        curve[column][curve["epsilon"].index(epsilon)]
        for curve in curves
        if epsilon in curve["epsilon"] and column in curve
    ]
    return f"{factor * fmean(values):.{digits}f}" if values else DASH
