"""Means and t intervals over seeds, the order of methods, and how they compare."""

import math
from collections.abc import Sequence
from statistics import fmean

from bbh_bench.leaderboard.comparison import FEWEST_SEEDS, Comparison, compare, half_width
from bbh_bench.leaderboard.tables import Column, ColumnValues, TaskRecords, Value
from bbh_bench.records.record import Record


def method_order(group: TaskRecords) -> list[str]:
    """Methods with finished records by the mean of the task's headline score, best first."""
    headline = group.task.headline
    sign = -1 if group.direction(headline) == "higher" else 1
    means = {name: sign * fmean(each.scores[headline] for each in own) for name, own in group.by_method.items()}
    return sorted(means, key=lambda name: means[name])


def by_seed(column: Column, records: Sequence[Record]) -> dict[int, float]:
    """The values that records have, which are of one method, by seed."""
    values = {record.seed: column.value(record) for record in records}
    return {seed: value for seed, value in values.items() if not math.isnan(value)}


def column_values(group: TaskRecords, column: Column) -> ColumnValues:
    """Mean, interval and marks of each method, and the ranks. Computed once for each group."""
    if column not in group.computed:
        group.computed[column] = _column_values(group, column)
    return group.computed[column]


def _column_values(group: TaskRecords, column: Column) -> ColumnValues:
    pairs = comparison(group, column)
    best = pairs.best() if pairs else None
    ranks = pairs.ranks() if pairs and len(pairs.methods) > 1 else {}
    known = {name: list(by_seed(column, records).values()) for name, records in group.by_method.items()}
    values = {
        name: Value(
            fmean(own),
            half_width(own) if len(own) > 1 else None,
            len(own),
            best=name == best,
            struck_out=column.depends_on_audit and bool(group.failed_checks(name)),
            bound=column.may_be_bound and group.only_bounds(name),
        )
        for name, own in known.items()
        if own
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
    for name, records in group.by_method.items():
        distrusted = column.depends_on_audit and group.failed_checks(name)
        if not distrusted and not (column.may_be_bound and group.only_bounds(name)):
            scores[name] = by_seed(column, records)
    return compare(scores, column.direction, group.images.get(column.name))


def is_provisional(group: TaskRecords, method: str) -> bool:
    """Whether a method has too few seeds for a rank."""
    return len(group.by_method.get(method, [])) < FEWEST_SEEDS
