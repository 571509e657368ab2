"""Tells plugins what a run does: the lifecycle hooks. A plugin that fails there is left out of the rest of the run."""

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bbh_bench.errors import BenchWarning, location, text
from bbh_bench.plugins import Listener
from bbh_bench.records.record import Record
from bbh_bench.running.cell import Cell, Result
from bbh_bench.running.checkpoint import random_state, restore_random_state
from bbh_bench.running.progress import Observer

SECONDS = 1.0
"""Least time between two calls of ``bbh_cell_progress`` for the same stage of a cell."""


class HookObserver:
    """Calls the hooks of plugins, and passes every event on to another observer. Methods are those of ``progress.Observer``."""

    def __init__(self, observer: Observer, listeners: Sequence[Listener]) -> None:
        self._observer = observer
        self._listeners = list(listeners)
        self._records: list[Record] = []
        self._last: dict[Path, tuple[str, float]] = {}
        self.printed = observer.printed
        self.cell_elsewhere = observer.cell_elsewhere
        self.waiting = observer.waiting

    def run_started(self, cells: list[Cell], finished_before: int, jobs: int | None) -> None:
        """``bbh_run_started``."""
        self._call("bbh_run_started", cells=tuple(cells), finished_before=finished_before)
        self._observer.run_started(cells, finished_before, jobs)

    def cell_started(self, cell: Cell) -> None:
        """``bbh_cell_started``."""
        self._call("bbh_cell_started", cell=cell)
        self._observer.cell_started(cell)

    def stage(self, cell: Cell, name: str) -> None:
        """``bbh_cell_progress``, without a fraction."""
        self._progress(cell, name, None, None)
        self._observer.stage(cell, name)

    def fitting(self, cell: Cell, fraction: float, loss: float) -> None:
        """``bbh_cell_progress``, once a second."""
        self._progress(cell, "fit", fraction, loss)
        self._observer.fitting(cell, fraction, loss)

    def cell_finished(self, cell: Cell, result: Result, stored: bool) -> None:
        """``bbh_cell_finished``."""
        self._last.pop(cell.path, None)
        self._records.append(result.record)
        self._call("bbh_cell_finished", cell=cell, record=result.record)
        self._observer.cell_finished(cell, result, stored)

    def run_finished(self) -> None:
        """``bbh_run_finished``, also after a run that was stopped."""
        self._call("bbh_run_finished", records=tuple(self._records))

    def _progress(self, cell: Cell, stage: str, fraction: float | None, loss: float | None) -> None:
        now = time.monotonic()
        name, last = self._last.get(cell.path, ("", 0.0))
        if fraction is None or name != stage or now - last >= SECONDS:
            self._last[cell.path] = stage, now
            self._call("bbh_cell_progress", cell=cell, stage=stage, fraction=fraction, loss=loss)

    def _call(self, hook: str, **values: Any) -> None:
        """Call every plugin that has the hook with the arguments that it names."""
        for listener in [each for each in self._listeners if each.hook == hook]:
            state = random_state()  # a cell may run in this process
            try:
                listener.function(*(values[name] for name in listener.arguments))
            except (Exception, SystemExit) as error:  # a third party's hook may raise anything
                self._leave_out(listener, error, values.get("cell"))
            finally:
                restore_random_state(state)

    def _leave_out(self, listener: Listener, error: BaseException, cell: Cell | None) -> None:
        """Call the plugin no more. Said beside the cell: a warning during a fit would go into its record."""
        self._listeners = [each for each in self._listeners if each.plugin != listener.plugin]
        place = location(error, listener.function.__module__.partition(".")[0])
        sentence = (
            f"The plugin '{listener.package}' gets no further events of this run: its hook {listener.hook}() failed with "
            f"{type(error).__name__}: {text(error)}{f' ({place})' if place else ''}. The run goes on."
        )
        if cell is not None:
            self._observer.printed(cell, sentence)
        else:
            warnings.warn(sentence, BenchWarning, stacklevel=2)
