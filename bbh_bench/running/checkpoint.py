"""Saves the state of a fit from time to time, so that a fit that was stopped goes on, to the same bits on a CPU.

``fit`` itself runs again from its start, with the same seed, up to the training loop that was stopped. The loop is opened
with ``problem.checkpoint``, which restores what was saved in it. Loops that were complete before are restored as they ended,
and take no time. A checkpoint is one file per loop: ``<folder>/<cell>/loop<k>.pt``. No object is unpickled from it.
"""

import hashlib
import json
import random
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bbh_bench.api import Stateful
from bbh_bench.errors import BenchWarning
from bbh_bench.records.files import atomically, clear_temporary
from bbh_bench.running.cell import Cell, fit_identity
from bbh_bench.running.clock import FitClock, Part

FORMAT = 1
SHARE = 0.02
"""Of the time of a fit that saving may take."""
FIRST_SECONDS = 0.1
"""What the first save is expected to take."""


class Checkpoints:
    """The checkpoints of one fit. ``open`` is its ``Problem.checkpoint``, and ``tracked`` builds its networks.

    ``key`` identifies the fit. A checkpoint of another key is ignored. ``every`` is the least number of seconds between two
    saves. Saves that take long are made less often, so that they take at most ``share`` of the time.
    """

    def __init__(
        self, folder: Path, key: Mapping[str, object], every: float, clock: FitClock, share: float = SHARE
    ) -> None:
        self.folder = folder
        self._share = share
        self._key = json.dumps(key, sort_keys=True)
        self._every = every
        self._clock = clock
        self._loops = 0
        """Number of loops that were opened."""
        self._networks: list[nn.Module] = []
        self._saved_at = time.monotonic()
        self._seconds = FIRST_SECONDS
        """That the last save took."""
        self._writable = True

    def tracked(self, build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        """``build``, with every network that it returns remembered: the buffers of these belong to the state."""

        def tracking() -> nn.Module:
            self._networks.append(build())
            return self._networks[-1]

        return tracking

    @contextmanager
    def open(self, state: Mapping[str, Stateful]) -> Iterator[Callable[[], None]]:
        """See ``Problem.checkpoint``."""
        path = self.folder / f"loop{self._loops}.pt"
        self._loops += 1
        if state:
            self._restore(path, state)
        every = self._every

        def save_if_due(least: float = every) -> None:
            if state and self._writable and time.monotonic() - self._saved_at >= max(least, self._pause):
                self._save(path, state)

        yield save_if_due
        save_if_due(0.0)  # else an ensemble of short fits would lose many of them

    @property
    def _pause(self) -> float:
        """Seconds between two saves from which on saving takes a small share of the time."""
        return self._seconds / self._share

    def _save(self, path: Path, state: Mapping[str, Stateful]) -> None:
        start = time.monotonic()
        with self._clock.paused():
            content = {
                "format": FORMAT,
                "key": self._key,
                "state": {name: part.state_dict() for name, part in state.items()},
                "buffers": [buffer for network in self._networks for buffer in network.buffers()],
                "random": random_state(),
                "parts": [[part.seconds, part.processor_seconds, list(part.reference)] for part in self._clock.parts()],
            }
            try:
                self._write(path, content)
            except OSError as error:
                self._writable = False
                warnings.warn(
                    f"checkpoints cannot be written to '{self.folder}' ({error.strerror}): if it is stopped, this fit starts "
                    "again",
                    BenchWarning,
                    stacklevel=2,
                )
        self._saved_at = time.monotonic()
        self._seconds = self._saved_at - start

    def _write(self, path: Path, content: Mapping[str, object]) -> None:
        """Replace the file. Without room for two, the old one is deleted first: a fit may then be lost, but not the run."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and shutil.disk_usage(path.parent).free < 1.1 * path.stat().st_size:
            path.unlink()
        try:
            with atomically(path) as scratch:
                torch.save(content, scratch)
        except RuntimeError as error:  # torch's writer raises it where the disk is full
            raise OSError(0, str(error).partition("\n")[0]) from error

    def _restore(self, path: Path, state: Mapping[str, Stateful]) -> None:
        """Restore what was saved in this loop, if it was. A file that cannot be used is ignored, with a warning."""
        if not path.exists():
            return
        with self._clock.paused():
            try:
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
                usable = content["format"] == FORMAT and content["key"] == self._key
            except Exception as error:  # a damaged file may raise anything
                _warn_unusable(path, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
                return
            if not usable:
                _warn_unusable(path, "it is of another fit or version")
                return
            self._apply(content, state)
        self._clock.restore([Part(*part) for part in content["parts"]])
        self._saved_at = time.monotonic()

    @torch.no_grad()
    def _apply(self, content: Mapping[str, Any], state: Mapping[str, Stateful]) -> None:
        for name, part in state.items():
            part.load_state_dict(content["state"][name])
        buffers = [buffer for network in self._networks for buffer in network.buffers()]
        for buffer, saved in zip(buffers, content["buffers"], strict=True):
            buffer.copy_(saved)
        restore_random_state(content["random"])


def _warn_unusable(path: Path, why: str) -> None:
    warnings.warn(f"the checkpoint '{path}' is ignored ({why}): the fit starts again", BenchWarning, stacklevel=2)


@dataclass(frozen=True)
class CheckpointFolder:
    """Where a run saves its fits, and how often."""

    root: Path
    every: float = 120.0
    """Seconds between two saves of a fit."""
    fast: bool = True
    """Whether the fits use the suite's accelerations: the states of their optimisers differ."""

    def open(self, cell: Cell, torch_version: str | None, device: torch.device, clock: FitClock) -> Checkpoints:
        """The checkpoints of the fit of a cell, whose time ``clock`` measures."""
        key = fit_identity(cell, torch_version, device.type, self.fast)
        folder = self._folder(cell, key)
        clear_temporary(folder)  # a save that was killed left as much as a whole checkpoint
        return Checkpoints(folder, key, self.every, clock)

    def discard(self, cell: Cell, torch_version: str | None, device: torch.device) -> None:
        """Delete the checkpoints of a cell that is finished."""
        key = fit_identity(cell, torch_version, device.type, self.fast)
        shutil.rmtree(self._folder(cell, key), ignore_errors=True)

    def _folder(self, cell: Cell, key: Mapping[str, object]) -> Path:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.root / f"{cell.task.name}-{cell.method.name}-seed{cell.seed}-{digest[:16]}"


def random_state() -> dict[str, object]:
    """The state of every generator: torch's on all devices, NumPy's and Python's. Tensors, numbers and tuples."""
    numpy: Any = np.random.get_state(legacy=True)
    _, numbers, position, has_gauss, cached = numpy
    return {
        "python": random.getstate(),
        "numpy": (torch.from_numpy(numbers.astype(np.int64)), int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Set every generator back to a state."""
    random.setstate(state["python"])
    numbers, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", _to_numpy(numbers), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].clone())
    if state["cuda"]:
        torch.cuda.set_rng_state_all([each.clone() for each in state["cuda"]])


def _to_numpy(numbers: Tensor) -> np.ndarray:
    return numbers.numpy().astype(np.uint32)
