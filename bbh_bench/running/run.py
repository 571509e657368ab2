"""A run, from names to results: plan, skip finished cells, load data, run, store. The command line and the library call it."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bbh_bench.api import Task
from bbh_bench.data import data_folder
from bbh_bench.errors import BenchError, RecordError
from bbh_bench.plugins import Plugins
from bbh_bench.records.store import Store
from bbh_bench.running.cell import Cell, Result
from bbh_bench.running.checkpoint import CheckpointFolder
from bbh_bench.running.claiming_observer import ClaimingObserver
from bbh_bench.running.claims import Claims
from bbh_bench.running.context import RunContext, select_device
from bbh_bench.running.executors import Results, inline, processes
from bbh_bench.running.hooks import HookObserver
from bbh_bench.running.options import RunOptions, Selection
from bbh_bench.running.plan import plan, unfinished
from bbh_bench.running.posterior_cache import PosteriorCache
from bbh_bench.running.progress import Observer
from bbh_bench.running.provenance import now, provenance
from bbh_bench.running.queue import CellQueue
from bbh_bench.running.worker import WorkerSettings, pack

SHARED = ".shared"
"""Folder beside the records for what the cells of a run share while it goes on."""


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

    Cells that another run on the same folder has are left to it; if it ends before they are finished, they are run here.
    Without a store every cell runs. Raises ``BenchError`` before the first cell for what can be known by then.
    """
    options.check()
    device = _device(options)
    folder = data_folder(options.data)
    to_run = list(cells) if store is None else unfinished(cells, store, options.replace, options.keep_outdated)
    check_data(to_run, folder)
    if options.executor != "inline":
        for cell in to_run:
            pack(cell)  # one that cannot be sent to another process must show before the first cell
    # Not before everything else was checked: it creates the folders.
    check_folders(store, options.posteriors, options.checkpoints)
    with ExitStack() as stack:
        context = RunContext(
            device,
            tuple(plugins.metrics.values()),
            provenance(device, {cell.package.name for cell in to_run}),
            PosteriorCache(options.posteriors.resolve()) if options.posteriors else None,
            CheckpointFolder(options.checkpoints.resolve(), options.checkpoint_seconds, options.fast)
            if options.checkpoints
            else None,
            scratch=stack.enter_context(_shared_folder(store)),
            fast=options.fast,
        )
        hooks = HookObserver(observer, plugins.listeners)
        stack.callback(hooks.run_finished)
        hooks.run_started(to_run, len(cells) - len(to_run), options.at_a_time)
        yield from _results(to_run, context, options, folder, store, hooks)


def _device(options: RunOptions) -> torch.device:
    """The device of the cells. Raises ``BenchError``."""
    if options.executor != "ray":
        return select_device(options.device)
    from bbh_bench.running.ray_cluster import RayOptions, node_device

    # This machine need not have the GPUs of the cluster.
    return node_device(options.device, RayOptions(gpus=options.gpus))


def _results(
    to_run: Sequence[Cell],
    context: RunContext,
    options: RunOptions,
    folder: Path,
    store: Store | None,
    observer: Observer,
) -> Iterator[Result]:
    """Run, store and report each cell."""
    claims = None if store is None else Claims(store.root)
    began = now()

    def still_unfinished(cell: Cell) -> bool:
        """Another run may have finished the cell meanwhile, or found that it fails."""
        record = None if store is None else store.get(cell.path)
        if store is None or (record is not None and record.provenance.started > began):
            return store is None
        return bool(unfinished([cell], store, options.replace, options.keep_outdated))

    queue = CellQueue(to_run, store, claims, still_unfinished, observer.cell_elsewhere)
    with ExitStack() as stack:
        if claims is not None:
            claims.clear_stale()
            stack.enter_context(claims)
            observer = ClaimingObserver(observer, claims)
        results = stack.enter_context(closing(_execute(context, queue, options, folder, observer)))
        for cell, result in results:
            stored = result if store is None else keep(store, result)
            queue.release(cell)
            if context.checkpoints and result.record.finished:
                context.checkpoints.discard(cell, context.provenance.packages.get("torch"), context.device)
            observer.cell_finished(cell, stored or result, stored is not None)
            yield stored or result


def _execute(context: RunContext, queue: CellQueue, options: RunOptions, folder: Path, observer: Observer) -> Results:
    if options.executor == "inline":
        return inline(context, queue, folder, observer)
    jobs = options.processes
    threads = max(1, torch.get_num_threads() // max(1, min(jobs, len(queue))))
    settings = WorkerSettings(replace(context, metrics=()), folder, threads, options.plugin_files, options.memory)
    if options.executor == "processes":
        return processes(context, queue, settings, jobs, options.timeout, observer)
    from bbh_bench.running.ray_cluster import RayOptions, ray_cluster

    how = RayOptions(options.address, options.cpus, options.gpus, options.memory, options.timeout, jobs=options.jobs)
    return ray_cluster(context, queue, settings, how, observer)


@contextmanager
def _shared_folder(store: Store | None) -> Iterator[Path]:
    """What is in it can be computed again: it may be deleted at any time."""
    if store is None:
        with TemporaryDirectory(prefix="bbh-bench-") as temporary:
            yield Path(temporary)
        return
    folder = store.root.resolve() / SHARED  # a method may change the current folder
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_folders(store: Store | None, *others: Path | None) -> None:
    """Fail now rather than after hours: folders must be writable and records readable. Raises ``RecordError``."""
    if store is not None:
        store.prepare()
        store.records()
    for folder in others:
        if folder is not None:
            Store(folder).prepare()


def check_data(cells: Iterable[Cell], folder: Path) -> None:
    """Load the data of each task of ``cells`` once, and let go of them. Raises ``BenchError``."""
    for task in {cell.task.name: cell.task for cell in cells}.values():
        _load(task, folder)


def _load(task: Task, folder: Path) -> None:
    try:
        task.load(folder)
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
