"""Where cells run: in this process, one after the other, or in worker processes, several at a time."""

import pickle
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from bbh_bench.api import LoadedTask
from bbh_bench.errors import ContractError
from bbh_bench.plugins import load_plugins
from bbh_bench.running.cell import Cell, Result
from bbh_bench.running.context import RunContext
from bbh_bench.running.progress import Observer
from bbh_bench.running.runner import failure, run_cell, warmed_up

Results = Generator[tuple[Cell, Result], None, None]
PATIENCE = 10.0  # seconds that a process gets to exit before it is killed


@dataclass(frozen=True)
class CellObserver:
    """Passes on the progress of one cell."""

    observer: Observer
    cell: Cell

    def stage(self, name: str) -> None:
        """See ``runner.CellProgress``."""
        self.observer.stage(self.cell, name)

    def fitting(self, fraction: float, loss: float) -> None:
        """See ``runner.CellProgress``."""
        self.observer.fitting(self.cell, fraction, loss)


def inline(context: RunContext, cells: list[Cell], loaded: Mapping[str, LoadedTask], observer: Observer) -> Results:
    """Run the cells in this process, each as soon as the result before it was taken."""
    if not cells:
        return
    with warmed_up(context, loaded.values()):
        for cell in cells:
            observer.cell_started(cell)
            yield cell, run_cell(context, cell, loaded[cell.task.name], CellObserver(observer, cell))
            record, arrays = run_cell(bench, cell, loaded[cell.task.name], progress)
        yield cell, record, arrays


def processes(bench: Bench, cells: list[Cell], folder: Path, jobs: int) -> Results:
    """Run ``jobs`` cells at a time, each in a process that lives for many; results in the order in which they are ready.

    A process reads the data sets for itself, from the data folder. One that dies, for want of memory say, leaves its cell a
    record of the failure, and another takes its place. Closing the generator ends them all.

    Raises ``ContractError`` for a task or method that can't be sent to another process.
    """
    _check_sendable(cells)
    jobs = min(jobs, len(cells))
    threads = max(1, torch.get_num_threads() // max(1, jobs))
    waiting = deque(cells)
    workers: list[_Worker] = []
    try:
        for _ in range(jobs):
            workers.append(_Worker(bench, folder, threads))
            workers[-1].give(waiting.popleft())
        while workers:
            ready = wait([worker.connection for worker in workers])
            worker = next(worker for worker in workers if worker.connection in ready)
            cell, result = worker.cell, worker.result()
            if result is None:
                workers.remove(worker)
                result = failure(bench, cell, worker.death()), {}
                if waiting:
                    worker = _Worker(bench, folder, threads)
                    workers.append(worker)
            if waiting:
                worker.give(waiting.popleft())
            elif worker in workers:
                workers.remove(worker)
                worker.stop()
            yield cell, *result
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """A process that runs one cell after the other, and the cell that it has."""

    def __init__(self, bench: Bench, folder: Path, threads: int) -> None:
        context = get_context("spawn")  # a fork would share locks and a GPU's state
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, replace(bench, metrics=()), folder, threads))
        self.process.start()
        theirs.close()  # the other end alone holds it open: its death ends our waiting

    def give(self, cell: Cell) -> None:
        """Let it run this cell. If it is dead already, ``result`` will say so."""
        self.cell = cell
        with suppress(OSError):
            self.connection.send(cell)

    def result(self) -> tuple[Record, Arrays] | None:
        """Its cell's record and arrays, waited for; None if it died first, whatever it was doing."""
        try:
            answer: tuple[Record, Arrays] = self.connection.recv()
        except (EOFError, OSError):
            return None
        return answer

    def death(self) -> BaseException:
        """Why it is no more."""
        self.stop()
        code = self.process.exitcode or 0
        why = "it was killed; was there enough memory? Fewer --jobs need less" if code < 0 else "it left by itself"
        return ChildProcessError(f"the cell's process ended with code {code}: {why}.")

    def stop(self) -> None:
        """End it, whatever it does."""
        self.connection.close()
        self.process.join(0.1)
        self.process.terminate()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _work(connection: Connection, bench: Bench, folder: Path, threads: int) -> None:
    """What a process does: take cells, give back records, until there is nobody to give them to."""
    torch.set_num_threads(threads)
    bench = replace(bench, metrics=tuple(plugins().catalogue().metrics.things()))  # closures can't be sent
    loaded: dict[str, LoadedTask] = {}
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            cell = connection.recv()
            connection.send(_run(bench, cell, loaded, folder))


def _run(bench: Bench, cell: Cell, loaded: dict[str, LoadedTask], folder: Path) -> tuple[Record, Arrays]:
    try:
        if cell.task.name not in loaded:
            loaded[cell.task.name] = cell.task.load(folder)
            warm_up(bench, [loaded[cell.task.name]])
    except Exception as error:  # the data were there when the run began
        return failure(bench, cell, error), {}
    return run_cell(bench, cell, loaded[cell.task.name], Progress(str(cell), shown=False))


def _check_sendable(cells: list[Cell]) -> None:
    for cell in cells:
        for kind, thing in (("task", cell.task), ("method", cell.method)):
            try:
                pickle.dumps(thing)
            except Exception as error:
                raise ContractError(
                    f"The {kind} '{thing.name}' can't be sent to another process ({error}). Define what it is made of at the "
                    "top level of its module, or use --executor inline."
                ) from error
