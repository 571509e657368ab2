"""Runs one cell in a process of its own, and sends what happens to the process of the run."""

import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock

import msgspec
import torch

from bbh_bench.errors import ContractError
from bbh_bench.plugins import load_plugins
from bbh_bench.running.cell import Cell, Result
from bbh_bench.running.context import RunContext
from bbh_bench.running.guard import snapshot
from bbh_bench.running.limits import explain_memory, limit_memory
from bbh_bench.running.prints import LineStream
from bbh_bench.running.provenance import hardware
from bbh_bench.running.runner import run_cell
from bbh_bench.running.warmup import warm_up

INTERVAL = 0.2
"""Seconds between two messages about the progress of a fit."""


@dataclass(frozen=True)
class WorkerSettings:
    """What is the same for all cells of a run. Nothing in it may be an object of a plugin file, which is not loaded yet."""

    context: RunContext
    """Without metrics: closures cannot be sent, and the process loads them itself."""
    folder: Path
    """Of the data sets."""
    threads: int
    plugin_files: tuple[Path, ...] = ()
    memory: int | None = None
    """Bytes that the process of a cell may have. None: no limit."""


class Messages:
    """Sends messages about one cell: tuples of a name and values. It is the cell's ``runner.CellProgress``.

    ``("stage", name)``, ``("fitting", fraction, loss)``, ``("printed", line)``.
    """

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send
        self._lock = Lock()  # a thread of a method may print, too
        self._process = os.getpid()
        self._next = 0.0

    def send(self, *message: object) -> None:
        """Send one message. A process that a method forked, for loading data for example, sends nothing."""
        if os.getpid() == self._process:
            with self._lock:
                self._send(*message)

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


def prepare(settings: WorkerSettings) -> RunContext:
    """Load plugins and warm up: the whole context of the cells of a process."""
    torch.set_num_threads(1)  # a process that has several threads cannot be forked
    plugins = load_plugins(files=settings.plugin_files)
    warm_up(settings.context.device)
    return replace(settings.context, metrics=tuple(plugins.metrics.values()), originals=snapshot())


def run_alone(settings: WorkerSettings, packed: bytes, send: Callable[..., None]) -> Result | str:
    """Run one cell, which ``pack`` packed, in a process that was made for it, on this machine or another one.

    ``send`` gets the messages of ``Messages``. Returns a reason, a string, if the cell cannot be unpacked here.
    """
    context = prepare(settings)
    here = hardware(context.device)
    provenance = msgspec.structs.replace(context.provenance, hardware=here)
    return run_packed(replace(context, provenance=provenance), settings, packed, send)


def run_packed(context: RunContext, settings: WorkerSettings, packed: bytes, send: Callable[..., None]) -> Result | str:
    """As ``run_alone``, in a process that is prepared."""
    torch.set_num_threads(settings.threads)
    try:
        cell: Cell = pickle.loads(packed)
    except Exception as error:  # unpickling may raise anything
        return f"{type(error).__name__}: {error}"
    messages = Messages(send)
    out, err = LineStream(messages.printed), LineStream(messages.printed)
    with limit_memory(settings.memory), redirect_stdout(out), redirect_stderr(err):
        result = run_cell(context, cell, lambda: cell.task.load(settings.folder), messages)
    out.end_line()
    err.end_line()
    return explain_memory(result, settings.memory)


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


def answer(connection: Connection, context: RunContext, settings: WorkerSettings) -> None:
    """The main function of the process of one cell: receive it, run it, answer once, and end the process.

    All messages are ``(nonce, name, values...)``. The nonce comes with the cell. The first one is ``("started",)``, the last
    one ``("result", path, result)``, with the path of the cell's record, or ``("unreadable", reason)``.
    """
    code = 1
    try:
        nonce, path, packed = connection.recv()

        def send(*message: object) -> None:
            connection.send((nonce, *message))

        send("started")
        result = run_packed(context, settings, packed, send)
        send("unreadable", result) if isinstance(result, str) else send("result", path, result)
        code = 0
    except (ConnectionError, EOFError):  # the run is over
        pass
    except BaseException:  # an error of the suite
        traceback.print_exc()
    finally:
        with suppress(Exception):  # a method may have closed or replaced them
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # no thread and no exit handler of a method can delay it
