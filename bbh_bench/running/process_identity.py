"""Which process on which machine: whether the process that wrote a file is still alive."""

import os
import socket
from contextlib import suppress
from pathlib import Path

import msgspec

from bbh_bench.records.files import process_exists

ENDED_STATES = ("Z", "X")
"""Of /proc/<pid>/stat: a process that has ended and whose parent has not yet asked for its exit code."""


class ProcessIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """One process. A process identifier alone would not do: the system gives it to another process later."""

    host: str
    """Host name, for people."""
    machine: str
    """Start of the system and process namespace: containers of one machine may share a host name, but not processes."""
    pid: int
    started: str | None
    """Start time in ticks since the start of the system. None where the system has no /proc."""

    @property
    def ended(self) -> bool:
        """Whether it is known that the process has ended. False for a process of another machine."""
        if self.machine != _machine() or os.name == "nt":  # on Windows, os.kill would end the process
            return False
        state, started = _state_and_start(self.pid)
        if state is not None:
            return state in ENDED_STATES or started != self.started
        return not process_exists(self.pid)


def this_process() -> ProcessIdentity:
    """The process that calls it."""
    pid = os.getpid()
    return ProcessIdentity(host=socket.gethostname(), machine=_machine(), pid=pid, started=_state_and_start(pid)[1])


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _state_and_start(pid: int) -> tuple[str | None, str | None]:
    """State and start time of a process from /proc; None for both if it is not there."""
    with suppress(OSError, IndexError):
        fields = (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        )  # the name before it may hold anything
        return fields[0], fields[19]
    return None, None
