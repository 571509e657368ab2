"""The reference workload: plain MAP training, in whose steps the cost of a fit is counted.

A step: the task's network, its batch size, Adam with PyTorch's defaults. A few steps are run before, after, and every so often
during what is measured. The load of a busy machine changes within seconds, and slows the steps in between alike.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from torch import Tensor

from bbh_bench.api import Problem
from bbh_bench.running.clock import FitClock, processor_seconds, synchronise
from bbh_bench.running.settings import TorchSettings

TIMED = 4
"""Steps of a block that are timed, after one that is not: the method has filled the caches with its own data."""
WARM = 3
"""Steps before the first block."""
INTERVAL = 50
"""A block is run when this many times its own duration has passed since the last one: it costs at most 2 %."""


@dataclass(frozen=True)
class Step:
    """Duration of one step of the reference workload."""

    seconds: float
    """Wall time."""
    processor_seconds: float
    """See ``clock.processor_seconds``."""


class Reference:
    """A network that is trained beside a fit, on copies of a few of its batches. Building it uses random numbers."""

    def __init__(self, problem: Problem) -> None:
        self.due = 0.0
        """Time of ``time.perf_counter`` at which a block should be run again."""
        self._latest: Step | None = None
        self._device = problem.x.device
        self._likelihood = problem.likelihood
        self._settings = TorchSettings.current()
        self._network = problem.network()
        self._initial = [weight.detach().clone() for weight in self._network.parameters()]
        self._optimiser = torch.optim.Adam(self._network.parameters())
        index = torch.randint(len(problem.x), (1 + TIMED, problem.batch_size), device=self._device)
        self._batches = [(problem.x[each], problem.y[each]) for each in index]
        with self._undisturbing():
            self._timed(self._batches[:WARM])

    def block(self) -> Step:
        """Run one block, and return the median duration of its steps.

        It changes no random number and no setting of its caller, and the settings of its caller do not change it.
        """
        start = time.perf_counter()
        with self._undisturbing():
            self._restart()
            self._timed(self._batches[:1])
            rest = self._batches[1:]
            # A GPU is given the steps of a fit without waiting for each: a wait after every step would cost more.
            groups = [rest] if self._device.type == "cuda" else [[batch] for batch in rest]
            steps = [self._timed(group) for group in groups]
        end = time.perf_counter()
        self.due = end + INTERVAL * (end - start)
        self._latest = Step(median(step.seconds for step in steps), median(step.processor_seconds for step in steps))
        return self._latest

    def recent(self) -> Step:
        """The result of the latest block, or of a new one if that is due."""
        if self._latest is not None and time.perf_counter() < self.due:
            return self._latest
        return self.block()

    def _restart(self) -> None:
        """Back to the initial weights: a network that fits its batches has tiny gradients, with which arithmetic is slow."""
        with torch.no_grad():
            for weight, initial in zip(self._network.parameters(), self._initial, strict=True):
                weight.copy_(initial)

    def _timed(self, batches: Sequence[tuple[Tensor, Tensor]]) -> Step:
        """The mean duration of a step over some batches."""
        synchronise(self._device)
        start, processor_start = time.perf_counter(), processor_seconds(self._device)
        for x, y in batches:
            self._optimiser.zero_grad()
            self._likelihood(self._network(x), y).backward()
            self._optimiser.step()
        synchronise(self._device)
        processor = processor_seconds(self._device) - processor_start
        return Step((time.perf_counter() - start) / len(batches), processor / len(batches))

    @contextmanager
    def _undisturbing(self) -> Iterator[None]:
        """The settings under which this object was built. At the end, those of the caller and its random numbers again."""
        settings = TorchSettings.current()
        states = torch.get_rng_state(), np.random.get_state(), random.getstate()
        on_device = torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None
        self._settings.restore()
        try:
            with torch.inference_mode(False), torch.autocast(self._device.type, enabled=False), torch.enable_grad():
                yield
        finally:
            settings.restore()
            torch.set_rng_state(states[0])
            np.random.set_state(states[1])
            random.setstate(states[2])
            if on_device is not None:
                torch.cuda.set_rng_state(on_device, self._device)


class InterleavedProgress:
    """What a method reports goes on to ``report``, and every so often a block of the reference workload is run.

    The clock of the fit stands still meanwhile. A thread or process that the method has started runs no block.
    """

    def __init__(self, reference: Reference, clock: FitClock, report: Callable[[float, float], None]) -> None:
        self._reference = reference
        self._clock = clock
        self._report = report
        self._origin = os.getpid(), threading.get_ident()

    def __call__(self, fraction: float, loss: float) -> None:
        """See ``api.Problem.progress``."""
        self._report(fraction, loss)
        if time.perf_counter() < self._reference.due or not self._clock.running:
            return
        if (os.getpid(), threading.get_ident()) == self._origin:
            with self._clock.paused():
                self._clock.reference.append(self._reference.block().processor_seconds)
