"""What differs between two boards: what appeared and vanished, and which scores moved beyond noise."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy.stats import ttest_ind

from bbh_bench.leaderboard.columns import overview_columns
from bbh_bench.leaderboard.comparison import FEWEST_SEEDS, LEVEL, holm, paired
from bbh_bench.leaderboard.statistics import by_seed, column_values
from bbh_bench.leaderboard.tables import Column, TaskRecords, by_task
from bbh_bench.records.record import Record

NOTHING = "The boards do not differ."


@dataclass(frozen=True)
class Move:
    """A score of a method on both boards."""

    method: str
    column: Column
    first: float
    """Mean over the seeds of the first board."""
    second: float
    p: float | None
    """Of no difference, before correction. None if there are too few seeds for a test."""


def board_diff(first: Sequence[Record], second: Sequence[Record]) -> str:
    """The whole comparison as text.

    Scores of a method are compared on the same seeds by a paired t test; where the boards have fewer than three seeds in
    common, by Welch's. Over all scores of a task, p is corrected by Holm.
    """
    before, after = _by_identity(first), _by_identity(second)
    parts = []
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if old is None and new is not None:
            parts.append(f"{_title(new)}: appeared, with {_cells(new.records)}.")
        elif new is None and old is not None:
            parts.append(f"{_title(old)}: vanished; it had {_cells(old.records)}.")
        elif old is not None and new is not None:
            lines = list(_task_lines(old, new))
            parts += ["\n".join([f"{_title(new)}:", *(f"  {line}" for line in lines)])] if lines else []
    return "\n\n".join(parts) or NOTHING


def moves(old: TaskRecords, new: TaskRecords) -> list[Move]:
    """Every score of the first page that a method has on both boards and that differs on one of its seeds."""
    found = []
    for column in overview_columns(new):
        if column.name.startswith("cost/"):
            continue  # costs of two machines or days
        for method in (name for name in new.by_method if name in old.by_method):
            first, second = by_seed(column, old.by_method[method]), by_seed(column, new.by_method[method])
            if first and second and first != second:
                found.append(Move(method, column, fmean(first.values()), fmean(second.values()), _p(first, second)))
    return found


def _p(first: Mapping[int, float], second: Mapping[int, float]) -> float | None:
    """None if there are fewer than three seeds."""
    common = first.keys() & second.keys()
    if all(first[seed] == second[seed] for seed in common) and len(common) == min(len(first), len(second)):
        return 1.0  # one board has further seeds, the others are the same
    if len(common) >= FEWEST_SEEDS:
        return paired(first, second).p
    if min(len(first), len(second)) < FEWEST_SEEDS:
        return None
    p = float(ttest_ind(list(first.values()), list(second.values()), equal_var=False).pvalue)
    return 1.0 if math.isnan(p) else p  # where neither board has any noise


def _task_lines(old: TaskRecords, new: TaskRecords) -> Iterator[str]:
    yield from _method_lines(old, new)
    further = _further_scores(old, new)
    if further:
        yield further
    found = moves(old, new)
    tested = [move for move in found if move.p is not None]
    corrected = holm([move.p for move in tested if move.p is not None])
    within = 0
    for move, p in zip(tested, corrected, strict=True):
        if p < LEVEL:
            yield f"{_text(move)}: beyond noise (p = {p:.2g})"
        within += p >= LEVEL
    for move in found:
        if move.p is None:
            yield f"{_text(move)}: fewer than {FEWEST_SEEDS} seeds, no test"
    if within:
        yield f"{within} {'score' if within == 1 else 'scores'} moved within noise"
    ranks = _ranks(old), _ranks(new)
    for method in ranks[1]:
        if method in ranks[0] and ranks[0][method] != ranks[1][method]:
            yield f"{method}: rank {ranks[0][method]} -> {ranks[1][method]}"


def _method_lines(old: TaskRecords, new: TaskRecords) -> Iterator[str]:
    """Methods and cells that appeared, vanished or have other predictions."""
    before, after = _cells_by_method(old), _cells_by_method(new)
    for method in dict.fromkeys([*before, *after]):
        first, second = before.get(method, {}), after.get(method, {})
        if not first or not second:
            cells, what = (second, "appeared") if second else (first, "vanished")
            yield f"{method}: {what}, with {_seeds(cells)}"
            continue
        changed = [seed for seed in first.keys() & second.keys() if _differ(first[seed], second[seed])]
        for seeds, what in (
            (second.keys() - first.keys(), "appeared"),
            (first.keys() - second.keys(), "vanished"),
            (changed, "changed"),
        ):
            if seeds:
                yield f"{method}: {_seeds(seeds)} {what}"


def _cells_by_method(group: TaskRecords) -> dict[str, dict[int, Record]]:
    cells: dict[str, dict[int, Record]] = {}
    for record in group.records:
        cells.setdefault(record.method.name, {})[record.seed] = record
    return cells


def _differ(first: Record, second: Record) -> bool:
    """Whether predictions, a score that both have, or the failure differ. Further scores make no other cell."""
    digests = [each.predictions.sha256 if each.predictions else "" for each in (first, second)]
    common = first.scores.keys() & second.scores.keys()
    return (
        digests[0] != digests[1]
        or any(first.scores[name] != second.scores[name] for name in common)
        or first.error != second.error
    )


def _further_scores(old: TaskRecords, new: TaskRecords) -> str:
    """Metrics that only the second board has."""
    names = {name.rpartition("/")[2] for name in new.score_names()} - {
        name.rpartition("/")[2] for name in old.score_names()
    }
    return f"further scores: {', '.join(sorted(names))}" if names else ""


def _by_identity(records: Sequence[Record]) -> dict[tuple[str, int, str], TaskRecords]:
    groups = by_task(records)
    return {(group.task.name, group.task.version, group.task.fingerprint): group for group in groups}


def _ranks(group: TaskRecords) -> dict[str, int]:
    for column in overview_columns(group):
        if column.name == group.task.headline:
            return column_values(group, column).ranks
    return {}


def _text(move: Move) -> str:
    decimals = move.column.decimals + 1
    return f"{move.method}: {move.column.subject} {move.first:.{decimals}f} -> {move.second:.{decimals}f}"


def _title(group: TaskRecords) -> str:
    return f"{group.task.name} v{group.task.version} ({group.task.fingerprint[:6]})"


def _cells(records: Sequence[Record]) -> str:
    methods = {record.method.name for record in records}
    return f"{len(records)} cells of {len(methods)} methods"


def _seeds(seeds: Iterable[int]) -> str:
    numbers = sorted(seeds)
    return f"seed{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"
