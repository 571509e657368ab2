"""Starts a new process for every cell.

On Linux, a template process imports and warms up once. The process of a cell is a fork of it, which takes milliseconds, and has
nothing of the cells before. Elsewhere a fork is not safe, and every process starts from nothing, which takes seconds.
"""

import atexit
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, reduction, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

from bbh_bench.running.limits import end_with_parent, prefer_as_victim
from bbh_bench.running.worker import WorkerSettings, answer, prepare

PATIENCE = 10.0
"""Seconds that a process gets to exit before it is killed."""


class Launcher(Protocol):
    """Starts and ends the processes of cells. Each is known by a number that the caller chooses."""

    def launch(self, number: int) -> Connection:
        """Start a process (see ``worker.answer``) and return our end of its pipe. Raises ``OSError``."""
        ...

    def kill(self, number: int) -> None:
        """End it and all processes that it started."""
        ...

    def exit_code(self, number: int) -> int | None:
        """Wait until it has ended, and return its exit code, or minus the signal that ended it. None if nobody knows."""
        ...

    def close(self) -> None:
        """End all of them."""
        ...


def launcher(settings: WorkerSettings) -> Launcher:
    """That of this system."""
    return Template(settings) if sys.platform == "linux" else Spawner(settings)


class Template:
    """A process that forks the processes of cells. If it dies, all of them do, and the next launch starts another one."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._codes: dict[int, int] = {}
        self._process: BaseProcess | None = None
        self._control: Connection

    def launch(self, number: int) -> Connection:
        """See ``Launcher``."""
        if not self._answers():
            self._start()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            try:
                self._control.send(("launch", number))
                reduction.send_handle(self._control, theirs.fileno(), self._pid)
            except OSError:
                self.close()
                raise
            return Connection(ours.detach())

    def kill(self, number: int) -> None:
        """See ``Launcher``."""
        with suppress(OSError):
            self._control.send(("kill", number))

    def exit_code(self, number: int) -> int | None:
        """See ``Launcher``."""
        while number not in self._codes:
            try:
                if not self._control.poll(PATIENCE):
                    return None
                self._receive()
            except (EOFError, OSError):
                return None
        return self._codes.pop(number)

    def _answers(self) -> bool:
        """Whether the template lives. Reads what it has said."""
        if self._process is None or not self._process.is_alive():
            return False
        try:
            while self._control.poll():
                self._receive()
        except (EOFError, OSError):
            return False
        return True

    def _receive(self) -> None:
        """The template says that a process has ended."""
        number, code = self._control.recv()
        self._codes[number] = code

    def close(self) -> None:
        """See ``Launcher``. The template ends its cells when the pipe to it is closed."""
        if self._process is None:
            return
        atexit.unregister(self.close)
        self._control.close()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process = None
        self._codes.clear()

    def _start(self) -> None:
        self.close()
        context = get_context("spawn")  # a fork of this process would share locks and a GPU's state
        self._control, other = context.Pipe()
        self._process = context.Process(target=template, args=(other, self._settings))
        with without_interrupts():
            self._process.start()
        self._pid = self._process.pid or 0
        atexit.register(self.close)  # else the interpreter would wait for a template whose run was not closed
        other.close()  # now only the template has it open, so that its death ends our waiting


def template(control: Connection, settings: WorkerSettings) -> None:
    """The main function of the template: prepare, then fork and watch the processes of cells until ``control`` is closed."""
    context = prepare(settings)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all memory that it looks at
    watched: dict[int, tuple[int, int]] = {}
    """The number and process id of each cell, by the descriptor that is ready when its process ends."""
    try:
        while True:
            ready = wait([control, *watched])
            for descriptor in [each for each in ready if isinstance(each, int)]:
                number, pid = watched.pop(descriptor)
                os.close(descriptor)
                _kill_group(pid)  # what the cell has started
                control.send((number, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
            if control not in ready:
                continue
            request, number = control.recv()
            if request == "kill":
                for pid in [pid for each, pid in watched.values() if each == number]:
                    _kill_group(pid)
                continue
            handle = reduction.recv_handle(control)
            pid = os.fork()
            if pid == 0:
                _become_cell(control, handle, watched, settings)
                answer(Connection(handle), context, settings)
            os.close(handle)
            watched[os.pidfd_open(pid)] = number, pid
    except (EOFError, OSError):  # the run has closed the pipe, or died
        for _, pid in watched.values():
            _kill_group(pid)
            os.waitpid(pid, 0)
    os._exit(0)  # the end of an interpreter that has loaded torch takes a second


def _become_cell(
    control: Connection, handle: int, watched: dict[int, tuple[int, int]], settings: WorkerSettings
) -> None:
    """What a fork does first: it is a session of its own, and ends with the template."""
    end_with_parent()
    os.setsid()
    prefer_as_victim()
    control.close()
    for descriptor in watched:
        os.close(descriptor)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):  # it may not have become the leader of a group yet
        os.kill(pid, signal.SIGKILL)


class Spawner:
    """Starts every process from nothing. Processes that a cell has started are not ended with it."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._processes: dict[int, BaseProcess] = {}

    def launch(self, number: int) -> Connection:
        """See ``Launcher``."""
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=spawned, args=(theirs, self._settings), daemon=True)
        with without_interrupts():
            process.start()
        theirs.close()
        self._processes[number] = process
        return ours

    def kill(self, number: int) -> None:
        """See ``Launcher``."""
        self._processes[number].kill()

    def exit_code(self, number: int) -> int | None:
        """See ``Launcher``."""
        process = self._processes.pop(number)
        process.join(PATIENCE)
        return process.exitcode

    def close(self) -> None:
        """See ``Launcher``."""
        for process in self._processes.values():
            process.kill()
            process.join()
        self._processes.clear()


def spawned(connection: Connection, settings: WorkerSettings) -> None:
    """The main function of a process that started from nothing."""
    answer(connection, prepare(settings), settings)


@contextmanager
def without_interrupts() -> Iterator[None]:
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
