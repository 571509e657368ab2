"""Copies checked records to a published board, all or none, and renders it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bbh_bench.api import Scored, TaskDescription, task_fingerprint
from bbh_bench.errors import RecordError
from bbh_bench.leaderboard import render
from bbh_bench.plugins import Plugins
from bbh_bench.publishing.copies import copies
from bbh_bench.publishing.note import note
from bbh_bench.publishing.plausible import origin_faults
from bbh_bench.publishing.verify import SHOWN, mismatches, recomputed, task_faults
from bbh_bench.records.identity import describe
from bbh_bench.records.record import Record
from bbh_bench.records.store import Store
from bbh_bench.records.verifications import read_log


@dataclass(frozen=True)
class PublishReport:
    """What was done."""

    published: int
    present: int
    """Records that had been published already."""
    board: Path


def publish(
    records: Path, to: Path, tasks: list[str], methods: list[str], replace: bool, plugins: Plugins
) -> PublishReport:
    """Check the chosen records (no tasks or methods: all of them), copy them to ``to``, and render the board there.

    All records are written to the disk under temporary names before the first gets its own: a full disk leaves the board as it
    was. A process that is killed later leaves complete records only, some of them old; the same command completes the rest.

    Raises ``RecordError`` before anything is copied if one of them must not be published, and if a file cannot be written.
    """
    source, target = Store(records), Store(to)
    chosen = [
        record
        for record in source.records()
        if (not tasks or record.task.name in tasks) and (not methods or record.method.name in methods)
    ]
    if not chosen:
        raise RecordError(f"There is no such record in '{records}'; `bbh-bench run` makes records.")
    new = [record for record in chosen if must_copy(record, source, target, plugins, replace)]
    target.prepare()
    _check_copies(new, source, target)  # reads the board: a damaged one must show before anything is copied
    _copy(new, source, target)
    return PublishReport(len(new), len(chosen) - len(new), _render(target))


def _copy(records: Sequence[Record], source: Store, target: Store) -> None:
    try:
        target.put_all((record, source.packed(record)) for record in records)
        note(target, records, "recomputed")
    except OSError as error:
        raise RecordError(
            f"'{error.filename}' cannot be written ({error.strerror}). Make room, or name another folder with --to; then the "
            "same command publishes these records."
        ) from error


def _render(target: Store) -> Path:
    try:
        return render(target.records(), target.root, target.arrays, read_log(target.root))
    except OSError as error:
        raise RecordError(
            f"'{error.filename}' cannot be written ({error.strerror}). The records are published, and the leaderboard is still "
            "the old one. Make room; then the same command renders it."
        ) from error


def must_copy(record: Record, source: Store, target: Store, plugins: Plugins, replace: bool) -> bool:
    """Whether a record is not published yet. Raises ``RecordError`` if it must not be."""
    where = f"The record '{source.root / record.path}'"
    if not record.finished:
        raise RecordError(f"{where} is of a failed cell. Run it again, or choose others with --task and --method.")
    if record.task.name not in set(plugins.tasks):
        raise RecordError(f"{where} is of a task that is not installed. Install it, or choose others with --task.")
    task = plugins.tasks[record.task.name]
    described = task.describe()
    installed = task_fingerprint(task, described)
    if record.task.fingerprint != installed:
        raise RecordError(
            f"{where} has the task fingerprint {record.task.fingerprint}, and the installed task has "
            f"{installed}: it was made with another definition of the task. Run it again."
        )
    arrays = source.arrays(record)
    _check_attacks(record, where, described, plugins)
    faults = [
        *origin_faults(record),
        *task_faults(record, arrays, task, plugins),
    ]
    if faults:
        raise RecordError(f"{where} must not be published: {'; '.join(faults[:SHOWN])}. Run the cell again.")
    scored = recomputed(record, arrays, source, task, plugins.metrics.values())
    _check_labels(record, where, described, scored)
    wrong = mismatches(record, scored)
    if wrong:
        raise RecordError(
            f"{where} has values that its stored predictions do not give ({', '.join(wrong[:5])}). "
            "Run it again with --replace."
        )
    published = target.get(record.path)
    if published is None:
        return True
    same = _without_file_name(published) == _without_file_name(record)
    if not same and not replace:
        raise RecordError(f"{where} differs from the published one. Give --replace to replace that.")
    return not same or not target.complete(published)


def _check_copies(chosen: Sequence[Record], source: Store, target: Store) -> None:
    """No two cells of a task may have the same predictions, nor one of those that are published. Raises ``RecordError``."""
    for path, original in copies(chosen, source, target).items():
        raise RecordError(
            f"The record '{source.root / path}' must not be published: its predictions are those of {original}, to the bit. "
            "Choose others with --task and --method."
        )


def _without_file_name(record: Record) -> Record:
    """A record without the name of the file of its arrays, which may differ between two folders; the digest stays."""
    if record.predictions is None:
        return record
    return msgspec.structs.replace(record, predictions=msgspec.structs.replace(record.predictions, file=""))


def _check_labels(record: Record, where: str, described: TaskDescription, scored: Scored) -> None:
    """What decides ranks, bold type and headings must be what the installed task and metrics say. Raises ``RecordError``."""
    missing = sorted(scored.directions.keys() - record.directions.keys())
    if missing:
        raise RecordError(
            f"{where} lacks metrics that are installed ({', '.join(missing)}). `bbh-bench rescore` adds them."
        )
    unknown = sorted(record.directions.keys() - scored.directions.keys())
    if unknown:
        raise RecordError(
            f"{where} has scores of metrics that are not installed and cannot be checked ({', '.join(unknown)}). "
            "Install the plugins that provide them."
        )
    changed = [key for key in ("kind", "title", "headline") if getattr(record.task, key) != getattr(described, key)]
    changed += [name for name, direction in record.directions.items() if direction != scored.directions[name]]
    if changed:
        raise RecordError(f"{where} differs from the installed suite in: {', '.join(changed)}. Run it again.")


def _check_attacks(record: Record, where: str, described: TaskDescription, plugins: Plugins) -> None:
    """A task's own attacks, which need not be registered, are in its fingerprint; the others must be the installed ones."""
    installed = [describe(attack) for attack in [*described.attacks, *plugins.attacks.values()]]
    other = [attack["name"] for attack in record.task.attacks if attack not in installed]
    if other:
        raise RecordError(f"{where} has other attacks than are installed ({', '.join(other)}). Run it again.")
