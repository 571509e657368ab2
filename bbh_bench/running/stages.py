"""Timing and seeding of a cell's stages; each stage has its own random seed.

The random numbers of a stage depend only on the run's seed and the stage's name. A longer fit, one more OOD set or another
order of the attacks therefore changes no score elsewhere.
"""

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all queued work: otherwise the clock would not measure a GPU's time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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


@contextmanager
def torch_settings_restored() -> Iterator[None]:
    """Restore torch's global settings at the end: what a method changes must not reach other stages and cells."""
    dtype, gradients, device = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_default_device()
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)  # None: no device context is active
        torch.set_grad_enabled(gradients)
        torch.use_deterministic_algorithms(deterministic)


class Stages:
    """Opens the stages of one cell: ``with stages("fit"): ...``. Adds up seconds and images by name."""

    def __init__(self, seed: int, device: torch.device, announce: Callable[[str], None] = lambda name: None) -> None:
        self.seconds: dict[str, float] = {}
        self.images: dict[str, int] = {}
        self._seed = seed
        self._device = device
        self._announce = announce

    @contextmanager
    def __call__(self, name: str, images: int = 0) -> Iterator[None]:
        """Seed the generators, synchronise the device at both ends, and add seconds and images to ``name``."""
        self._announce(name)
        seed_everything(self._seed, stream(name))
        synchronise(self._device)
        start = time.perf_counter()
        try:
            with torch_settings_restored():
                yield
            synchronise(self._device)
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            self.images[name] = self.images.get(name, 0) + images
