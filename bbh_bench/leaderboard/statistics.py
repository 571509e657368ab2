"""Means and t intervals over seeds, the order of methods, and how they compare."""

import math
from collections.abc import Callable

import pandas as pd

from bbh_bench.leaderboard.comparison import FEWEST_SEEDS, Comparison, compare, half_width
from bbh_bench.leaderboard.tables import Column, TaskRecords
from bbh_bench.records.record import Record


def method_order(group: TaskRecords) -> list[str]:
    """Methods with finished records by the mean of the task's headline score, best first."""
    headline = group.task.headline
    frame = _by_method(group, lambda record: record.scores.get(headline, math.nan))
    means = frame.groupby("method")["value"].mean()
    return list(means.sort_values(ascending=group.direction(headline) != "higher", kind="stable").index)


def statistics(group: TaskRecords, column: Column) -> pd.DataFrame:
    """``mean``, ``half`` (of the 95 % t interval; NaN for one seed) and ``count`` of a column, indexed by method.

    A method without any value has no row.
    """
    frame = _by_method(group, column.value).dropna()
    return frame.groupby("method")["value"].agg(["mean", half_width, "count"]).rename(columns={"half_width": "half"})


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


def _by_method(group: TaskRecords, value: Callable[[Record], float]) -> pd.DataFrame:
    rows = [(record.method.name, float(value(record))) for record in group.finished]
    return pd.DataFrame(rows, columns=["method", "value"])
