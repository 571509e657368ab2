"""Recomputes every score, curve and check of a record from its stored arrays, and compares."""

import math
from collections.abc import Iterable
from pathlib import Path

from bbh_bench.api import Curves, Metric, Scored, Scores, Task
from bbh_bench.errors import RecordError
from bbh_bench.plugins import Plugins
from bbh_bench.records.record import Check, Record
from bbh_bench.records.store import Store

TOLERANCE = 1e-9
"""Relative. One machine gives the same bits every time; another may round the last bit differently."""


def verify_records(records: Iterable[Record], store: Store, plugins: Plugins) -> dict[Path, str]:
    """A complaint for each finished record, by path; empty if its scores follow from its arrays."""
    return {record.path: _complaint(record, store, plugins) for record in records if record.finished}


def _complaint(record: Record, store: Store, plugins: Plugins) -> str:
    if record.task.name not in set(plugins.tasks):
        return f"the task is not installed here (its method came with the package '{record.method.package.name}')"
    try:
        scored = recomputed(record, store, plugins.tasks[record.task.name], plugins.metrics.values())
    except RecordError as error:
        return str(error)
    names = mismatches(record, scored)
    return f"not what the stored predictions give: {', '.join(names)}" if names else ""


def recomputed(record: Record, store: Store, task: Task, metrics: Iterable[Metric]) -> Scored:
    """Scores from the stored arrays. Raises ``RecordError`` if there are none, or if they cannot be scored."""
    try:
        return task.score(store.arrays(record), metrics)
    except (KeyError, ValueError, IndexError) as error:
        raise RecordError(
            f"The arrays of '{store.root / record.path}' cannot be scored ({error!r}). Run the cell again with --replace."
        ) from error


def mismatches(record: Record, scored: Scored) -> list[str]:
    """Names of the values of a record that differ from those recomputed, or that one side lacks.

    A metric that is not installed cannot be checked; one that the record does not have is not missing (see ``rescore``).
    """
    claimed = record.directions.keys() & scored.directions.keys()
    old = _comparable(record.scores, record.directions, claimed) | _points(record.curves)
    new = _comparable(scored.scores, scored.directions, claimed) | _points(scored.curves)
    wrong = {name for name in old.keys() | new.keys() if not _close(old.get(name), new.get(name))}
    audits = scored.audit.keys() | record.audit.keys()
    wrong |= {f"audit/{name}" for name in audits if not _same_check(record.audit.get(name), scored.audit.get(name))}
    return sorted(wrong)


def _comparable(scores: Scores, directions: Iterable[str], claimed: Iterable[str]) -> Scores:
    """Scores without those of metrics that only one side knows. Scores without a direction are always compared."""
    one_sided = set(directions) - set(claimed)
    return {name: value for name, value in scores.items() if name.rpartition("/")[2] not in one_sided}


def _points(curves: Curves) -> dict[str, float]:
    """Every point of every curve, by name."""
    return {
        f"{name}/{column}/{k}": value
        for name, curve in curves.items()
        for column, values in curve.items()
        for k, value in enumerate(values)
    }


def _close(first: float | None, second: float | None) -> bool:
    return first is not None and second is not None and math.isclose(first, second, rel_tol=TOLERANCE)


def _same_check(first: Check | None, second: Check | None) -> bool:
    """Whether two checks agree but for the last bits of their values; their descriptions are not compared."""
    if first is None or second is None or (first.verdict, first.unit) != (second.verdict, second.unit):
        return False
    pairs = ((first.value, second.value), (first.limit, second.limit))
    return all(a == b or _close(a, b) for a, b in pairs)
