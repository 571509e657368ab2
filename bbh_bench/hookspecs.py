"""What a plugin may provide, and what it is told.

Four hooks take no arguments and return a list of named objects (``bbh_bench.api``). Five are called while a run goes on, in the
process that runs it; an implementation names the arguments that it needs, and returns nothing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from bbh_bench.api import Attack, Method, Metric, Task
    from bbh_bench.records.record import Record
    from bbh_bench.running.cell import Cell

PROJECT = "bbh_bench"  # also the entry-point group

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def bbh_methods() -> "list[Method]":  # type: ignore[empty-body]
    """Methods: each fits a posterior over networks."""


@hookspec
def bbh_tasks() -> "list[Task]":  # type: ignore[empty-body]
    """Tasks: each provides data, a network, a budget and an evaluation."""


@hookspec
def bbh_attacks() -> "list[Attack]":  # type: ignore[empty-body]
    """Attacks: each is a setting of an attack algorithm."""


@hookspec
def bbh_metrics() -> "list[Metric]":  # type: ignore[empty-body]
    """Metrics: each is a score that is computed from stored predictions."""


@hookspec
def bbh_run_started(cells: "Sequence[Cell]", finished_before: int) -> None:
    """A run begins. ``cells`` are going to run; ``finished_before`` others have records already."""


@hookspec
def bbh_cell_started(cell: "Cell") -> None:
    """A cell begins. ``cell`` has ``task``, ``method``, ``seed`` and ``path``, the place of its record."""


@hookspec
def bbh_cell_progress(cell: "Cell", stage: str, fraction: float | None, loss: float | None) -> None:
    """A stage of a cell begins; in the stage ``fit``, once a second the completed fraction and the current loss."""


@hookspec
def bbh_cell_finished(cell: "Cell", record: "Record") -> None:
    """A cell is over, and its record is stored: scores and costs, or why it failed (``record.finished`` is False)."""


@hookspec
def bbh_run_finished(records: "Sequence[Record]") -> None:
    """A run is over, or was stopped. ``records`` are those of its finished and failed cells."""
