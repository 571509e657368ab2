"""The board's part on differences that matter in practice."""

from collections.abc import Sequence

from bbh_bench.leaderboard.columns import overview_columns
from bbh_bench.leaderboard.page import Block
from bbh_bench.leaderboard.practical import practical, rope
from bbh_bench.leaderboard.rendering import DASH, Table, escaped, paragraph
from bbh_bench.leaderboard.statistics import column_values, comparison, method_order
from bbh_bench.leaderboard.tables import Column, TaskRecords

CAPTION = (
    "**Practical differences**: the probability in % that a method is better / practically equal / worse than the method with "
    "the best mean in each score, from paired differences on the same seeds (Bayesian t test, Benavoli et al. 2017). "
    "Practically equal: {}. It says nothing about other test images."
)
HERE = "best mean"


def equivalence_section(group: TaskRecords) -> list[Block]:
    """A caption and a table of the scores of the first page whose practical equivalence is defined; or nothing."""
    columns = [column for column in overview_columns(group) if rope(column.name) is not None]
    texts = {column: _texts(group, column) for column in columns}
    shown = [column for column in columns if len(texts[column]) > 1]
    if not shown:
        return []
    rows = [[method, *(texts[column].get(method, DASH) for column in shown)] for method in method_order(group)]
    headings = ["method", *(column.subject for column in shown)]
    return [paragraph(CAPTION.format(_regions(group, shown))), Table(headings, rows)]


def _texts(group: TaskRecords, column: Column) -> dict[str, str]:
    """Of each method that can be compared, the reference included."""
    pairs, region = comparison(group, column), rope(column.name)
    if pairs is None or region is None or not pairs.methods:
        return {}
    reference = _best(group, column, pairs.methods)
    half_width = _half_width(group, column, column_values(group, column).values[reference].mean)
    texts = {reference: HERE}
    for name in pairs.methods:
        known = [{each.seed: column.value(each) for each in group.by_method[one]} for one in (name, reference)]
        seeds = sorted(known[0].keys() & known[1].keys())
        found = practical([known[0][seed] - known[1][seed] for seed in seeds], half_width, pairs.better)
        if name != reference and found is not None:
            texts[name] = " / ".join(f"{100 * share:.0f}" for share in (found.better, found.equal, found.worse))
    return texts


def _best(group: TaskRecords, column: Column, methods: Sequence[str]) -> str:
    """The one of these methods with the best mean."""
    sign = -1 if column.direction == "higher" else 1
    values = column_values(group, column).values
    return min(methods, key=lambda name: sign * values[name].mean)


def _half_width(group: TaskRecords, column: Column, reference: float) -> float:
    """Of the region, in the unit that the column shows."""
    region = rope(column.name)
    images = [len(values) for seeds in group.images.get(column.name, {}).values() for values in seeds.values()]
    return (
        0.0
        if region is None
        else column.factor * region.half_width(reference / column.factor, images[0] if images else None)
    )


def _regions(group: TaskRecords, columns: list[Column]) -> str:
    """How large a difference may be, in words."""
    parts = []
    for column in columns:
        values = column_values(group, column).values
        reference = values[_best(group, column, list(values))].mean
        parts.append(f"{escaped(column.subject)} within {_half_width(group, column, reference):.2g}")
    return ", ".join(parts)
