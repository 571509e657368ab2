"""What the process of a cell may take of its machine."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from bbh_bench.errors import BenchError
from bbh_bench.running.cell import Result

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
PREFERRED_VICTIM = 800
"""Of Linux's out-of-memory killer, from -1000 (never) to 1000: it should end a cell and not the process of the run."""
SIGNS_OF_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "bad_alloc",
    "out of memory",
)


def parse_memory(text: str) -> int:
    """``4GB``, ``4G``, ``500 MiB`` or a number of bytes -> bytes; a kilobyte has 1024. Raises ``BenchError``."""
    number = text.strip().upper().removesuffix("B").removesuffix("I").strip()
    unit = number[-1:] if number[-1:] in UNITS else ""
    try:
        size = float(number.removesuffix(unit)) * UNITS[unit]
        return int(size) if size >= 1 else _refuse_memory(text)
    except (ValueError, OverflowError):
        return _refuse_memory(text)


def _refuse_memory(text: str) -> int:
    raise BenchError(f"--memory takes a size such as 4GB or 500MB, not '{text}'.")


def parse_duration(option: str, text: str) -> float:
    """``90``, ``90s``, ``30m`` or ``2h`` -> seconds. Raises ``BenchError``."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    number = text.strip().lower()
    unit = number[-1:] if number[-1:] in units else ""
    try:
        seconds = float(number.removesuffix(unit)) * units.get(unit, 1.0)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BenchError(f"{option} takes a time such as 90s, 30m or 2h, not '{text}'.")
    return seconds


def check_memory_limit() -> None:
    """Raise ``BenchError`` where the system cannot enforce ``limit_memory``."""
    if sys.platform != "linux":
        raise BenchError(
            "--memory needs Linux: no other system enforces a limit on the memory of a process. Leave it out."
        )


@contextmanager
def limit_memory(size: int | None) -> Iterator[None]:
    """Let this process have ``size`` bytes of memory of its own, not counting files and libraries; None: no limit.

    An allocation beyond it fails, in torch and NumPy with an exception.
    """
    if size is None:
        yield
        return
    import resource  # not on every system

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def prefer_as_victim() -> None:
    """Let this process be ended before others if the machine runs out of memory. Only on Linux."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(PREFERRED_VICTIM))


def explain_memory(result: Result, size: int | None) -> Result:
    """Name the limit in the message of a cell that failed for want of memory."""
    error = result.record.error
    if size is None or error is None:
        return result
    text = error.message.lower()
    if error.type not in ("MemoryError", "OutOfMemoryError") and not any(sign in text for sign in SIGNS_OF_NO_MEMORY):
        return result
    message = f"{error.message or 'out of memory'} (--memory lets a cell have {size / 2**30:.3g} GB)"
    record = msgspec.structs.replace(result.record, error=msgspec.structs.replace(error, message=message))
    return Result(record, result.arrays)


def end_with_parent() -> None:
    """Let the system end this process when its parent ends. Only on Linux; elsewhere, nothing."""
    if sys.platform != "linux":
        return
    import ctypes
    import signal

    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)
