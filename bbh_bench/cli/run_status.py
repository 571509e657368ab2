"""What all cells of a run are doing."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bbh_bench.cli.time_left import Begun, Estimate, TimeLeft
from bbh_bench.running.cell import Cell

MOST_CELLS_IN_A_LINE = 8


@dataclass
class RunningCell:
    """One cell. Times are those of the status' clock, in seconds."""

    name: str
    began: float
    stage: str
    stage_began: float
    fraction: float | None = None
    """The completed part of the fit."""
    loss: float | None = None
    first: tuple[float, float] | None = None
    """Time and fraction of the first report of the fit: a resumed fit does not start from 0."""

    def stage_left(self, now: float) -> float | None:
        """Seconds that the fit still takes, at its speed until now. None if it is not known, and outside a fit."""
        if self.fraction is None or self.first is None or self.fraction <= self.first[1]:
            return None
        return (1 - self.fraction) * (now - self.first[0]) / (self.fraction - self.first[1])

    def __str__(self) -> str:
        return f"{self.name}: {self.stage}{'' if self.fraction is None else f' {100 * self.fraction:.0f} %'}"


class RunStatus:
    """Collects the events of a run. ``str()`` gives one line.

    ``jobs``: cells that run at a time. ``before``: see ``TimeLeft``. ``clock`` gives seconds.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        jobs: int,
        before: Mapping[Path, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = len(cells)
        self.finished = 0
        self.failed = 0
        self.elsewhere = 0
        """Of the finished ones: by other runs."""
        self.waiting = 0
        """Unfinished cells that other runs have claimed."""
        self.running: dict[Path, RunningCell] = {}
        self.now = clock
        self._jobs = jobs
        self._time_left = TimeLeft([cell.path for cell in cells], before)

    def cell_started(self, cell: Cell) -> None:
        """A cell begins, perhaps again."""
        now = self.now()
        self.running[cell.path] = RunningCell(str(cell), now, "starting", now)

    def stage(self, cell: Cell, name: str) -> None:
        """A stage of a cell begins."""
        running = self.running.get(cell.path)
        if running is not None:
            running.stage, running.stage_began = name, self.now()
            running.fraction = running.loss = running.first = None

    def fitting(self, cell: Cell, fraction: float, loss: float) -> None:
        """A fraction of a cell's fit is complete."""
        running = self.running.get(cell.path)
        if running is not None:
            running.fraction, running.loss = fraction, loss
            running.first = running.first or (self.now(), fraction)

    def cell_finished(self, cell: Cell, seconds: float | None) -> None:
        """A cell is over. ``seconds`` that it took; None if it failed."""
        self.running.pop(cell.path, None)
        self.finished += 1
        self.failed += seconds is None
        self._time_left.finished(cell.path, seconds)

    def cell_elsewhere(self, cell: Cell) -> None:
        """Another run has finished a cell."""
        self.finished += 1
        self.elsewhere += 1
        self._time_left.finished(cell.path, None)

    def time_left(self) -> Estimate | None:
        """Of the whole run. None if it is not known."""
        now = self.now()
        running = {path: Begun(now - cell.began, cell.stage_left(now) or 0.0) for path, cell in self.running.items()}
        return self._time_left.estimate(running, max(self._jobs, len(running)))

    def totals(self) -> str:
        """Numbers of cells, and the time left of the run."""
        parts = [f"{self.finished}/{self.total} finished"]
        parts += [f"{self.elsewhere} of them by other runs"] if self.elsewhere else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{len(self.running)} running"] if self.running else []
        parts += [f"{self.waiting} left to other runs"] if self.waiting else []
        left = self.time_left()
        parts += [str(left or "time left unknown")] if self.finished < self.total else []
        return ", ".join(parts)

    def __str__(self) -> str:
        running = [str(cell) for cell in self.running.values()]
        more = len(running) - MOST_CELLS_IN_A_LINE
        shown = running if more <= 0 else [*running[:MOST_CELLS_IN_A_LINE], f"and {more} more"]
        return " | ".join([self.totals(), *shown])
