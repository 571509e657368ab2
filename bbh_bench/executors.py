"""Where cells run: here, one after the other, or several at a time, each in a process of its own."""

import pickle
from collections import deque
from collections.abc import Iterator, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from bbh_bench.api import Arrays, LoadedTask
from bbh_bench.errors import ContractError
from bbh_bench.plan import Cell
from bbh_bench.plugins import plugins
from bbh_bench.progress import Progress
from bbh_bench.record import Record
from bbh_bench.runner import Bench, failure, run_cell, warm_up

Result = tuple[Cell, Record, Arrays]


def inline(bench: Bench, cells: list[Cell], loaded: Mapping[str, LoadedTask]) -> Iterator[Result]:
    """Run the cells in this process, each as soon as its predecessor's result was taken."""
    if cells:
        warm_up(bench, loaded.values())
    for number, cell in enumerate(cells, start=1):
        with Progress(f"[{number}/{len(cells)}] {cell}") as progress:
            record, arrays = run_cell(bench, cell, loaded[cell.task.name], progress)
        yield cell, record, arrays


def processes(bench: Bench, cells: list[Cell], folder: Path, jobs: int) -> Iterator[Result]:
    """Run ``jobs`` cells at a time, each in a process that lives for many; results in the order in which they are ready.

    A process reads the data sets for itself, from the data folder. One that dies, for want of memory say, leaves its cell a
    record of the failure, and another takes its place.

    Raises ``ContractError`` for a task or method that can't be sent to another process.
    """
    _check_sendable(cells)
    jobs = min(jobs, len(cells))
    threads = max(1, torch.get_num_threads() // max(1, jobs))
    waiting = deque(cells)
    idle = [_Worker(bench, folder, threads) for _ in range(jobs)]
    busy: dict[object, _Worker] = {}
    try:
        while waiting or busy:
            while idle and waiting:
                worker = idle.pop()
                worker.give(waiting.popleft())
                busy[worker.connection] = worker
            for ready in wait(worker.connection for worker in busy.values()):
                worker = busy.pop(ready)
                try:
                    record, arrays = worker.connection.recv()
                    idle.append(worker)
                except EOFError:
                    record, arrays = failure(bench, worker.cell, worker.death()), {}
                    idle.append(_Worker(bench, folder, threads))
                yield worker.cell, record, arrays
    finally:
        for worker in [*idle, *busy.values()]:
            worker.stop()


class _Worker:
    """A process that runs one cell after the other, and the cell that it has."""

    def __init__(self, bench: Bench, folder: Path, threads: int) -> None:
        context = get_context("spawn")  # a fork would share locks and a GPU's state
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, bench.device, bench.provenance, folder, threads))
        self.process.start()
        theirs.close()  # the other end alone holds it open: its death ends our waiting

    def give(self, cell: Cell) -> None:
        """Let it run this cell; its answer is what comes through ``connection``."""
        self.cell = cell
        self.connection.send(cell)

    def death(self) -> BaseException:
        """Why it is no more."""
        self.process.join()
        return ChildProcessError(
            f"the cell's process ended with code {self.process.exitcode}; was there enough memory? Fewer --jobs need less."
        )

    def stop(self) -> None:
        """End it, whatever it does."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _work(connection: Connection, device: torch.device, provenance: dict[str, Any], folder: Path, threads: int) -> None:
    """What a process does: take cells, give back records, until there is nobody to give them to."""
    torch.set_num_threads(threads)
    bench = Bench(device, tuple(plugins().catalogue().metrics.things()), provenance)  # closures can't be sent
    loaded: dict[str, LoadedTask] = {}
    while True:
        try:
            cell = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if cell.task.name not in loaded:
                loaded[cell.task.name] = cell.task.load(folder)
                warm_up(bench, [loaded[cell.task.name]])
            connection.send(run_cell(bench, cell, loaded[cell.task.name], Progress(str(cell), shown=False)))
        except (BrokenPipeError, KeyboardInterrupt):
            return


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
