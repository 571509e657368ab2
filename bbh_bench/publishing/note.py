"""Notes in the log of a board what was verified."""

from collections.abc import Sequence

from bbh_bench.records.record import Record
from bbh_bench.records.store import Store
from bbh_bench.records.verifications import Level, Verification, add_to_log
from bbh_bench.running.commits import suite_state
from bbh_bench.running.provenance import installed_version, now


def note(
    store: Store, records: Sequence[Record], level: Level, result: str = "", by: str = "", vector: str | None = None
) -> None:
    """Note that these records were verified, now, by this version of the suite. Records without predictions are left out.

    Raises ``RecordError`` if the log is damaged, and ``OSError`` if it cannot be written.
    """
    commit = suite_state()[0]
    entries = [
        Verification(
            record=str(record.path),
            predictions=record.predictions.sha256,
            level=level,
            result=result,
            by=by,
            when=now(),
            suite=installed_version("bbh-bench") or "unknown",
            commit=commit,
            vector=vector,
        )
        for record in records
        if record.predictions is not None
    ]
    if entries:
        add_to_log(store.root, entries)
