"""The one figure of a classification on the first page: cost against likelihood, robustness, OOD detection under attack."""

from collections.abc import Mapping
from typing import Any

from bbh_bench.leaderboard.columns import RELATIVE_FIT_COST
from bbh_bench.leaderboard.drawing import drawn_methods, few_ticks, line, new_figure, plain_logarithmic_ticks, png
from bbh_bench.leaderboard.rendering import score_column
from bbh_bench.leaderboard.statistics import column_values
from bbh_bench.leaderboard.tables import TaskRecords

ROBUST = "robust/linf"


def has_summary(group: TaskRecords) -> bool:
    """Whether the figure can be drawn: the records must have a worst case over attacks."""
    return group.task.kind == "classification" and group.has(ROBUST)


def summary_figure(group: TaskRecords, styles: Mapping[str, dict[str, Any]]) -> bytes:
    """A PNG file of two or three panels, with a line or a point for each method."""
    sets = group.uncertainty_sets()
    figure = new_figure(4.2 * (3 if sets else 2), 3.6)
    axes = list(figure.subplots(1, 3 if sets else 2, squeeze=False).flat)
    _costs(axes[0], group, styles)
    _curves(axes[1], group, styles, ROBUST, "accuracy")
    axes[1].set(title="worst case over the L∞ attacks", ylabel="accuracy", xlabel="ε (L∞)", ylim=(-0.02, 1.02))
    if sets:
        _curves(axes[2], group, styles, f"uncertainty/{sets[0]}", "auroc_both")
        axes[2].axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
        label = f"AUROC, {sets[0]}, both sets attacked"
        axes[2].set(title="OOD detection under attack", ylabel=label, xlabel="ε (L∞)", ylim=(-0.02, 1.02))
    handles, labels = axes[1].get_legend_handles_labels()
    return png(figure, handles, [f"{name} (audit failed)" if group.failed_checks(name) else name for name in labels])


def _costs(axis: Any, group: TaskRecords, styles: Mapping[str, dict[str, Any]]) -> None:
    """A point for each method: relative cost, and NLL with its interval."""
    nll = column_values(group, score_column(group, "NLL", "test/nll")).values
    costs = column_values(group, RELATIVE_FIT_COST).values
    for name in drawn_methods(group):
        if name in nll and name in costs:
            y, half = nll[name].mean, nll[name].half
            cost = max(costs[name].mean, 1e-3)
            error = None if half is None else [[min(half, 0.99 * y) if y > 0 else half], [half]]
            axis.errorbar(cost, y, yerr=error, **styles[name], markersize=7, capsize=2, linewidth=1)
    axis.set(xscale="log", title="likelihood against cost: lower left is better")
    axis.set(xlabel="relative cost of the fit (MAP = 1)", ylabel="test NLL")
    axes = [axis.xaxis]
    means = [value.mean for value in nll.values()]
    if means and min(means) > 0:
        axis.set(yscale="log", ylim=(min(means) / 2, 2 * max(means)))  # intervals may reach 0
        axes.append(axis.yaxis)
    for each in axes:
        plain_logarithmic_ticks(each)


def _curves(axis: Any, group: TaskRecords, styles: Mapping[str, dict[str, Any]], name: str, quantity: str) -> None:
    few_ticks(axis.xaxis)
    for method in sorted(drawn_methods(group), key=list(styles).index):
        style = styles[method] | {"linestyle": "--" if group.failed_checks(method) else "-", "markersize": 4}
        line(axis, group.curves(name, method), quantity, style, method)
