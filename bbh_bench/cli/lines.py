"""The lines that a run prints about its cells."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bbh_bench.records.record import Failure, Record

if TYPE_CHECKING:
    from bbh_bench.running.cell import Cell, Result


class RunLines:
    """Prints how many cells there are, and how each of them ended."""

    def __init__(self, records: Path, write: Callable[[str], None]) -> None:
        self.records = records
        self.write = write
        self.total = 0
        self.done = 0

    def started(self, cells: "Sequence[Cell]", finished_before: int, jobs: int | None) -> None:
        """Print the number of cells."""
        self.total = len(cells)
        if finished_before:
            self.write(f"{finished_before} of {finished_before + self.total} cells are finished already.")
        if cells:
            self.write(start_line(self.total, jobs))

    def finished(self, cell: "Cell", result: "Result", stored: bool) -> None:
        """Print the score of a cell, or why it failed."""
        self.done += 1
        self.write(f"[{self.done}/{self.total}] {cell}: {outcome(result.record, self.records, stored)}")
        for warning in result.record.warnings:
            self.write(f"  warning: {warning}")

    def elsewhere(self, cell: "Cell") -> None:
        """Print that another run has finished a cell."""
        self.done += 1
        self.write(f"[{self.done}/{self.total}] {cell}: finished by another run")

    def waiting(self, cells: int) -> None:
        """Print that other runs have the cells that are left."""
        what = "The last cell is" if cells == 1 else f"The last {cells} cells are"
        self.write(f"{what} claimed by other runs: waiting for them. bbh-bench status says what they do.")


def start_line(cells: int, jobs: int | None) -> str:
    """``48 cells, 2 at a time``."""
    at_a_time = "as many at a time as there is room for" if jobs == 0 else f"{min(jobs or 1, cells)} at a time"
    return f"{cells} cell{'s' if cells > 1 else ''}, {at_a_time}"


def outcome(record: Record, records: Path, stored: bool) -> str:
    """The headline score and the seconds; or why the cell failed, and how to see its traceback."""
    if record.error is None:
        headline = record.task.headline
        return f"{headline} {record.scores[headline]:.4g} in {record.cost['total/seconds']:.1f} s"
    failed = failure(record.error)
    if stored:
        return f"{failed} bbh-bench show {shlex.quote(str(records / record.path))} prints the traceback."
    return f"{failed} The finished record of this cell is kept.\n{record.error.traceback.rstrip()}"


def failure(error: Failure) -> str:
    """Why a cell failed, in one line."""
    message = error.message.partition("\n")[0].rstrip(". ")
    place = f" ({error.location})" if error.location else ""
    return f"FAILED: {error.type}: {message}{place}."
