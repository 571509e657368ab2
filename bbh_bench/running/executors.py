"""Where cells run: in this process, one after the other, or in worker processes, several at a time."""

import pickle
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

from bbh_bench.api import LoadedTask
from bbh_bench.errors import ContractError
from bbh_bench.running.cell import Cell, Result
from bbh_bench.running.context import RunContext
from bbh_bench.running.prints import LineStream
from bbh_bench.running.progress import Observer
from bbh_bench.running.runner import failure, run_cell, warmed_up
from bbh_bench.running.worker import WorkerSettings, work

Results = Generator[tuple[Cell, Result], None, None]
PATIENCE = 10.0  # seconds that a process gets to exit before it is killed


@dataclass(frozen=True)
class CellObserver:
    """Passes on the progress of one cell. A terminal that is gone is no failure of the cell."""

    observer: Observer
    cell: Cell

    def stage(self, name: str) -> None:
        """See ``runner.CellProgress``."""
        with suppress(OSError):
            self.observer.stage(self.cell, name)

    def fitting(self, fraction: float, loss: float) -> None:
        """See ``runner.CellProgress``."""
        with suppress(OSError):
            self.observer.fitting(self.cell, fraction, loss)


def inline(context: RunContext, cells: list[Cell], loaded: Mapping[str, LoadedTask], observer: Observer) -> Results:
    """Run the cells in this process, each as soon as the result before it was taken."""
    if not cells:
        return
    with warmed_up(context, loaded.values()):
        for cell in cells:
            observer.cell_started(cell)
            with closing(LineStream(partial(observer.printed, cell), prompts=True)) as lines, redirect_stdout(lines):
                load = partial(loaded.__getitem__, cell.task.name)
                result = run_cell(context, cell, load, CellObserver(observer, cell))
            yield cell, result


def processes(
    context: RunContext,
    cells: list[Cell],
    folder: Path,
    jobs: int,
    plugin_files: Sequence[Path],
    observer: Observer,
) -> Results:
    """Run ``jobs`` cells at a time, each in a process that runs many; results in the order in which they are ready.

    A process loads plugins and data sets for itself, the latter from ``folder``. If one dies, for want of memory for example,
    its cell has failed, and another process takes its place. Closing the generator ends them all.

    Raises ``ContractError`` for a task or method that cannot be sent to another process.
    """
    check_sendable(cells)
    jobs = min(jobs, len(cells))
    threads = max(1, torch.get_num_threads() // max(1, jobs))
    settings = WorkerSettings(replace(context, metrics=()), folder, threads, tuple(plugin_files))
    waiting = deque(cells)
    workers: list[Worker] = []
    try:
        for _ in range(jobs):
            workers.append(Worker(settings))
            _give(workers[-1], waiting, observer)
        while workers:
            for worker in _ready(workers):
                cell, result = worker.cell, _result(worker, context, observer)
                if result is None:
                    continue
                if worker.dead or not waiting:
                    workers.remove(worker)
                    worker.stop()
                if waiting and worker.dead:
                    workers.append(Worker(settings))
                    _give(workers[-1], waiting, observer)
                elif waiting:
                    _give(worker, waiting, observer)
                yield cell, result
    finally:
        for worker in workers:
            worker.stop()


def _give(worker: "Worker", waiting: deque[Cell], observer: Observer) -> None:
    """Let a worker run the next cell."""
    observer.cell_started(waiting[0])
    worker.give(waiting.popleft())


def _ready(workers: Iterable["Worker"]) -> list["Worker"]:
    """The workers that have sent something, or that died; waited for."""
    connections = wait([worker.connection for worker in workers])
    return [worker for worker in workers if worker.connection in connections]


def _result(worker: "Worker", context: RunContext, observer: Observer) -> Result | None:
    """Receive one message of a worker: the result of its cell; or None, if it was about progress, which is passed on."""
    match worker.receive():
        case ("result", result):
            return result
        case ("stage", name):
            observer.stage(worker.cell, name)
        case ("fitting", fraction, loss):
            observer.fitting(worker.cell, fraction, loss)
        case ("printed", line):
            observer.printed(worker.cell, line)
        case ("unreadable", reason):
            return failure(context, worker.cell, _not_importable(worker.cell, reason))
        case _:
            return failure(context, worker.cell, worker.death())
    return None


class Worker:
    """A process that runs one cell after the other, and the cell that it has. See ``worker.work`` for what it does."""

    cell: Cell

    def __init__(self, settings: WorkerSettings) -> None:
        context = get_context("spawn")  # a fork would share locks and a GPU's state
        self.connection, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, settings))
        self.dead = False
        with _without_interrupts():
            self.process.start()
        other.close()  # now only the worker holds it open, so that its death ends our waiting

    def give(self, cell: Cell) -> None:
        """Let it run this cell. If it is dead already, ``receive`` will say so."""
        self.cell = cell
        with suppress(OSError):
            self.connection.send(cell)

    def receive(self) -> tuple[Any, ...] | None:
        """Its next message (see ``worker.Messages``), waited for. None if it died."""
        try:
            message: tuple[Any, ...] = self.connection.recv()
        except (EOFError, OSError):
            self.dead = True
            return None
        return message

    def death(self) -> BaseException:
        """Why it died."""
        self.stop()
        code = self.process.exitcode or 0
        why = "it was killed; was there enough memory? Fewer --jobs need less" if code < 0 else "it exited by itself"
        return ChildProcessError(f"the process of the cell ended with code {code}: {why}.")

    def stop(self) -> None:
        """End it, whatever it does."""
        self.connection.close()
        self.process.join(0.1)
        self.process.terminate()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """A process that is started inside ignores Ctrl-C, which a terminal sends to it too: the run ends it in an orderly way."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    resource_tracker.ensure_running()  # its start, which a first process would cause, changes the mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def check_sendable(cells: Iterable[Cell]) -> None:
    """Raise ``ContractError`` for a task or method that cannot be pickled."""
    for cell in cells:
        for kind, value in (("task", cell.task), ("method", cell.method)):
            try:
                pickle.dumps(value)
            except Exception as error:  # pickling may raise anything
                raise ContractError(
                    f"The {kind} '{value.name}' cannot be sent to another process ({error}). Define what it consists of at the "
                    "top level of its module, or use --executor inline."
                ) from error


def _not_importable(cell: Cell, reason: str) -> ContractError:
    return ContractError(
        f"another process cannot load {cell} ({reason}). Define its method and task in a module that can be imported, name "
        "their file with --plugin, or run in one process."
    )
