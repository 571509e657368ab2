"""Which columns the tables of a task have, by the task's kind."""

import math
from dataclasses import replace

from bbh_bench.leaderboard.corruption import corruption_columns
from bbh_bench.leaderboard.fidelity_figure import AGREEMENT, DISTANCE, fidelity_sets, floor, set_title
from bbh_bench.leaderboard.ood_detection import DETECTORS, detection_columns
from bbh_bench.leaderboard.rendering import score_column
from bbh_bench.leaderboard.selective import OWN, selective_columns
from bbh_bench.leaderboard.tables import ATTACKED_SETS, COST, Column, TaskRecords

NORMS = {"linf": "L∞", "l2": "L2"}
"""Names of norms in records, and as they are written."""
RELATIVE_FIT_COST = Column("relative cost (MAP = 1)", f"{COST}fit/relative", 1)
FIRST_PAGE = "first page"
"""Title of the section that the first page shows."""
COSTS = [
    RELATIVE_FIT_COST,
    Column("fit, s", f"{COST}fit/seconds", 1),
    Column("1,000 images, MAP steps", f"{COST}predict/steps_per_1000", 1),
    Column("1,000 images, s", f"{COST}predict/seconds_per_1000", 3),
    Column("attacks (MAP = 1)", f"{COST}attack/relative", 2),
    Column("attacks, s", f"{COST}attack/seconds", 1),
    Column("peak memory, MiB", f"{COST}peak_memory_bytes", 0, 2.0**-20),
    Column("parameters", f"{COST}parameters", 0),
]
ATTACK_SCORES = {
    "robust_accuracy_auc": ("robust-accuracy AUC", 3, 1.0),
    "degradation": ("attack degradation, points,", 1, 100.0),
    "median_distance": ("median smallest perturbation", 3, 1.0),
}
"""Heading, decimals and factor of each score of an attack."""
SIGNIFICANT_DIGITS = 4
"""Of the scores of a task whose kind is not known here."""


def overview_columns(group: TaskRecords) -> list[Column]:
    """The table of the first page: eight headings at most. Columns that share a heading share a column of the table."""
    if group.task.kind == "classification":
        columns = _short_classification(group)
    elif group.task.kind == "regression":
        columns = _regression(group)[:7]
    else:
        columns = _all_scores(group)[:7]
    return [*columns, replace(RELATIVE_FIT_COST, heading="relative cost", interval=False)]


def _short_classification(group: TaskRecords) -> list[Column]:
    """Error, NLL, ECE, AUROC of the first OOD set, entropy AUC on both sets, robust accuracy at one epsilon, degradation."""
    columns = [
        score_column(group, "total variation", "test/total_variation", 4),
        score_column(group, "agreement %", "test/agreement", 2, 100),
        score_column(group, "error %", "test/error", 2, 100),
        score_column(group, "NLL", "test/nll", 4),
        score_column(group, "ECE", "test/ece", 4),
        *corruption_columns(group)[:2],
    ]
    entropy = "entropy AUC in / OOD"
    both = [score_column(group, entropy, "test/entropy_auc", 2)]
    for name in group.ood_sets()[:1]:
        columns.append(score_column(group, "OOD AUROC", f"ood/{name}/auroc"))
        both.append(score_column(group, entropy, f"ood/{name}/entropy_auc", 2))
    columns += [replace(column, interval=False) for column in both]
    for name in group.score_names("robust/linf/accuracy@")[:1]:
        heading = f"robust accuracy at ε = {_epsilon(float(name.partition('@')[2]))}, %"
        columns.append(score_column(group, heading, name, 1, 100))
    return [*columns, score_column(group, "attack degradation", "robust/linf/degradation", 1, 100)]


def _epsilon(value: float) -> str:
    """A multiple of 1 / 255 as a fraction, if it is one of few; else with its digits."""
    levels = value * 255
    is_fraction = abs(levels - round(levels)) < 1e-4 and levels < 64 and f"{value:g}" != f"{value:.3g}"
    return f"{levels:.0f}/255" if is_fraction else f"{value:g}"


def main_columns(group: TaskRecords) -> list[Column]:
    """The first table of a task."""
    if group.task.kind == "classification":
        columns = _classification(group)
    elif group.task.kind == "regression":
        columns = _regression(group)
    else:
        columns = _all_scores(group)
    return [*columns, RELATIVE_FIT_COST]


def _classification(group: TaskRecords) -> list[Column]:
    columns = [
        score_column(group, "total variation", "test/total_variation", 4),
        score_column(group, "error %", "test/error", 2, 100),
        score_column(group, "NLL", "test/nll", 4),
        score_column(group, "ECE", "test/ece", 4),
        score_column(group, "entropy AUC", "test/entropy_auc"),
    ]
    for name in group.ood_sets()[:1]:
        columns.append(score_column(group, "OOD entropy AUC", f"ood/{name}/entropy_auc"))
        columns.append(score_column(group, "OOD AUROC", f"ood/{name}/auroc"))
        columns.append(score_column(group, "OOD AUROC under attack", f"uncertainty/{name}/auroc_both"))
    return [*columns, *robustness_columns(group, "linf")]


def _regression(group: TaskRecords) -> list[Column]:
    known = [
        score_column(group, "RMSE inside", "inside/rmse", 2),
        score_column(group, "NLL inside", "inside/nll"),
        score_column(group, "NLL on the grid", "grid/nll", 2),
        *[score_column(group, f"coverage of {k} %", f"inside/coverage{k}", 1, 100) for k in (50, 90, 95)],
        score_column(group, "95 % width outside", "outside/width", 1),
        *[score_column(group, f"total variation {k}", f"{k}/total_variation", 4) for k in ("inside", "outside")],
    ]
    names = {column.name for column in known}
    others = [column for column in _all_scores(group) if column.name not in names]
    return [*known, *[column for column in others if not column.name.endswith("total_variation_floor")]]


def _all_scores(group: TaskRecords) -> list[Column]:
    """Every score under its own name, the headline first."""
    headline = group.task.headline
    names = sorted(group.score_names(), key=lambda name: name != headline)
    return [score_column(group, name, name, _decimals(group, name)) for name in names]


def _decimals(group: TaskRecords, name: str) -> int:
    """So many that the largest value has ``SIGNIFICANT_DIGITS``; 1 to 8, so that standard errors are shown."""
    largest = max(abs(record.scores.get(name, 0.0)) for record in group.finished)
    if largest == 0:
        return 1
    return min(8, max(1, SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(largest))))


def robustness_columns(group: TaskRecords, norm: str) -> list[Column]:
    """The worst case over the attacks of a norm."""
    accuracies = {"accuracy": "", "known_accuracy": ", known networks"}
    return [
        *[
            score_column(
                group, f"robust accuracy at ε = {_epsilon(float(name.partition('@')[2]))}{networks}, %", name, 1, 100
            )
            for kind, networks in accuracies.items()
            for name in group.score_names(f"robust/{norm}/{kind}@")
        ],
        score_column(group, "attack degradation, points", f"robust/{norm}/degradation", 1, 100),
        score_column(group, "robust-accuracy AUC", f"robust/{norm}/robust_accuracy_auc"),
    ]


def sections(group: TaskRecords) -> dict[str, list[Column]]:
    """All columns by the title of the section that they belong to. Some are in several sections."""
    named = {FIRST_PAGE: overview_columns(group), "first table": main_columns(group)}
    if group.task.kind == "classification":
        named |= {"in distribution": in_distribution_columns(group)}
        named |= {"selective prediction and calibration": selective_columns(group)}
        named |= {"corrupted test images": corruption_columns(group)}
        named |= {f"OOD: {name}": ood_columns(group, name) for name in group.ood_sets()}
        named |= {f"OOD detection: {name}": detection_columns(group, name) for name in group.ood_sets()}
        named |= {f"worst case over {sign} attacks": robustness_columns(group, norm) for norm, sign in NORMS.items()}
        named |= {f"attack: {name}": attack_columns(group, name) for name in group.attacks()}
        named |= {
            f"attacks on the uncertainty: {name}": uncertainty_columns(group, name) for name in group.uncertainty_sets()
        }
        named |= {"other scores": other_columns(group)}
    if fidelity_sets(group):
        named |= {"fidelity to the exact posterior": fidelity_columns(group)}
    return named | {"cost": COSTS}


def attack_columns(group: TaskRecords, attack: str) -> list[Column]:
    """The scores of one attack."""
    return [
        score_column(group, f"{heading} under {attack}", f"attack/{attack}/{score}", decimals, factor)
        for score, (heading, decimals, factor) in ATTACK_SCORES.items()
        if group.has(f"attack/{attack}/{score}")
    ]


def uncertainty_columns(group: TaskRecords, ood_set: str) -> list[Column]:
    """OOD detection while images are attacked."""
    return [
        score_column(group, f"mean AUROC over ε, {words} attacked", f"uncertainty/{ood_set}/auroc_{which}")
        for which, words in ATTACKED_SETS.items()
    ]


def in_distribution_columns(group: TaskRecords) -> list[Column]:
    """A classification on its test set."""
    return [
        score_column(group, "error %", "test/error", 2, 100),
        score_column(group, "NLL", "test/nll", 4),
        score_column(group, "Brier", "test/brier", 4),
        score_column(group, "ECE", "test/ece", 4),
        score_column(group, "signed calibration error", "test/signed_ece", 4),
        score_column(group, "temperature-scaled NLL", "test/nll_scaled", 4),
        *_entropy_columns(group, "test"),
        *_third_party_columns(group, "test/"),
    ]


def ood_columns(group: TaskRecords, name: str) -> list[Column]:
    """A classification on one out-of-distribution set."""
    auc, *entropies = _entropy_columns(group, f"ood/{name}")
    return [
        auc,
        score_column(group, "AUROC", f"ood/{name}/auroc"),
        score_column(group, "AUPR", f"ood/{name}/aupr"),
        score_column(group, "FPR95", f"ood/{name}/fpr95"),
        *entropies,
        *_third_party_columns(group, f"ood/{name}/"),
    ]


def fidelity_columns(group: TaskRecords) -> list[Column]:
    """Total variation, with its floor in the heading, and agreement on every set."""
    columns = []
    for name in fidelity_sets(group):
        known = floor(group, name)
        beside = "" if known is None else f" (floor {known:.4f})"
        columns += [
            score_column(group, f"{set_title(name)}: total variation{beside}", f"{name}/{DISTANCE}", 4),
            score_column(group, f"{set_title(name)}: agreement %", f"{name}/{AGREEMENT}", 2, 100),
        ]
    return [column for column in columns if group.has(column.name)]


def other_columns(group: TaskRecords) -> list[Column]:
    """Scores of a classification that no other table shows."""
    shown = ("test/", "corrupted/", "ood/", "attack/", "robust/", "uncertainty/")
    return [column for column in _all_scores(group) if not column.name.startswith(shown)]


def _entropy_columns(group: TaskRecords, images: str) -> list[Column]:
    return [
        score_column(group, "entropy AUC", f"{images}/entropy_auc"),
        score_column(group, "entropy", f"{images}/entropy"),
        score_column(group, "expected entropy", f"{images}/expected_entropy"),
        score_column(group, "mutual information", f"{images}/mutual_information", 4),
    ]


BUILT_IN = {
    *(
        "error",
        "nll",
        "brier",
        "ece",
        "signed_ece",
        "nll_scaled",
        "entropy_auc",
        "entropy",
        "expected_entropy",
        "mutual_information",
    ),
    *("aupr", "fpr95", *DETECTORS, *OWN),
    *("total_variation", "total_variation_floor", "agreement"),
}
"""Last parts of the names of scores that have a column of their own."""


def _third_party_columns(group: TaskRecords, prefix: str) -> list[Column]:
    """Scores of metrics that are not built in."""
    metrics = {name: name.removeprefix(prefix) for name in sorted(group.score_names(prefix))}
    return [score_column(group, metric, name) for name, metric in metrics.items() if metric not in BUILT_IN]
