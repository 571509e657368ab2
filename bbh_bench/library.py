"""The suite as a library: run methods, and use their results, from Python."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from bbh_bench.api import Attack, Method, Task
from bbh_bench.errors import BenchWarning, RecordError
from bbh_bench.plugins import load_plugins
from bbh_bench.records.store import Store
from bbh_bench.running.cell import Cell, Result
from bbh_bench.running.options import RunOptions
from bbh_bench.running.plan import plan
from bbh_bench.running.progress import Silent
from bbh_bench.running.run import run_cells

_DEFAULTS = RunOptions()


def run(
    methods: Sequence[str | Method] = (),
    tasks: Sequence[str | Task] = ("digits5",),
    seeds: Sequence[int] = (0,),
    attacks: Sequence[str | Attack] = (),
    records: str | Path | None = None,
    options: RunOptions = _DEFAULTS,
) -> list[Result]:
    """Run every method on every task with every seed, and return the results in this order.

    Methods, tasks and attacks are names of registered ones, or objects. No methods: all built-in ones. ``attacks`` are added to
    those of the tasks. ``records`` is a folder in which results are stored; cells that it has already are not run again, and
    their results are read from it. A method that raises gives a result whose ``record.status`` is ``"failed"``.

    Each result has ``record`` (``record.scores``, ``record.curves``, ``record.cost``, ...) and ``arrays``, the stored
    predictions. Raises ``BenchError`` for a name that is not registered, data that are missing, or a folder whose records were
    made with other settings.

    >>> results = bbh_bench.run(methods=["map", Blur()], tasks=["digits5"], seeds=[0])
    >>> results[0].record.scores["test/nll"]
    """
    plugins = load_plugins(files=options.plugin_files)
    for problem in plugins.problems:
        warnings.warn(problem, BenchWarning, stacklevel=2)
    store = None if records is None else Store(Path(records))
    cells = plan(plugins, tasks, methods, seeds, attacks)
    new = {result.record.path: result for result in run_cells(cells, plugins, options, store, Silent())}
    return [new[cell.path] if cell.path in new else _stored(store, cell) for cell in cells]


def _stored(store: Store | None, cell: Cell) -> Result:
    """The result of a cell that was finished before."""
    record = None if store is None else store.get(cell.path)
    if store is None or record is None:
        raise RecordError(f"The record of {cell} was deleted while the run went on. Run its cell again.")
    return Result(record, store.arrays(record))
