"""Tables of the board as markdown: means and standard errors, the best in bold, the unsound struck out."""

import math
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from bbh_bench.leaderboard.tables import Column, TaskRecords, clear_best, order, statistics

DASH = "–"


def score(group: TaskRecords, heading: str, key: str, decimals: int = 3, factor: float = 1.0) -> Column:
    """A column of scores, with an arrow in its heading where they have a better side."""
    better = group.better(key)
    arrow = {"lower": " ↓", "higher": " ↑"}.get(better, "")
    return Column(heading + arrow, key, decimals, factor, better)


def table(group: TaskRecords, columns: list[Column], texts: Mapping[str, Mapping[str, str]] = {}) -> str:
    """One row a method, best first; a method of which every cell failed stands at the end.

    A figure of robustness is struck out, and isn't ranked, where the method's audit failed. ``texts``: further columns, by
    their headings, of a text for each method.
    """
    seeds = {name: sum(r.method["name"] == name for r in group.finished) for name in order(group)}
    lost = [name for name in dict.fromkeys(r.method["name"] for r in group.failed) if name not in seeds]
    cells = {name: [_n(group, name, n)] for name, n in seeds.items()} | {name: ["failed"] for name in lost}
    for column in columns:
        stats = statistics(group, column)
        struck = [name for name in stats.index if column.of_robustness and group.unsound(str(name))]
        best = clear_best(stats.drop(index=struck), column.better)
        for name in cells:
            text = _show(stats.loc[name], column, seeds[name]) if name in stats.index else DASH
            marked = {"~~": name in struck, "**": name == best}
            mark = next((mark for mark, holds in marked.items() if holds), "")
            cells[name].append(f"{mark}{text}{mark}")
    for of_method in texts.values():
        for name in cells:
            cells[name].append(of_method.get(name, DASH))
    headings = ["method", "n", *(column.heading for column in columns), *texts]
    return markdown_table(headings, [[name, *row] for name, row in cells.items()])


def _n(group: TaskRecords, method: str, finished: int) -> str:
    failed = sum(record.method["name"] == method for record in group.failed)
    return f"{finished} ({failed} failed)" if failed else str(finished)


def _show(stats: "object", column: Column, seeds: int) -> str:
    mean, sem, count = (float(stats[key]) for key in ("mean", "sem", "count"))  # type: ignore[index]
    text = f"{mean:,.{column.decimals}f}"
    if not math.isnan(sem) and column.decimals > 0:
        text += f" ± {sem:,.{column.decimals}f}"
    return text if count == seeds else f"{text} (n = {count:.0f})"


def markdown_table(headings: list[str], rows: Sequence[Sequence[object]]) -> str:
    """The first column to the left, the others to the right."""
    alignment = ["left", *["right"] * (len(headings) - 1)]
    return tabulate(
        rows, headers=headings, tablefmt="pipe", colalign=alignment if rows else None, disable_numparse=True
    )
