"""What shows a run while it goes on: a table or a bar on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Protocol

from bbh_bench.cli import live_lines
from bbh_bench.cli.folder_status import mean_seconds
from bbh_bench.cli.lines import RunLines
from bbh_bench.cli.run_status import RunStatus
from bbh_bench.cli.terminal import LiveLines, Output, PeriodicLine
from bbh_bench.records.store import readable_records
from bbh_bench.running.cell import Cell, Result
from bbh_bench.running.progress import Observer

DRAWING_SECONDS = 0.1
"""Between two drawings during a fit, which reports each of its steps."""
TICK_SECONDS = 1.0
"""Between two drawings where nothing happens, so that times go on."""


@contextmanager
def display(records: Path, jobs: int | None) -> Iterator[Observer]:
    """The observer of a run in ``jobs`` processes (None: in this one) that stores its records in ``records``.

    Results are written to standard output; what is updated in place to standard error, if that is a terminal.
    """
    out, err = Output(sys.stdout), Output(sys.stderr)
    if not err.updates_in_place():
        lines = RunLines(records, out.line)
        yield RunDisplay(lines, PeriodicView(PeriodicLine(lines.write)), several=jobs is not None)
        return
    live = LiveLines(err)
    lines = RunLines(records, lambda text: live.write_above(text, out))
    shown = RunDisplay(lines, TerminalView(live, err, several=jobs is not None), several=jobs is not None)
    # A debugger in a method's fit, which runs in this process, must not be overwritten from time to time.
    ticks = nullcontext() if jobs is None else ticking(shown.draw)
    try:
        with ticks:
            yield shown
    finally:
        live.close()


class View(Protocol):
    """Shows the status of a run."""

    def draw(self, status: RunStatus, urgent: bool) -> None:
        """Show it; unless it is ``urgent``, only if it was not shown just before."""
        ...


class PeriodicView:
    """A line from time to time."""

    def __init__(self, line: PeriodicLine) -> None:
        self._line = line

    def draw(self, status: RunStatus, urgent: bool) -> None:
        """Write the status if it is time, urgent or not."""
        self._line.show(status)


class TerminalView:
    """A table of running cells (``several``) or a bar, in place."""

    def __init__(
        self, live: LiveLines, terminal: Output, several: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._live = live
        self._terminal = terminal
        self._several = several
        self._clock = clock
        self._drawn = -DRAWING_SECONDS

    def draw(self, status: RunStatus, urgent: bool) -> None:
        """Replace what is shown."""
        now = self._clock()
        if not urgent and now - self._drawn < DRAWING_SECONDS:
            return
        self._drawn = now
        columns, rows = self._terminal.size()
        show = live_lines.table(status, columns, rows) if self._several else live_lines.bar(status, columns)
        self._live.show(show)


class RunDisplay:
    """Lines for finished cells, and a view of the running ones. Methods are those of ``progress.Observer``.

    ``several``: cells may run at the same time, so that what they print needs their names.
    """

    def __init__(self, lines: RunLines, view: View, several: bool) -> None:
        self._lines = lines
        self._view = view
        self._several = several
        self._status = RunStatus([], 1)
        self._lock = RLock()  # a view may be drawn by a second thread, from time to time

    def run_started(self, cells: list[Cell], finished_before: int, jobs: int | None) -> None:
        """Write the number of cells. Records that exist already serve as first estimates of durations."""
        with self._lock:
            self._lines.started(cells, finished_before, jobs)
            folders = {self._lines.records / cell.path.parent for cell in cells}
            files = [file for folder in folders for file in folder.glob("seed*.json")]
            self._status = RunStatus(cells, jobs or 1, mean_seconds(readable_records(files)[0]))

    def cell_started(self, cell: Cell) -> None:
        """Show that it is starting."""
        with self._lock:
            self._status.cell_started(cell)
            self.draw()

    def stage(self, cell: Cell, name: str) -> None:
        """Show its stage."""
        with self._lock:
            self._status.stage(cell, name)
            self.draw()

    def fitting(self, cell: Cell, fraction: float, loss: float) -> None:
        """Show the completed fraction of its fit. It is called at every step of a fit."""
        with self._lock:
            self._status.fitting(cell, fraction, loss)
            self._view.draw(self._status, urgent=False)

    def printed(self, cell: Cell, text: str) -> None:
        """Write it."""
        with self._lock:
            self._lines.write(f"{cell}: {text}" if self._several else text)

    def cell_finished(self, cell: Cell, result: Result, stored: bool) -> None:
        """Write how it ended."""
        record = result.record
        with self._lock:
            self._status.cell_finished(cell, record.cost.get("total/seconds", 0.0) if record.finished else None)
            self._lines.finished(cell, result, stored)
            self.draw()

    def cell_elsewhere(self, cell: Cell) -> None:
        """Write that another run has finished it."""
        with self._lock:
            self._status.cell_elsewhere(cell)
            self._lines.elsewhere(cell)
            self.draw()

    def waiting(self, cells: int) -> None:
        """Write it, when it begins."""
        with self._lock:
            if cells and not self._status.waiting:
                self._lines.waiting(cells)
            self._status.waiting = cells
            self.draw()

    def draw(self) -> None:
        """Show the present status."""
        with self._lock:
            self._view.draw(self._status, urgent=True)


@contextmanager
def ticking(function: Callable[[], None], seconds: float = TICK_SECONDS) -> Iterator[None]:
    """Call a function from time to time, in a thread."""
    end = Event()

    def tick() -> None:
        while not end.wait(seconds):
            function()

    thread = Thread(target=tick, name="display", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
