"""Methods between which a user has to choose: no other method is better in one score and at least as good in the others."""

from collections.abc import Sequence

from bbh_bench.leaderboard.columns import RELATIVE_FIT_COST, overview_columns
from bbh_bench.leaderboard.pareto import pareto_front
from bbh_bench.leaderboard.rendering import code, escaped, paragraph
from bbh_bench.leaderboard.statistics import column_values
from bbh_bench.leaderboard.tables import ColumnValues, TaskRecords


def trade_off_columns(group: TaskRecords) -> list[ColumnValues]:
    """Error, AUROC of the first OOD set, robust accuracy at one epsilon, relative cost; empty if one is missing."""
    columns = overview_columns(group)
    chosen = [column for column in columns if column.name == "test/error" or column.name.endswith("/auroc")]
    chosen += [column for column in columns if column.name.startswith("robust/linf/accuracy@")]
    known = [column_values(group, column) for column in [*chosen, RELATIVE_FIT_COST]]
    return known if len(known) == 4 and all(column.values for column in known) else []


def front(columns: Sequence[ColumnValues]) -> list[str]:
    """The methods on the Pareto front of the means. Values that cannot be trusted, and bounds, take no part."""
    methods = sorted({name for column in columns for name in column.values})
    points = {name: [_mean(column, name) for column in columns] for name in methods}
    return pareto_front(points, ["higher" if column.column.direction == "higher" else "lower" for column in columns])


def _mean(column: ColumnValues, method: str) -> float:
    value = column.values.get(method)
    return float("nan") if value is None or value.struck_out or value.bound else value.mean


def front_sentence(group: TaskRecords) -> list[str]:
    """Which methods are on the front: a paragraph, or nothing."""
    columns = trade_off_columns(group)
    if not columns:
        return []
    names = ", ".join(map(code, front(columns)))
    return [paragraph(f"On the Pareto front of {escaped(subjects(columns))}, by the means: {names}.")]


def subjects(columns: Sequence[ColumnValues]) -> str:
    """The names of the scores, as a list in words, as plain text."""
    *first, last = (column.column.subject.removesuffix(" %").removesuffix(", %") for column in columns)
    return f"{', '.join(first)} and {last}"
