"""Figures about whole methods: ranks, trade-offs, and what the paper reports."""

from collections.abc import Sequence

from markupsafe import Markup

from bbh_bench.leaderboard.columns import RELATIVE_FIT_COST
from bbh_bench.leaderboard.drawing import drawn_methods
from bbh_bench.leaderboard.model import TaskModel
from bbh_bench.leaderboard.reproduction import paper_points
from bbh_bench.leaderboard.site.charts import curve_points
from bbh_bench.leaderboard.site.panels import Panel, Point, Style, figure, intervals, lines, scatter
from bbh_bench.leaderboard.statistics import method_order
from bbh_bench.leaderboard.tables import ColumnValues, TaskRecords
from bbh_bench.leaderboard.trade_off import front, subjects, trade_off_columns

CHEAPEST = 1e-3
"""Relative cost that is drawn for a fit without any cost: the axis is logarithmic."""
RANKS = (
    "The first score of the task: mean and 95 % t interval over seeds. Methods with the same rank cannot be told apart when "
    "all pairs are compared; an asterisk marks provisional rows."
)
TRADE_OFFS = (
    "Filled markers are on the Pareto front of {}: no other method is better in one of them and at least as good in the "
    "others, by the means. Rules are 95 % t intervals."
)
SUMMARY = "Likelihood against cost, accuracy in the worst case, and OOD detection where both sets are attacked."
PAPER = "Hollow: the one run of the paper. Filled: ours, with 95 % t intervals over seeds."


def summary_figure(group: TaskRecords, model: TaskModel, style: Style) -> Markup:
    """What the first page shows of a classification."""
    methods = drawn_methods(group)
    panels = _trade_off(model, style, RELATIVE_FIT_COST.name, "test/nll", None)
    worst = curve_points(group, "robust/linf", "accuracy")
    if worst:
        panels.append(Panel("worst case over L∞ attacks", lines(worst, methods, style, ("ε (L∞)", "accuracy"), (0, 1))))
    for name in group.uncertainty_sets()[:1]:
        points = curve_points(group, f"uncertainty/{name}", "auroc_both")
        titles = ("ε (L∞)", f"AUROC, {name}")
        panels.append(Panel("OOD detection under attack", lines(points, methods, style, titles, (0, 1))))
    return figure(panels, SUMMARY, style.legend(method_order(group), filter(group.failed_checks, methods)))


def rank_figure(model: TaskModel, style: Style) -> Markup:
    """The headline of each method with its rank."""
    headline = _column(model, model.headline)
    if headline is None:
        return Markup("")
    points: list[Point] = []
    for row in model.rows:
        value = headline.values.get(row.method)
        if value is not None:
            half = value.half or 0.0
            label = "*" if row.provisional else f"{row.rank}" if row.rank else ""
            points.append(
                {
                    "method": row.method,
                    "x": value.mean,
                    "low": value.mean - half,
                    "high": value.mean + half,
                    "label": label,
                }
            )
    methods = [point["method"] for point in points]
    title = headline.column.subject
    return figure([Panel(f"ranks by {title}", intervals(points, methods, style, title))], RANKS)


def trade_off_figure(group: TaskRecords, model: TaskModel, style: Style) -> Markup:
    """Two panels of four scores that no method is best in all of: error, OOD AUROC, robust accuracy, relative cost."""
    columns = trade_off_columns(group)
    if not columns:
        return Markup("")
    error, ood, robust, cost = (column.column.name for column in columns)
    best = front(columns)
    panels = [*_trade_off(model, style, cost, error, best), *_trade_off(model, style, ood, robust, best)]
    return figure(panels, TRADE_OFFS.format(subjects(columns)), style.legend(method_order(group)))


def _trade_off(model: TaskModel, style: Style, x_name: str, y_name: str, best: Sequence[str] | None) -> list[Panel]:
    """One panel, or none if a column is missing. Without a front every marker is filled."""
    x, y = _column(model, x_name), _column(model, y_name)
    if x is None or y is None:
        return []
    points: list[Point] = []
    for row in model.rows:
        if row.method in x.values and row.method in y.values:
            ends = {**_ends("x", x, row.method), **_ends("y", y, row.method)}
            points.append({"method": row.method, "front": best is None or row.method in best, **ends})
    logarithmic = (x_name.startswith("cost/"), y_name.endswith("/nll") and all(point["y"] > 0 for point in points))
    titles = (x.column.subject, y.column.subject)
    methods = [point["method"] for point in points]
    return [Panel(f"{titles[1]} against {titles[0]}", scatter(points, methods, style, titles, logarithmic))]


def _ends(letter: str, column: ColumnValues, method: str) -> dict[str, float]:
    """Mean and ends of the interval, above 0 where the axis may be logarithmic."""
    value = column.values[method]
    positive = column.column.name.startswith("cost/") or column.column.name.endswith("/nll")
    mean = max(value.mean, CHEAPEST) if positive else value.mean
    half = value.half or 0.0
    low = max(mean - half, mean / 10) if positive and mean > 0 else mean - half
    return {letter: mean, f"{letter}_low": low, f"{letter}_high": mean + half}


def reproduction_figure(group: TaskRecords, style: Style) -> Markup:
    """The errors of the paper and ours, a panel for each table."""
    panels = []
    for title, points in paper_points(group):
        methods = list(dict.fromkeys(str(point["method"]) for point in points))
        y = {"field": "method", "type": "nominal", "sort": methods, "title": None}
        spec = intervals([point for point in points if not point["paper"]], methods, style, "error %")
        paper = {
            "data": {"values": [point for point in points if point["paper"]]},
            "mark": {"type": "point", "filled": False, "size": 110, "strokeWidth": 2},
            "encoding": {
                "y": y,
                "x": {"field": "x", "type": "quantitative"},
                "shape": style.shape(methods),
                "tooltip": [{"field": "method"}, {"field": "x", "title": "error % of the paper"}],
            },
        }
        panels.append(Panel(f"{title} of the paper: error %", spec | {"layer": [paper, *spec["layer"]]}))
    return figure(panels, PAPER)


def _column(model: TaskModel, name: str) -> ColumnValues | None:
    return next((each for section in model.sections for each in section.columns if each.column.name == name), None)
