"""The clock and the dice: each part of a cell is timed and seeded on its own.

A part's random numbers depend on the run's seed and the part's name alone, so that a longer fit, one more outlier set or
another order of the attacks changes nothing elsewhere.
"""

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was asked: a GPU's clock lies otherwise."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seed_everything(*what: object) -> None:
    """Seed Python's, NumPy's and torch's global generators from the hash of ``what``."""
    digest = hashlib.sha256("/".join(map(str, what)).encode()).digest()
    seed = int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits on every device
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # foolbox and plugins use the global generator


@contextmanager
def cpu_threads(n: int | None) -> Iterator[int]:
    """Let torch use n threads inside, or as many as it has for None; gives their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield n or before
    finally:
        torch.set_num_threads(before)


@contextmanager
def torch_settings_kept() -> Iterator[None]:
    """Undo what a method may do to torch's global settings: they must not reach another part, or another's cell."""
    dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_default_device(None)
        torch.set_grad_enabled(gradients)
        torch.use_deterministic_algorithms(deterministic)


class Stages:
    """Opens the parts of one cell: ``with stages("fit"): ...``. Keeps the seconds and images of each, added up by name."""

    def __init__(self, seed: int, device: torch.device, announce: Callable[[str], None] = lambda name: None) -> None:
        self.seconds: dict[str, float] = {}
        self.images: dict[str, int] = {}
        self._seed = seed
        self._device = device
        self._announce = announce

    @contextmanager
    def __call__(self, name: str, images: int = 0) -> Iterator[None]:
        """Seed on entry, synchronise the device at both ends, and book seconds and images under ``name``."""
        self._announce(name)
        seed_everything(self._seed, name)
        synchronise(self._device)
        start = time.perf_counter()
        try:
            with torch_settings_kept():
                yield
            synchronise(self._device)
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            self.images[name] = self.images.get(name, 0) + images
