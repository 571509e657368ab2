"""Computes metrics that were added after a cell ran, from its stored arrays; nothing is fitted or predicted again."""

from pathlib import Path

import msgspec

from bbh_bench.api import TaskDescription, task_fingerprint
from bbh_bench.errors import RecordError
from bbh_bench.plugins import Plugins
from bbh_bench.publishing.verify import mismatches, recomputed
from bbh_bench.records.files import Together
from bbh_bench.records.identity import hyperparameters
from bbh_bench.records.record import MethodInfo, Record, TaskInfo
from bbh_bench.records.store import Store


def rescore(store: Store, plugins: Plugins) -> list[Path]:
    """Add missing scores to finished records, write older schemas as the current one, and return the paths that changed.

    Descriptive text (titles, descriptions, the threat model) is taken from the installed task and method too. Records of tasks
    that are not installed, or of another definition of a task, keep their scores and text. All records are checked before any
    is written: raises ``RecordError`` if a stored score is not what the stored arrays give, or if a file cannot be written.
    """
    changed = {}
    for record in store.some_records():
        new = _rescored(record, store, plugins)
        content = new.to_json().encode()
        if content != (store.root / record.path).read_bytes():
            changed[record.path] = content
    try:
        with Together() as files:
            for path, content in changed.items():
                files.add(store.root / path, content)
    except OSError as error:
        raise RecordError(
            f"'{error.filename}' cannot be written ({error.strerror}). Make room, or make the folder writable; then the same "
            "command goes on."
        ) from error
    return list(changed)


def _rescored(record: Record, store: Store, plugins: Plugins) -> Record:
    if record.task.name not in set(plugins.tasks):
        return record
    task = plugins.tasks[record.task.name]
    described = task.describe()
    if record.task.fingerprint != task_fingerprint(task, described):
        return record
    record = msgspec.structs.replace(record, task=_task_info(record, described), method=_method_info(record, plugins))
    if not record.finished:
        return record
    scored = recomputed(record, store.arrays(record), store, task, plugins.metrics.values())
    wrong = mismatches(record, scored)
    if wrong:
        raise RecordError(
            f"The record '{store.root / record.path}' has values that its stored predictions do not give "
            f"({', '.join(wrong[:5])}). Run its cell again with --replace; no record was changed."
        )
    # What is there already keeps its bits: another machine could round the last one differently.
    return msgspec.structs.replace(
        record,
        scores={name: record.scores.get(name, value) for name, value in (record.scores | scored.scores).items()},
        directions=record.directions | dict(scored.directions),
        curves=scored.curves | record.curves,
        audit={
            name: msgspec.structs.replace(record.audit.get(name, check), description=check.description)
            for name, check in scored.audit.items()
        },
    )


def _task_info(record: Record, described: TaskDescription) -> TaskInfo:
    """Text as the installed task describes itself. The settings of attacks stay: they say what the cell did."""
    threat_model = None if described.threat_model is None else dict(described.threat_model)
    return msgspec.structs.replace(
        record.task, kind=described.kind, title=described.title, headline=described.headline, threat_model=threat_model
    )


def _method_info(record: Record, plugins: Plugins) -> MethodInfo:
    registered = plugins.methods.entries.get(record.method.name)
    if registered is None:
        return record.method
    value = registered.value
    if (record.method.version, record.method.hyperparameters) != (value.version, hyperparameters(value)):
        return record.method
    return msgspec.structs.replace(record.method, description=registered.description)
