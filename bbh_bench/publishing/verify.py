"""Recomputes every score, curve and check of a record from its stored arrays, and compares."""

import math
from collections.abc import Iterable
from pathlib import Path

from bbh_bench.api import Arrays, Curves, Metric, Recognised, Scored, Scores, Task, task_fingerprint
from bbh_bench.errors import RecordError
from bbh_bench.plugins import Plugins
from bbh_bench.publishing.plausible import attack_faults, cost_faults, method_faults, prediction_digest
from bbh_bench.records.record import Check, Record
from bbh_bench.records.store import Store

SHOWN = 5
"""Phrases of a complaint that are shown."""
TOLERANCE = 1e-9
"""Relative. One machine gives the same bits every time; another may round the last bit differently."""


def verify_records(records: Iterable[Record], store: Store, plugins: Plugins) -> dict[Path, str]:
    """A complaint for each finished record, by path; empty if it is what a cell of its task would be.

    Its arrays must be those of the task, its scores must follow from them, its method and costs must be possible, and its
    predictions must not be those of another record.
    """
    complaints: dict[Path, str] = {}
    seen: dict[tuple[str, str], Path] = {}
    for record in records:
        if not record.finished:
            continue
        complaints[record.path], digest = _complaint(record, store, plugins)
        first = seen.setdefault((record.task.fingerprint, digest), record.path) if digest else record.path
        if first != record.path and not complaints[record.path]:
            complaints[record.path] = f"its predictions are those of {first}, to the bit"
    return complaints


def _complaint(record: Record, store: Store, plugins: Plugins) -> tuple[str, str]:
    """The complaint, and the digest of the predictions; empty if there are none that could be compared."""
    if record.task.name not in set(plugins.tasks):
        text = f"the task is not installed here (its method came with the package '{record.method.package.name}')"
        return text, ""
    task = plugins.tasks[record.task.name]
    try:
        arrays = store.arrays(record)
        wrong = task_faults(record, arrays, task, plugins)
        if wrong:
            return "; ".join(wrong[:SHOWN]), prediction_digest(arrays)
        names = mismatches(record, recomputed(record, arrays, store, task, plugins.metrics.values()))
    except RecordError as error:
        return str(error), ""
    return f"not what the stored predictions give: {', '.join(names)}" if names else "", prediction_digest(arrays)


def task_faults(record: Record, arrays: Arrays, task: Task, plugins: Plugins) -> list[str]:
    """In what a record and its arrays cannot be a cell of the installed task, whatever its scores: a phrase each.

    Records of another version or definition of a task cannot be compared with it: none.
    """
    described = task.describe()
    if record.task.fingerprint != task_fingerprint(task, described):
        return []
    wrong = [*method_faults(record, plugins), *attack_faults(record, described), *cost_faults(record)]
    own = {attack.name for attack in described.attacks}
    listed = {attack.get("name") for attack in record.task.attacks} - own
    extra = [registered.value for name, registered in plugins.attacks.entries.items() if name in listed]
    checked = task.with_attacks(extra) if extra else task
    return [*wrong, *(checked.faults(arrays) if isinstance(checked, Recognised) else ())]


def recomputed(record: Record, arrays: Arrays, store: Store, task: Task, metrics: Iterable[Metric]) -> Scored:
    """Scores from the stored arrays. Raises ``RecordError`` if they cannot be scored."""
    try:
        return task.score(arrays, metrics)
    except (KeyError, ValueError, IndexError, TypeError) as error:
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
    wrong |= {f"directions/{name}" for name in claimed if record.directions[name] != scored.directions[name]}
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
