"""What the cells of a records folder are doing: finished, running, failed, or left by a run that ended.

Reading writes nothing, and imports neither torch nor a plugin.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from bbh_bench.errors import RecordError
from bbh_bench.records.record import Record
from bbh_bench.records.store import Store
from bbh_bench.running.claim import Claim, read_claims


@dataclass(frozen=True)
class FolderStatus:
    """The cells of a records folder. Those of runs that have not begun them yet are not known to it."""

    finished: list[Record]
    failed: list[Record]
    """Without those that are running again."""
    running: list[Claim]
    stale: list[Claim]
    """Of runs that ended without releasing them, as a killed one does. Their cells may be finished."""
    unreadable: list[str]
    """Why records cannot be read."""

    @property
    def folders(self) -> list[Path]:
        """``<task>/v<n>/<method>`` of all cells, sorted."""
        records = {record.path.parent for record in [*self.finished, *self.failed]}
        return sorted(records | {claim.path.parent for claim in [*self.running, *self.stale]})


def folder_status(root: Path) -> FolderStatus:
    """Read a folder. Raises ``RecordError`` if it does not exist.

    Ages of claims are measured by the clock of this machine: reading must not write, and only a new file would show that of
    the file system. Where the clocks of machines differ by a minute, claims of the others may seem stale, or fresh.
    """
    if not root.is_dir():
        raise RecordError(
            f"There is no folder '{root}' of records. Name one with --records; `bbh-bench run` makes records."
        )
    claims = read_claims(root, time.time())
    records, unreadable = Store(root).readable()
    running = {claim.path for claim in claims if not claim.stale}
    return FolderStatus(
        finished=[record for record in records if record.finished],
        failed=[record for record in records if not record.finished and record.path not in running],
        running=[claim for claim in claims if not claim.stale],
        stale=[claim for claim in claims if claim.stale],
        unreadable=unreadable,
    )


def mean_seconds(records: Iterable[Record]) -> Mapping[Path, float]:
    """Mean seconds of finished cells, by the folder ``<task>/v<n>/<method>`` of their records."""
    seconds: dict[Path, list[float]] = {}
    for record in records:
        if record.finished and "total/seconds" in record.cost:
            seconds.setdefault(record.path.parent, []).append(record.cost["total/seconds"])
    return {folder: fmean(values) for folder, values in seconds.items()}
