"""Peak memory of a cell."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch


class PeakMemory:
    """Peak memory since its creation, beyond what was in use then: of the device on a GPU, else of the process.

    Only Linux can reset the peak. On other systems a cell gets the peak of an earlier cell of the same process if that was
    higher, and the peak of what should be excluded.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._peak = 0  # before the last reset
        gc.collect()
        self._reset()
        self._before = self._in_use()

    def bytes(self) -> int:
        """The peak so far."""
        if self._device.type == "cuda":
            now = torch.cuda.max_memory_allocated(self._device)
        else:
            now = _status("VmHWM") or _lifetime_peak()
        return max(self._peak, now - self._before)

    @contextmanager
    def excluded(self) -> Iterator[None]:
        """What is allocated inside does not count, whether it is released inside or stays in use."""
        self._peak = self.bytes()
        _give_back()
        before = self._in_use()
        try:
            yield
        finally:
            gc.collect(1)  # of what is new; all objects would take too long
            self._reset()
            self._before += self._in_use() - before

    def _reset(self) -> None:
        """From now on, the peak is that of what is in use now and later."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            _give_back()
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def _in_use(self) -> int:
        return torch.cuda.memory_allocated(self._device) if self._device.type == "cuda" else _status("VmRSS") or 0


def _give_back() -> None:
    """Return freed memory to the system, if the C library can: otherwise it would count as in use."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _status(name: str) -> int | None:
    """A value of Linux's /proc/self/status, in bytes; None on other systems."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _lifetime_peak() -> int:
    import resource  # not on every system

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
