"""Where cells run: in this process, one after the other, or each in a process of its own, several at a time."""

import math
import secrets
import signal
import time
from collections.abc import Generator
from contextlib import closing, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from bbh_bench.running.cell import Cell, Result
from bbh_bench.running.context import RunContext
from bbh_bench.running.guard import snapshot
from bbh_bench.running.launcher import Launcher, launcher
from bbh_bench.running.prints import LineStream
from bbh_bench.running.progress import Observer
from bbh_bench.running.queue import CellQueue
from bbh_bench.running.runner import collection_frozen, failure, run_cell
from bbh_bench.running.warmup import warm_up
from bbh_bench.running.worker import WorkerSettings, not_importable, pack

Results = Generator[tuple[Cell, Result], None, None]
POLL_SECONDS = 1.0
"""Between two looks for cells that other runs have given up."""


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


def inline(context: RunContext, queue: CellQueue, folder: Path, observer: Observer) -> Results:
    """Run the cells in this process, each as soon as the result before it was taken. ``folder``: of the data sets.

    What a method does to the process can reach the cells after it: settings are restored, and replaced functions are noticed,
    but a crash ends the run.
    """
    warm_up(context.device)
    context = replace(context, originals=snapshot())
    with collection_frozen():
        while True:
            cell = queue.take()
            if cell is None and not queue.waiting:
                return
            if cell is None:
                observer.waiting(len(queue))
                time.sleep(POLL_SECONDS)
                continue
            observer.cell_started(cell)
            with (
                closing(LineStream(partial(observer.printed, cell), prompts=True)) as out,
                redirect_stdout(out),
            ):
                result = run_cell(context, cell, partial(cell.task.load, folder), CellObserver(observer, cell))
            yield cell, result


def processes(
    context: RunContext,
    queue: CellQueue,
    settings: WorkerSettings,
    jobs: int,
    timeout: float | None,
    observer: Observer,
) -> Results:
    """Run ``jobs`` cells at a time, each in a process of its own; results in the order in which they are ready.

    A process that dies, or runs for more than ``timeout`` seconds, is the failure of its cell and of no other. Closing the
    generator ends them all. Raises ``ContractError`` for a task or method that cannot be sent to another process.
    """
    running: list[RunningCell] = []
    numbers = count()
    start = launcher(settings)
    try:
        while True:
            while len(running) < jobs and (cell := queue.take()) is not None:
                running.append(RunningCell(cell, start, next(numbers), timeout))
                observer.cell_started(cell)
            if not running and not queue.waiting:
                return
            if not running:
                observer.waiting(len(queue))
                time.sleep(POLL_SECONDS)
            for each in _ready(running):
                result = each.receive(context, observer)
                if result is not None:
                    running.remove(each)
                    yield each.cell, result
    finally:
        for each in running:
            each.end()
        start.close()


def _ready(running: list["RunningCell"]) -> list["RunningCell"]:
    """The cells that have sent something, whose process has ended, or whose time is up; waited for at most ``POLL_SECONDS``."""
    left = min((each.seconds_left for each in running), default=0.0)
    connections = wait([each.connection for each in running], timeout=max(0.0, min(left, POLL_SECONDS)))
    return [each for each in running if each.connection in connections or each.seconds_left <= 0]


class RunningCell:
    """A cell and its process. Only a message that carries its nonce counts, and only one result."""

    def __init__(self, cell: Cell, start: Launcher, number: int, timeout: float | None) -> None:
        packed = pack(cell)
        self.cell = cell
        self._launcher = start
        self._number = number
        self._nonce = secrets.token_hex(16)
        self._timeout = timeout
        self._deadline = math.inf  # until the process has started
        self.connection: Connection = start.launch(self._number)
        with suppress(OSError):  # if it is dead already, ``receive`` will say so
            self.connection.send((self._nonce, str(cell.path), packed))

    @property
    def seconds_left(self) -> float:
        """Until its time is up."""
        return self._deadline - time.monotonic()

    def end(self) -> None:
        """End its process, whatever it does."""
        self._launcher.kill(self._number)
        self.connection.close()

    def receive(self, context: RunContext, observer: Observer) -> Result | None:
        """Handle one message: the result of the cell; or None, if it was about progress, which is passed on."""
        if self.seconds_left <= 0:
            self.end()
            return failure(
                context, self.cell, TimeoutError(f"the cell was stopped after {self._timeout:g} s (--timeout).")
            )
        match self._message():
            case ("started",):
                self._deadline = math.inf if self._timeout is None else time.monotonic() + self._timeout
            case ("result", path, Result() as result) if path == str(self.cell.path) == str(result.record.path):
                self.connection.close()
                return result
            case ("unreadable", str() as reason):
                self.connection.close()
                return failure(context, self.cell, not_importable(self.cell, reason))
            case ("stage", str() as name):
                observer.stage(self.cell, name)
            case ("fitting", float() as fraction, float() as loss):
                observer.fitting(self.cell, fraction, loss)
            case ("printed", str() as line):
                observer.printed(self.cell, line)
            case None:
                self.connection.close()
                return failure(context, self.cell, ChildProcessError(_why(self._launcher.exit_code(self._number))))
            case _:
                self.end()
                return failure(
                    context, self.cell, ChildProcessError("the process of the cell answered for another one.")
                )
        return None

    def _message(self) -> tuple[Any, ...] | None:
        """Without its nonce; None if the process has ended; empty if it is not of this cell."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            return None
        except Exception:  # unpickling may raise anything
            return ()
        valid = isinstance(message, tuple) and len(message) > 1 and message[0] == self._nonce
        return message[1:] if valid else ()


def _why(code: int | None) -> str:
    """The reason of an exit code. The process had not sent a result."""
    if code is None:
        return "the process of the cell ended, and nobody knows why."
    if code >= 0:
        return f"the process of the cell ended with code {code}: it exited by itself."
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = {
        "SIGKILL": "was there enough memory? Fewer --jobs need less, and --memory limits each cell",
        "SIGSEGV": "a library accessed memory that is not its own",
        "SIGABRT": "a library stopped it, for want of memory for example",
    }.get(name, "somebody ended it")
    return f"the process of the cell was ended by {name}: {hint}."
