"""The figure of fidelity: total variation of each method from the exact posterior, with the floor of the reference."""

from collections.abc import Mapping
from typing import Any

from bbh_bench.leaderboard.drawing import new_figure, plain_logarithmic_ticks, png
from bbh_bench.leaderboard.rendering import score_column
from bbh_bench.leaderboard.statistics import column_values, method_order
from bbh_bench.leaderboard.tables import TaskRecords, Value

DISTANCE, FLOOR, AGREEMENT = "total_variation", "total_variation_floor", "agreement"
"""Last parts of the names of scores."""


def fidelity_sets(group: TaskRecords) -> list[str]:
    """Sets on which predictions are compared with the reference; none for a task without one."""
    return [name.rpartition("/")[0] for name in group.score_names() if name.endswith(f"/{DISTANCE}")]


def set_title(name: str) -> str:
    """The name of a set as it is written."""
    return name.replace("ood/", "OOD ")


def floor(group: TaskRecords, name: str) -> float | None:
    """The smallest total variation that means anything on a set: the same in every record."""
    floors = [record.scores[f"{name}/{FLOOR}"] for record in group.finished if f"{name}/{FLOOR}" in record.scores]
    return floors[0] if floors else None


def distances(group: TaskRecords, name: str) -> dict[str, Value]:
    """Total variation of each method on a set, in the order of the first set."""
    first = column_values(group, score_column(group, "", f"{fidelity_sets(group)[0]}/{DISTANCE}")).values
    values = column_values(group, score_column(group, "", f"{name}/{DISTANCE}")).values
    ordered = sorted((method for method in method_order(group) if method in values), key=lambda m: first[m].mean)
    return {method: values[method] for method in ordered}


def fidelity_figure(group: TaskRecords, styles: Mapping[str, dict[str, Any]]) -> bytes:
    """A PNG file: a panel for each set, a row for each method, the best at the top."""
    sets = fidelity_sets(group)
    number = len(group.by_method)
    figure = new_figure(5.0 * len(sets), 1.2 + 0.3 * number)
    for axis, name in zip(figure.subplots(1, len(sets), sharey=True, squeeze=False).flat, sets, strict=True):
        values, lowest = distances(group, name), floor(group, name)
        for row, (method, value) in enumerate(values.items()):
            half = value.half or 0.0
            error = [[min(half, 0.9 * value.mean)], [half]]  # the axis is logarithmic
            axis.errorbar(value.mean, row, xerr=error, **styles[method], markersize=7, capsize=2, linewidth=1)
        if lowest is not None:
            axis.axvline(lowest, color="grey", linestyle="--", linewidth=1)
        axis.set(xscale="log", title=set_title(name), xlabel="total variation", yticks=range(len(values)))
        axis.set_yticklabels(list(values))
        axis.set_ylim(len(values) - 0.5, -0.5)
        plain_logarithmic_ticks(axis.xaxis)
        axis.grid(axis="x", alpha=0.3)
    return png(figure, [], [])
