"""The log of a board: which records were verified, how, by whom and when. One JSON object a line, beside the records.

An entry is about stored predictions, named by their digest: it does not count any more when these are replaced.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from bbh_bench.errors import RecordError
from bbh_bench.records.files import write_atomically
from bbh_bench.records.limits import LARGEST_JSON, read_limited
from bbh_bench.records.record import Record

LOG = "verifications.jsonl"
Level = Literal["recomputed", "rerun", "signed off"]
"""The scores follow from the stored predictions; the cell was run again with the same result; somebody vouches for it."""
LEVELS: tuple[Level, ...] = ("recomputed", "rerun", "signed off")
LONGEST = 200
"""Characters of the name of who signs off."""


class Verification(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One record was verified."""

    record: str
    """Its path in the folder of records."""
    predictions: str
    """SHA-256 of its stored predictions."""
    level: Level
    result: str
    """Of a rerun: ``to the bit``, or ``within noise``. Otherwise empty."""
    by: str
    """Who signs off; empty for what a program did."""
    when: str
    """ISO 8601, UTC."""
    suite: str
    """Version of bbh-bench."""
    commit: str | None
    """Of bbh-bench. None if it is not known."""
    vector: str | None
    """Vector instructions of the machine, for a rerun."""


Log = Mapping[str, list[Verification]]
"""Entries by path of the record."""


def read_log(root: Path) -> Log:
    """The log of a folder of records; empty if there is none. Raises ``RecordError`` if a line is damaged."""
    path = root / LOG
    entries: dict[str, list[Verification]] = defaultdict(list)
    if not path.exists():
        return entries
    try:
        lines = read_limited(path, LARGEST_JSON).splitlines()
    except (OSError, ValueError) as error:
        raise RecordError(f"The log of verifications '{path}' cannot be read ({error}). Remove it.") from error
    for number, line in enumerate(lines, 1):
        try:
            entry = msgspec.json.decode(line, type=Verification)
        except (ValueError, msgspec.MsgspecError) as error:
            raise RecordError(f"Line {number} of '{path}' does not fit ({error}). Remove the line.") from error
        entries[entry.record].append(entry)
    return entries


def add_to_log(root: Path, new: Iterable[Verification]) -> None:
    """Append entries; one that repeats a level, result and signature of the same predictions replaces the older one."""
    entries: dict[tuple[str, str, str, str, str], Verification] = {}
    for entry in [*(each for own in read_log(root).values() for each in own), *new]:
        entries[entry.record, entry.predictions, entry.level, entry.result, entry.by] = entry
    content = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries.values())
    write_atomically(root / LOG, content)


def verified(record: Record, log: Log) -> list[Verification]:
    """The entries about the predictions that the record has now."""
    if record.predictions is None:
        return []
    return [entry for entry in log.get(str(record.path), []) if entry.predictions == record.predictions.sha256]
