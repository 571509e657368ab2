"""Posteriors kept on disk: a cell can be judged anew, under another attack say, without being fitted anew.

A kept posterior is found again by all that its fit depended on, and its record says when and by which code it was fitted.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bbh_bench.api import Method, Posterior, Problem
from bbh_bench.errors import BenchError
from bbh_bench.records.record import describe
from bbh_bench.records.store import atomically


@dataclass(frozen=True)
class Fitted:
    """A posterior, and what it cost to fit."""

    posterior: Posterior
    seconds: float
    reference: list[float]
    """Seconds of plain MAP training steps around the fit: its yardstick."""
    peak_memory: int
    """In bytes."""
    provenance: dict[str, Any]
    """Of the run that fitted it; empty where that is the run at hand."""


class Posteriors:
    """A folder of fitted posteriors, as Python pickles: use one that only you can write to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str, device: torch.device) -> Fitted | None:
        """The posterior of this key on the device, or None. Raises ``BenchError`` for one that can't be read."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            fitted: Fitted = torch.load(path, map_location=device, weights_only=False)
        except Exception as error:  # a pickle may raise anything
            raise BenchError(
                f"The kept posterior '{path}' can't be read ({type(error).__name__}: {error}). Delete it; its cell is then "
                "fitted again."
            ) from error
        return fitted

    def put(self, key: str, fitted: Fitted) -> None:
        """Keep it, whole or not at all. Warns of one that can't be kept: nothing but time is lost."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomically(self._path(key)) as scratch:
                torch.save(fitted, scratch)
        except Exception as error:  # as may pickling
            warnings.warn(
                f"a posterior can't be kept, and another attack will need another fit: {type(error).__name__}: {error}",
                stacklevel=2,
            )

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.pt"


def fit_key(problem: Problem, method: Method, seed: int, packages: Mapping[str, object]) -> str:
    """A name for all that a fit depends on: method, data, architecture, likelihood, budget, device, seed, ``packages``."""
    depends = {
        "method": describe(method),
        "seed": seed,
        "data": [_digest(problem.x), _digest(problem.y)],
        "network": str(problem.network()),
        "likelihood": describe(problem.likelihood),
        "budget": [problem.epochs, problem.batch_size],
        "device": problem.x.device.type,
        "packages": dict(packages),
    }
    canonical = json.dumps(depends, sort_keys=True)
    return f"{method.name}-seed{seed}-{hashlib.sha256(canonical.encode()).hexdigest()[:16]}"


def _digest(x: Tensor) -> str:
    return hashlib.sha256(x.cpu().contiguous().numpy().tobytes()).hexdigest()
