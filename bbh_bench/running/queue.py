"""The cells that a run still has to start, where other runs may work on the same ones."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from bbh_bench.records.store import Store
from bbh_bench.running.cell import Cell
from bbh_bench.running.claims import Claims

SCAN_SECONDS = 1.0
"""Seconds between two looks at the cells that other runs have."""


def _ignore(cell: Cell) -> None:
    pass


class CellQueue:
    """Gives out cells one after the other, and claims each for this run.

    ``unfinished(cell)`` says whether a cell still has to run: it is asked after each claim, since another run may have
    finished the cell, which ``elsewhere(cell)`` is then told. Without ``store`` or ``claims`` it is a plain queue, and neither
    is called. ``clock`` gives seconds.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        store: Store | None,
        claims: Claims | None,
        unfinished: Callable[[Cell], bool],
        elsewhere: Callable[[Cell], None] = _ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ready = deque(cells)
        self._elsewhere: dict[Path, Cell] = {}
        self._claims = None if store is None else claims
        self._unfinished = unfinished
        self._tell_finished = elsewhere
        self._clock = clock
        self._next_scan = clock()

    def __len__(self) -> int:
        """Cells that were not taken: those of other runs are counted until they are finished."""
        return len(self._ready) + len(self._elsewhere)

    @property
    def waiting(self) -> bool:
        """Whether other runs have cells of this one, so that ``take`` may give one later, should such a run end."""
        return bool(self._elsewhere)

    def take(self) -> Cell | None:
        """The next cell that this run may run now, claimed. None if there is none now. Does not wait.

        Raises ``RecordError`` if a claim cannot be written or a record cannot be read.
        """
        while self._ready:
            cell = self._ready.popleft()
            if self._claims is None:
                return cell
            if not self._claims.acquire(cell.path):
                self._elsewhere[cell.path] = cell
            elif self._still_unfinished(self._claims, cell):
                return cell
        return self._scan()

    def put_back(self, cell: Cell) -> None:
        """Let a cell be taken again, before all others. Its claim stays."""
        self._ready.appendleft(cell)

    def release(self, cell: Cell) -> None:
        """The record of a cell that was taken is stored, or will not be: give up its claim."""
        if self._claims is not None:
            self._claims.release(cell.path)

    def _scan(self) -> Cell | None:
        """Look, but not too often, whether other runs have finished their cells or have ended before that."""
        if self._claims is None or not self._elsewhere or self._clock() < self._next_scan:
            return None
        self._next_scan = self._clock() + SCAN_SECONDS
        live = {claim.path for claim in self._claims.all() if not claim.stale}
        for path, cell in list(self._elsewhere.items()):
            if path not in live and self._claims.acquire(path):
                del self._elsewhere[path]
                if self._still_unfinished(self._claims, cell):
                    return cell
        return None

    def _still_unfinished(self, claims: Claims, cell: Cell) -> bool:
        """Whether a cell that was claimed must run. Otherwise its claim is released."""
        unfinished = False
        try:
            unfinished = self._unfinished(cell)
        finally:
            if not unfinished:
                claims.release(cell.path)
        if not unfinished:
            self._tell_finished(cell)
        return unfinished
