"""Keeps memory that tensors give back in the process while a training loop runs.

The C library of Linux returns freed memory to the system once it is more than twice the largest block. A step of training
frees all of its activations, so that the next step receives new pages, each filled with zeros by the system first: 5,400 pages
for a step of ``mnf`` on LeNet, a tenth of its time.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from bbh_bench.acceleration import accelerated

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of the two parameters in ``malloc.h``."""
LARGEST_KEPT = 2**25
"""Bytes of the largest block that can be kept, 32 MiB: the most that the library accepts."""
KEPT_INSIDE, KEPT_AFTERWARDS = 2**31 - 1, 2**26
"""Bytes of free memory that the process keeps."""


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, at most 2 GiB of free memory stay in the process; afterwards, at most 64 MiB. Only with glibc on Linux."""
    mallopt = _mallopt()
    if mallopt is None or not accelerated():
        yield
        return
    mallopt(MMAP_THRESHOLD, LARGEST_KEPT)
    mallopt(TRIM_THRESHOLD, KEPT_INSIDE)
    try:
        yield
    finally:
        mallopt(TRIM_THRESHOLD, KEPT_AFTERWARDS)


@lru_cache
def _mallopt() -> Any:
    """The function of the C library; None if it has none."""
    return getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
