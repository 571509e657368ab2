"""A worker process: it receives cells, runs them, and sends what happens to the process of the run."""

import os
import pickle
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock

import msgspec
import torch

from bbh_bench.api import LoadedTask
from bbh_bench.errors import ContractError
from bbh_bench.plugins import load_plugins
from bbh_bench.running.cell import Cell, Result
from bbh_bench.running.context import RunContext
from bbh_bench.running.prints import LineStream
from bbh_bench.running.provenance import hardware
from bbh_bench.running.runner import CellProgress, failure, run_cell, warmed_up

INTERVAL = 0.2
"""Seconds between two messages about the progress of a fit."""


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker needs before its first cell. It has not loaded plugin files yet: nothing in it may be an object of one."""

    context: RunContext
    """Without metrics: closures cannot be sent, and the worker loads them itself."""
    folder: Path
    """Of the data sets."""
    threads: int
    plugin_files: tuple[Path, ...] = ()
    memory: int | None = None
    """Bytes that the process of a cell may have. None: no limit."""


class Messages:
    """Sends messages, which are about the cell that the worker has: tuples of a name and values.

    ``("stage", name)``, ``("fitting", fraction, loss)``, ``("printed", line)``, ``("result", result)``, and
    ``("unreadable", reason)`` if the cell could not be received. It is the cell's ``runner.CellProgress``.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = Lock()  # a thread of a method may print, too
        self._process = os.getpid()
        self._next = 0.0

    def send(self, *message: object) -> None:
        """Send one message. A process that a method forked, for loading data for example, sends nothing."""
        if os.getpid() == self._process:
            with self._lock:
                self._connection.send(message)

    def stage(self, name: str) -> None:
        """See ``runner.CellProgress``."""
        self._next = 0.0
        self.send("stage", name)

    def fitting(self, fraction: float, loss: float) -> None:
        """See ``runner.CellProgress``. It is called at every step of a fit; few calls send a message."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + INTERVAL
            self.send("fitting", float(fraction), float(loss))

    def printed(self, line: str) -> None:
        """A method printed a line."""
        self.send("printed", line)


def work(connection: Connection, settings: WorkerSettings) -> None:
    """The main function of the process. It ends when the run closes the connection."""
    torch.set_num_threads(settings.threads)
    messages = Messages(connection)
    out, err = LineStream(messages.printed), LineStream(messages.printed)
    with suppress(ConnectionError, KeyboardInterrupt), redirect_stdout(out), redirect_stderr(err), ExitStack() as warm:
        plugins = load_plugins(files=settings.plugin_files)  # before a cell: its objects may be those of a plugin file
        context = replace(settings.context, metrics=tuple(plugins.metrics.values()))
        loaded: dict[str, LoadedTask] = {}
        while True:
            try:
                cell = connection.recv()
            except (EOFError, OSError):
                return
            except Exception as error:  # unpickling may raise anything
                messages.send("unreadable", f"{type(error).__name__}: {error}")
                continue
            result = _run(context, cell, loaded, settings.folder, warm, messages)
            out.end_line()
            err.end_line()
            messages.send("result", result)


def _run(
    context: RunContext,
    cell: Cell,
    loaded: dict[str, LoadedTask],
    folder: Path,
    warm: ExitStack,
    messages: CellProgress,
) -> Result:
    """The result of a cell, whose task is loaded if it is the first of this task."""
    try:
        if cell.task.name not in loaded:
            loaded[cell.task.name] = cell.task.load(folder)
            warm.enter_context(warmed_up(context, [loaded[cell.task.name]]))
    except Exception as error:  # the run has loaded the same data before it started this process
        return failure(context, cell, error)
    return run_cell(context, cell, loaded[cell.task.name], messages)


class SentProgress:
    """A ``runner.CellProgress`` that passes everything on to a function."""

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send

    def stage(self, name: str) -> None:
        """See ``runner.CellProgress``."""
        self._send("stage", name)

    def fitting(self, fraction: float, loss: float) -> None:
        """See ``runner.CellProgress``."""
        self._send("fitting", float(fraction), float(loss))

    def printed(self, line: str) -> None:
        """A method printed a line."""
        self._send("printed", line)


def run_alone(settings: WorkerSettings, packed: bytes, send: Callable[..., None]) -> Result | str:
    """Run one cell, which ``pack`` packed, in a process that was made for it, on this machine or another one.

    ``send`` gets messages like those of ``Messages``. Returns a reason, a string, if the cell cannot be unpacked here.
    """
    torch.set_num_threads(settings.threads)
    progress = SentProgress(send)
    out, err = LineStream(progress.printed), LineStream(progress.printed)
    with redirect_stdout(out), redirect_stderr(err), ExitStack() as warm:
        plugins = load_plugins(files=settings.plugin_files)
        here = msgspec.structs.replace(settings.context.provenance, hardware=hardware(settings.context.device))
        context = replace(settings.context, metrics=tuple(plugins.metrics.values()), provenance=here)
        try:
            cell: Cell = pickle.loads(packed)
        except Exception as error:  # unpickling may raise anything
            return f"{type(error).__name__}: {error}"
        result = _run(context, cell, {}, settings.folder, warm, progress)
        out.end_line()
        err.end_line()
    return result


def pack(cell: Cell) -> bytes:
    """A cell as bytes. Raises ``ContractError`` for a task or method that cannot be pickled."""
    for kind, value in (("task", cell.task), ("method", cell.method)):
        try:
            pickle.dumps(value)
        except Exception as error:  # pickling may raise anything
            raise ContractError(
                f"The {kind} '{value.name}' cannot be sent to another process ({error}). Define what it consists of at the "
                "top level of its module, or use --executor inline."
            ) from error
    return pickle.dumps(cell)


def not_importable(cell: Cell, reason: str) -> ContractError:
    """The failure of a cell for which ``run_alone`` returned a reason."""
    return ContractError(
        f"another process cannot load {cell} ({reason}). Define its method and task in a module that can be imported, name "
        "their file with --plugin, or run in one process."
    )
