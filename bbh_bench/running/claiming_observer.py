"""Tells the claims of a run what its cells are doing, so that ``bbh-bench status`` can show it elsewhere."""

from bbh_bench.running.cell import Cell
from bbh_bench.running.claims import Claims
from bbh_bench.running.progress import Observer


class ClaimingObserver:
    """Passes every event on to another observer. Methods are those of ``progress.Observer``."""

    def __init__(self, observer: Observer, claims: Claims) -> None:
        self._observer = observer
        self._claims = claims
        self.run_started = observer.run_started
        self.cell_started = observer.cell_started
        self.printed = observer.printed
        self.cell_finished = observer.cell_finished
        self.cell_elsewhere = observer.cell_elsewhere
        self.waiting = observer.waiting

    def stage(self, cell: Cell, name: str) -> None:
        """Write the stage into the claim."""
        self._claims.update(cell.path, name)
        self._observer.stage(cell, name)

    def fitting(self, cell: Cell, fraction: float, loss: float) -> None:
        """Write the completed fraction and the loss into the claim."""
        self._claims.update(cell.path, "fit", fraction, loss)
        self._observer.fitting(cell, fraction, loss)
