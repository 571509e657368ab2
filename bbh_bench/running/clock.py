"""Clocks: processor time where a cell runs on the processor, synchronised time on a GPU; and the clock of a fit.

A fit may be interrupted and go on in another process, on another machine perhaps. Each uninterrupted piece is a ``Part``, with
timings of the reference workload (``running.reference``) that were taken while it went on.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all queued work: otherwise the clock would not measure a GPU's time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def processor_seconds(device: torch.device) -> float:
    """Seconds that all threads of this process, and its children that have ended, spent on a processor.

    Only differences have a meaning. On a GPU: seconds of wall time, since the process waits for the device. Call
    ``synchronise`` first. On Windows too: the processor time is counted in steps of 16 ms there, longer than a training step.
    """
    if device.type == "cuda" or sys.platform == "win32":
        return time.perf_counter()
    import resource  # not on every system

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@dataclass(frozen=True)
class Part:
    """One uninterrupted piece of a fit."""

    seconds: float
    """Wall time."""
    processor_seconds: float
    """See the function of this name."""
    reference: list[float]
    """Seconds of a step of the reference workload, of the same kind as ``processor_seconds``: one value for each time that
    the workload was run during this piece, just before it or just after it."""


class FitClock:
    """Adds up the time of one fit. It stands still before ``start``, after ``stop`` and in ``paused``."""

    def __init__(self, device: torch.device) -> None:
        self.reference: list[float] = []
        """Timings of the current part: see ``Part``. The runner appends to it."""
        self._device = device
        self._earlier: list[Part] = []
        self._elapsed = (0.0, 0.0)  # wall and processor seconds of the current part, up to the last stop
        self._since: tuple[float, float] | None = None  # when it was started; None if it stands still

    @property
    def running(self) -> bool:
        """Whether time counts now."""
        return self._since is not None

    def start(self) -> None:
        """Let it run. Does nothing if it runs."""
        if self._since is None:
            self._since = self._now()

    def stop(self) -> None:
        """Stop it. It can be started again. Does nothing if it stands still."""
        self._elapsed, self._since = self._read(), None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What runs inside does not count."""
        running = self.running
        self.stop()
        try:
            yield
        finally:
            if running:
                self.start()

    def restore(self, parts: list[Part]) -> None:
        """``parts`` are those of earlier processes of this fit. The current part begins at zero now; its timings stay."""
        self._earlier, self._elapsed = list(parts), (0.0, 0.0)
        if self._since is not None:
            self._since = self._now()

    def parts(self) -> list[Part]:
        """All parts, the last of which is the current one so far."""
        return [*self._earlier, Part(*self._read(), list(self.reference))]

    def _read(self) -> tuple[float, float]:
        """Wall and processor seconds of the current part."""
        if self._since is None:
            return self._elapsed
        wall, processor = (now - since for now, since in zip(self._now(), self._since, strict=True))
        return self._elapsed[0] + wall, self._elapsed[1] + processor

    def _now(self) -> tuple[float, float]:
        synchronise(self._device)
        return time.perf_counter(), processor_seconds(self._device)
