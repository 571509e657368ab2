"""Timing and seeding of a cell's stages; each stage has its own random seed.

The random numbers of a stage depend only on the run's seed and the stage's name. A longer fit, one more OOD set or another
order of the attacks therefore changes no score elsewhere.
"""

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from bbh_bench.api import Arrays
from bbh_bench.running.clock import processor_seconds, synchronise
from bbh_bench.running.memory import PeakMemory
from bbh_bench.running.settings import settings_restored
from bbh_bench.running.shared import SharedArrays

SURROGATE = "surrogate/"
"""Names of stages that begin so are not part of the method's own cost."""


def seed_everything(*parts: object) -> None:
    """Seed the global generators of Python, NumPy and torch from the hash of ``parts``."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    seed = int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits on every device
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # foolbox and plugins use the global generator


def stream(stage: str) -> str:
    """The name from which a stage's seed is derived.

    It is the stage's own name, except that ``evaluate/<attack>`` was called ``judge/<attack>`` when the published records were
    made. With the old name here, their cells still give the same bits.
    """
    return stage.replace("evaluate/", "judge/", 1) if stage.startswith("evaluate/") else stage


@contextmanager
def cpu_threads(n: int | None) -> Iterator[int]:
    """Let torch use n threads, or as many as it does now if n is None. Yields their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield n or before
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Passes:
    """Forward and backward passes of an attack, of single networks and images, and the number of attacked images."""

    forward: int
    backward: int
    images: int


class Stages:
    """Opens the stages of one cell: ``with stages("fit"): ...``. Adds up times and images by name. It is an ``api.Stage``.

    ``announce`` gets the name of each stage before it begins. ``sharing`` holds what cells have in common; without it, only
    calls of this object share. ``memory`` does not count the stages ``surrogate/...``.
    """

    def __init__(
        self,
        seed: int,
        device: torch.device,
        announce: Callable[[str], None] = lambda name: None,
        sharing: SharedArrays | None = None,
        memory: PeakMemory | None = None,
    ) -> None:
        self.seconds: dict[str, float] = {}
        """Wall time of each stage."""
        self.processor_seconds: dict[str, float] = {}
        """Processor time of each stage: see ``clock.processor_seconds``."""
        self.images: dict[str, int] = {}
        self.passes: dict[str, Passes] = {}
        """Of each attack."""
        self._seed = seed
        self._device = device
        self._announce = announce
        self._sharing = sharing or SharedArrays(None, {})
        self._memory = memory

    @contextmanager
    def __call__(self, name: str, images: int = 0) -> Iterator[None]:
        """Seed the generators, synchronise the device at both ends, and add times and images to ``name``."""
        self._announce(name)
        uncounted = self._memory is not None and name.startswith(SURROGATE)
        with self._memory.excluded() if self._memory is not None and uncounted else nullcontext():
            seed_everything(self._seed, stream(name))
            synchronise(self._device)
            start, processor_start = time.perf_counter(), processor_seconds(self._device)
            try:
                with settings_restored():
                    yield
                synchronise(self._device)
            finally:
                processor = processor_seconds(self._device) - processor_start
                self.record(name, time.perf_counter() - start, processor, images)

    def record(self, name: str, seconds: float, processor_seconds: float, images: int = 0) -> None:
        """Add to the totals of a stage."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.processor_seconds[name] = self.processor_seconds.get(name, 0.0) + processor_seconds
        self.images[name] = self.images.get(name, 0) + images

    def count(self, attack: str, forward: int, backward: int, images: int) -> None:
        """See ``api.Stage``."""
        before = self.passes.get(attack, Passes(0, 0, 0))
        self.passes[attack] = Passes(before.forward + forward, before.backward + backward, before.images + images)

    def shared(self, key: str, compute: Callable[[], Arrays]) -> Arrays:
        """See ``api.Stage``."""
        return self._sharing.get(key, compute)
