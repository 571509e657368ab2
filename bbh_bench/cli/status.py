"""What all running cells are doing, in one line."""

from dataclasses import dataclass
from pathlib import Path

from bbh_bench.running.cell import Cell


@dataclass
class RunningCell:
    """One cell: its name, its stage, and the completed fraction of its fit."""

    name: str
    stage: str = "starting"
    fraction: float | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.stage}{'' if self.fraction is None else f' {100 * self.fraction:.0f} %'}"


class RunStatus:
    """Collects the events of a run of ``total`` cells. ``str()`` gives the line."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.finished = 0
        self.failed = 0
        self.running: dict[Path, RunningCell] = {}

    def cell_started(self, cell: Cell) -> None:
        """A worker has got a cell."""
        self.running[cell.path] = RunningCell(str(cell))

    def stage(self, cell: Cell, name: str) -> None:
        """A stage of a cell begins."""
        self.running[cell.path].stage = name
        self.running[cell.path].fraction = None

    def fitting(self, cell: Cell, fraction: float) -> None:
        """A fraction of a cell's fit is complete."""
        self.running[cell.path].fraction = fraction

    def cell_finished(self, cell: Cell, failed: bool) -> None:
        """A cell is over."""
        del self.running[cell.path]
        self.finished += 1
        self.failed += failed

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return " | ".join([f"{self.finished}/{self.total} finished{failed}", *map(str, self.running.values())])
