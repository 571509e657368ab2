"""Observers that show a run while it goes on: a bar or a status line on a terminal, lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TextIO

from tqdm import tqdm

from bbh_bench.cli.lines import RunLines
from bbh_bench.cli.status import RunStatus
from bbh_bench.cli.terminal import PeriodicLine, StatusLine, write, write_above
from bbh_bench.running.cell import Cell, Result
from bbh_bench.running.progress import Observer

BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} elapsed, {remaining} left{postfix}"


@contextmanager
def display(records: Path, jobs: int | None) -> Iterator[Observer]:
    """The observer of a run in ``jobs`` processes (None: in this one) that stores its records in ``records``.

    Results are written to standard output; what is updated in place to standard error, if that is a terminal.
    """
    out, err = sys.stdout, sys.stderr
    if not err.isatty():
        lines = RunLines(records, lambda text: write(text, out))
        yield LineDisplay(lines) if jobs is None else ProcessDisplay(lines, PeriodicLine(lines.write).show)
        return
    lines = RunLines(records, lambda text: write_above(text, out))
    if jobs is None:
        bars = BarDisplay(lines, err)
        try:
            yield bars
        finally:
            bars.close()
    else:
        status = StatusLine(err)
        try:
            yield ProcessDisplay(lines, status.show)
        finally:
            status.close()


class LineDisplay:
    """Cells in this process, without a terminal: one line per finished cell. Methods are those of ``progress.Observer``."""

    def __init__(self, lines: RunLines) -> None:
        self._lines = lines

    def run_started(self, cells: list[Cell], finished_before: int, jobs: int | None) -> None:
        """Write the number of cells."""
        self._lines.started(cells, finished_before, jobs)

    def cell_started(self, cell: Cell) -> None:
        """Ignored."""

    def stage(self, cell: Cell, name: str) -> None:
        """Ignored."""

    def fitting(self, cell: Cell, fraction: float, loss: float) -> None:
        """Ignored."""

    def printed(self, cell: Cell, text: str) -> None:
        """Write it."""
        self._lines.write(text)

    def waiting(self, cells: int) -> None:
        """Ignored."""

    def cell_finished(self, cell: Cell, result: Result, stored: bool) -> None:
        """Write how it ended."""
        self._lines.finished(cell, result, stored)


class BarDisplay:
    """Cells in this process, on a terminal: a bar for the running cell, lines above it."""

    def __init__(self, lines: RunLines, terminal: TextIO) -> None:
        self._lines = lines
        self._terminal = terminal
        self._label = ""
        self._bar: tqdm[NoReturn] | None = None

    def run_started(self, cells: list[Cell], finished_before: int, jobs: int | None) -> None:
        """Write the number of cells."""
        self._lines.started(cells, finished_before, jobs)

    def cell_started(self, cell: Cell) -> None:
        """Show a new bar."""
        self._label = f"[{self._lines.done + 1}/{self._lines.total}] {cell}"
        self._bar = tqdm(total=1.0, desc=self._label, file=self._terminal, leave=False, bar_format=BAR)

    def stage(self, cell: Cell, name: str) -> None:
        """Name the stage in the bar."""
        if self._bar is not None:
            self._bar.set_description_str(f"{self._label}: {name}")

    def fitting(self, cell: Cell, fraction: float, loss: float) -> None:
        """Move the bar. It is called at every step of a fit: the bar is drawn at most ten times per second."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            self._bar.update(fraction - self._bar.n)

    def printed(self, cell: Cell, text: str) -> None:
        """Write it above the bar."""
        self._lines.write(text)

    def waiting(self, cells: int) -> None:
        """Ignored."""

    def cell_finished(self, cell: Cell, result: Result, stored: bool) -> None:
        """Remove the bar and write how the cell ended."""
        self.close()
        self._lines.finished(cell, result, stored)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class ProcessDisplay:
    """Cells in worker processes: ``show`` gets the status of all running cells at every event; lines for finished cells."""

    def __init__(self, lines: RunLines, show: Callable[[str], None]) -> None:
        self._lines = lines
        self._show = show
        self._status = RunStatus(0)

    def run_started(self, cells: list[Cell], finished_before: int, jobs: int | None) -> None:
        """Write the number of cells."""
        self._lines.started(cells, finished_before, jobs)
        self._status = RunStatus(len(cells))

    def cell_started(self, cell: Cell) -> None:
        """Show that it is starting."""
        self._status.cell_started(cell)
        self._show(str(self._status))

    def stage(self, cell: Cell, name: str) -> None:
        """Show its stage."""
        self._status.stage(cell, name)
        self._show(str(self._status))

    def fitting(self, cell: Cell, fraction: float, loss: float) -> None:
        """Show the completed fraction of its fit."""
        self._status.fitting(cell, fraction)
        self._show(str(self._status))

    def printed(self, cell: Cell, text: str) -> None:
        """Write it, with the name of the cell: several cells may print."""
        self._lines.write(f"{cell}: {text}")

    def waiting(self, cells: int) -> None:
        """Ignored."""

    def cell_finished(self, cell: Cell, result: Result, stored: bool) -> None:
        """Write how it ended."""
        self._status.cell_finished(cell, failed=not result.record.finished)
        self._lines.finished(cell, result, stored)
        self._show(str(self._status))
