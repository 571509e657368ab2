"""Means and standard errors over seeds, the order of methods, and which method is clearly the best."""

import math
from collections.abc import Callable

import pandas as pd

from bbh_bench.leaderboard.tables import Column, TaskRecords
from bbh_bench.records.record import Direction, Record

CLEARLY_BETTER = 2.0
"""Combined standard errors by which the best mean must be ahead of every other."""


def method_order(group: TaskRecords) -> list[str]:
    """Methods with finished records by the mean of the task's headline score, best first."""
    headline = group.task.headline
    frame = _by_method(group, lambda record: record.scores.get(headline, math.nan))
    means = frame.groupby("method")["value"].mean()
    return list(means.sort_values(ascending=group.direction(headline) != "higher", kind="stable").index)


def statistics(group: TaskRecords, column: Column) -> pd.DataFrame:
    """``mean``, ``sem`` (standard error; NaN for one seed) and ``count`` of a column, indexed by method.

    A method without any value has no row.
    """
    frame = _by_method(group, column.value).dropna()
    return frame.groupby("method")["value"].agg(["mean", "sem", "count"])


def clear_best(stats: pd.DataFrame, direction: Direction) -> str | None:
    """The method whose mean is ahead of every other by more than two combined standard errors.

    None if there is no such method, if no direction is better, or if a method has one seed only: its standard error is unknown.
    """
    if direction == "neither" or len(stats) < 2 or stats["sem"].isna().any():
        return None
    ranked = stats.sort_values("mean", ascending=direction == "lower")
    first, others = ranked.iloc[0], ranked.iloc[1:]
    gap = (others["mean"] - first["mean"]).abs()
    error = (others["sem"] ** 2 + first["sem"] ** 2) ** 0.5
    return str(ranked.index[0]) if (gap > CLEARLY_BETTER * error).all() else None


def _by_method(group: TaskRecords, value: Callable[[Record], float]) -> pd.DataFrame:
    rows = [(record.method.name, float(value(record))) for record in group.finished]
    return pd.DataFrame(rows, columns=["method", "value"])
