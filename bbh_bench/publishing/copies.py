"""Cells whose predictions are those of another cell, to the bit: copies of a seed, or of another's method."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from bbh_bench.publishing.plausible import prediction_digest
from bbh_bench.records.record import Record
from bbh_bench.records.store import Store


def copies(submitted: Sequence[Record], source: Store, board: Store) -> dict[Path, Path]:
    """For each copy among the submitted records, the path of its original: on the board, or submitted before it.

    Records of the board that the submitted ones would replace do not count. Raises ``RecordError`` if arrays are damaged.
    """
    paths = {record.path for record in submitted}
    tasks = {record.task.fingerprint for record in submitted}
    published = [each for each in _readable(board) if each.task.fingerprint in tasks and each.path not in paths]
    seen: dict[tuple[str, str], Path] = {}
    found = {}
    for record, store in [*((each, board) for each in published), *((each, source) for each in submitted)]:
        if not record.finished:
            continue
        digest = prediction_digest(store.arrays(record))
        original = seen.setdefault((record.task.fingerprint, digest), record.path) if digest else record.path
        if original != record.path and store is source:
            found[record.path] = original
    return found


def _readable(board: Store) -> Iterable[Record]:
    return board.records() if board.root.exists() else ()
