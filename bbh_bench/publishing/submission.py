"""Checks records that somebody submits to a board, as ``publish`` would, and names every fault instead of the first one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bbh_bench.errors import RecordError
from bbh_bench.leaderboard.comparison import FEWEST_SEEDS
from bbh_bench.plugins import Plugins
from bbh_bench.publishing.copies import copies
from bbh_bench.publishing.publish import must_copy
from bbh_bench.records.record import Record
from bbh_bench.records.store import Store


@dataclass(frozen=True)
class Submission:
    """What was found."""

    complaints: dict[Path, str]
    """For each record a sentence; empty if it may be published."""
    new: list[Record]
    """That may be published, and that the board does not have."""
    provisional: list[str]
    """Rows that would have fewer than three seeds, with their number."""


def check_submission(records: Sequence[Record], submitted: Store, board: Store, plugins: Plugins) -> Submission:
    """Check records of the folder ``submitted`` against the installed tasks, methods and metrics, and against the board.

    Raises ``RecordError`` if the board cannot be read.
    """
    published = board.records() if board.root.exists() else []
    complaints, new = {}, []
    for record in records:
        try:
            if must_copy(record, submitted, board, plugins, replace=False):
                new.append(record)
            complaints[record.path] = ""
        except RecordError as error:
            complaints[record.path] = str(error)
    for path, original in copies(new, submitted, board).items():
        complaints[path] = f"The predictions of '{submitted.root / path}' are those of {original}, to the bit."
    good = [record for record in new if not complaints[record.path]]
    return Submission(complaints, good, _provisional(good, published))


def _provisional(new: list[Record], published: list[Record]) -> list[str]:
    """Rows of the new records by their seeds, those on the board included."""
    cells = {record.path: record for record in [*published, *new] if record.finished}.values()
    seeds = Counter((each.task.fingerprint, each.method.name) for each in cells)
    rows = {(each.task.fingerprint, each.method.name): each.task.name for each in new}
    return [f"{row[1]} on {task} ({seeds[row]})" for row, task in rows.items() if seeds[row] < FEWEST_SEEDS]
