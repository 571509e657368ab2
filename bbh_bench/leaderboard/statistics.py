"""Means and t intervals over seeds, the order of methods, and how they compare."""

import math
from statistics import fmean

import pandas as pd

from bbh_bench.leaderboard.comparison import FEWEST_SEEDS, Comparison, compare, half_width
from bbh_bench.leaderboard.tables import Column, ColumnValues, TaskRecords, Value


def method_order(group: TaskRecords) -> list[str]:
    """Methods with finished records by the mean of the task's headline score, best first."""
    headline = group.task.headline
    scores: dict[str, list[float]] = {}
    for record in sorted(group.finished, key=lambda record: record.method.name):
        scores.setdefault(record.method.name, []).append(record.scores[headline])
    sign = -1 if group.direction(headline) == "higher" else 1
    return sorted(scores, key=lambda name: sign * fmean(scores[name]))


def statistics(group: TaskRecords, column: Column) -> pd.DataFrame:
    """``mean``, ``half`` (of the 95 % t interval; NaN for one seed) and ``count`` of a column, indexed by method.

    A method without any value has no row.
    """
    values = column_values(group, column).values
    rows = [(value.mean, math.nan if value.half is None else value.half, value.count) for value in values.values()]
    return pd.DataFrame(rows, index=pd.Index(list(values), name="method"), columns=["mean", "half", "count"])


def column_values(group: TaskRecords, column: Column) -> ColumnValues:
    """Mean, interval and marks of each method, and the ranks. Computed once for each group."""
    if column not in group.computed:
        group.computed[column] = _column_values(group, column)
    return group.computed[column]


def _column_values(group: TaskRecords, column: Column) -> ColumnValues:
    pairs = comparison(group, column)
    best = pairs.best() if pairs else None
    ranks = pairs.ranks() if pairs and len(pairs.methods) > 1 else {}
    by_method: dict[str, list[float]] = {}
    for record in group.finished:
        value = column.value(record)
        if not math.isnan(value):
            by_method.setdefault(record.method.name, []).append(value)
    values = {
        name: Value(
            fmean(own),
            half_width(own) if len(own) > 1 else None,
            len(own),
            best=name == best,
            struck_out=column.depends_on_audit and bool(group.failed_checks(name)),
            bound=column.may_be_bound and group.only_bounds(name),
        )
        for name, own in sorted(by_method.items())
    }
    return ColumnValues(column, values, ranks)


def comparison(group: TaskRecords, column: Column) -> Comparison | None:
    """All pairs of methods in a column; None if no direction is better.

    Methods with fewer than three seeds take no part, nor do those whose values cannot be trusted: robustness of a method that
    failed the audit, and bounds.
    """
    if column.direction == "neither":
        return None
    scores: dict[str, dict[int, float]] = {}
    for record in group.finished:
        name, value = record.method.name, column.value(record)
        distrusted = column.depends_on_audit and group.failed_checks(name)
        if not math.isnan(value) and not distrusted and not (column.may_be_bound and group.only_bounds(name)):
            scores.setdefault(name, {})[record.seed] = value
    return compare(scores, column.direction, group.images.get(column.name))


def is_provisional(group: TaskRecords, method: str) -> bool:
    """Whether a method has too few seeds for a rank."""
    return sum(record.method.name == method for record in group.finished) < FEWEST_SEEDS
