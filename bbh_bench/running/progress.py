"""What a run reports while it goes on, and to whom."""

from typing import Protocol

from bbh_bench.running.cell import Cell, Result


class Observer(Protocol):
    """Receives the events of a run. The command line shows them; a library call ignores them."""

    def run_started(self, cells: list[Cell], finished_before: int, jobs: int | None) -> None:
        """``cells`` are going to run, ``jobs`` at a time; ``finished_before`` are skipped.

        ``jobs``: None in this process; 0 for as many as a cluster has room for.
        """
        ...

    def cell_started(self, cell: Cell) -> None:
        """A cell begins."""
        ...

    def stage(self, cell: Cell, name: str) -> None:
        """A stage of a running cell begins."""
        ...

    def fitting(self, cell: Cell, fraction: float, loss: float) -> None:
        """The completed fraction of a cell's fit, in [0, 1], and the current loss."""
        ...

    def printed(self, cell: Cell, text: str) -> None:
        """A method printed a line. ``text`` has no line end."""
        ...

    def cell_finished(self, cell: Cell, result: Result, stored: bool) -> None:
        """A cell is over. ``stored`` is False where the failure of a new run must not replace a finished record."""
        ...

    def cell_elsewhere(self, cell: Cell) -> None:
        """Another run on the same records folder has finished a cell of this one."""
        ...

    def waiting(self, cells: int) -> None:
        """Other runs have the last ``cells`` cells of this one, which waits for them; 0: it no longer does."""
        ...


class Silent:
    """An observer that shows nothing but the lines that methods print."""

    def run_started(self, cells: list[Cell], finished_before: int, jobs: int | None) -> None:
        """Ignored."""

    def cell_started(self, cell: Cell) -> None:
        """Ignored."""

    def stage(self, cell: Cell, name: str) -> None:
        """Ignored."""

    def fitting(self, cell: Cell, fraction: float, loss: float) -> None:
        """Ignored."""

    def printed(self, cell: Cell, text: str) -> None:
        """Print it."""
        print(text)

    def cell_finished(self, cell: Cell, result: Result, stored: bool) -> None:
        """Ignored."""

    def cell_elsewhere(self, cell: Cell) -> None:
        """Ignored."""

    def waiting(self, cells: int) -> None:
        """Ignored."""
