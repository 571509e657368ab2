"""A run, from names to results: plan, skip finished cells, load data, run, store. The command line and the library call it."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bbh_bench.api import Attack, LoadedTask, Method, Task
from bbh_bench.data import data_folder
from bbh_bench.errors import BenchError, RecordError
from bbh_bench.plugins import Plugins
from bbh_bench.records.store import Store
from bbh_bench.running.cell import Cell, Result
from bbh_bench.running.context import RunContext, select_device
from bbh_bench.running.executors import inline, processes
from bbh_bench.running.plan import plan, unfinished
from bbh_bench.running.posterior_cache import PosteriorCache
from bbh_bench.running.progress import Observer
from bbh_bench.running.provenance import provenance


@dataclass(frozen=True)
class Selection:
    """What a run consists of: names of registered objects, or objects."""

    tasks: Sequence[str | Task]
    methods: Sequence[str | Method] = ()
    """Empty: every built-in method."""
    seeds: Sequence[int] = (0, 1, 2)
    attacks: Sequence[str | Attack] = ()
    """Added to the tasks' own."""


@dataclass(frozen=True)
class RunOptions:
    """How cells are run."""

    device: str = "auto"
    """auto, cpu or cuda."""
    jobs: int | None = None
    """Number of processes, each of which runs one cell at a time. None: in this process."""
    data: str | None = None
    """The data folder. None: that of $BBH_BENCH_DATA, else the user's cache."""
    posteriors: Path | None = None
    """A folder in which fitted posteriors are stored and looked up. None: nowhere."""
    replace: bool = False
    """Run finished cells again, and replace their records."""
    keep_outdated: bool = False
    """Accept finished records that older source code of the method made."""
    plugin_files: tuple[Path, ...] = ()
    """Unpackaged plugin modules, which worker processes must load too."""


def run(
    plugins: Plugins, selection: Selection, options: RunOptions, store: Store | None, observer: Observer
) -> Iterator[Result]:
    """Plan a selection and run its cells: see ``run_cells``."""
    cells = plan(plugins, selection.tasks, selection.methods, selection.seeds, selection.attacks)
    return run_cells(cells, plugins, options, store, observer)


def run_cells(
    cells: Sequence[Cell], plugins: Plugins, options: RunOptions, store: Store | None, observer: Observer
) -> Iterator[Result]:
    """Run the cells that ``store`` does not have yet, store each when it ends, and yield the results of these cells.

    Without a store every cell runs. Raises ``BenchError`` before the first cell for what can be known by then.
    """
    device = select_device(options.device)
    folder = data_folder(options.data)
    to_run = list(cells) if store is None else unfinished(cells, store, options.replace, options.keep_outdated)
    loaded = load_tasks(to_run, folder)
    check_folders(store, options.posteriors)  # creates them: not before everything else that can be wrong was checked
    context = RunContext(
        device,
        tuple(plugins.metrics.values()),
        provenance(device, {cell.package.name for cell in to_run}),
        PosteriorCache(options.posteriors) if options.posteriors else None,
    )
    observer.run_started(to_run, len(cells) - len(to_run), options.jobs)
    if options.jobs is None:
        results = inline(context, to_run, loaded, observer)
    else:
        loaded.clear()  # each process loads for itself; here it was a check that the data are there
        results = processes(context, to_run, folder, options.jobs, options.plugin_files, observer)
    with closing(results):
        for cell, result in results:
            stored = result if store is None else keep(store, result)
            observer.cell_finished(cell, stored or result, stored is not None)
            yield stored or result


def check_folders(store: Store | None, posteriors: Path | None) -> None:
    """Fail now rather than after hours: folders must be writable and records readable. Raises ``RecordError``."""
    if store is not None:
        store.prepare()
        store.records()
    if posteriors is not None:
        Store(posteriors).prepare()


def load_tasks(cells: Iterable[Cell], folder: Path) -> dict[str, LoadedTask]:
    """The data of each task of ``cells``, by name. Raises ``BenchError``."""
    tasks = {cell.task.name: cell.task for cell in cells}
    return {name: _load(task, folder) for name, task in tasks.items()}


def _load(task: Task, folder: Path) -> LoadedTask:
    try:
        return task.load(folder)
    except (BenchError, KeyboardInterrupt):
        raise
    except Exception as error:  # a third party's task may raise anything
        raise BenchError(f"Task '{task.name}' cannot load its data: {type(error).__name__}: {error}.") from error


def keep(store: Store, result: Result) -> Result | None:
    """Store a result. None if it is a failure and the store has a finished record of the cell. Raises ``RecordError``."""
    record = result.record
    if not record.finished:
        stored = store.get(record.path)
        if stored is not None and stored.finished:
            return None
    try:
        return Result(store.put(record, result.arrays), result.arrays)
    except OSError as error:
        raise RecordError(
            f"The record '{store.root / record.path}' cannot be written ({error.strerror}). Make room, or name another folder "
            "with --records; finished cells are stored, and the same command continues with the rest."
        ) from error
