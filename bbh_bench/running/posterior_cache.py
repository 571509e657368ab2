"""Fitted posteriors on disk: a cell can be evaluated again, under another attack for example, without another fit.

A posterior is found by everything that its fit depended on, including the source code of its method.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bbh_bench.api import Posterior, Problem
from bbh_bench.errors import BenchError, BenchWarning
from bbh_bench.records.files import atomically
from bbh_bench.records.identity import describe
from bbh_bench.records.record import Provenance
from bbh_bench.running.cell import Cell, fit_identity
from bbh_bench.running.clock import Part

FORMAT = 2
"""Of the files: raise it when a file of before could be misunderstood."""
FitKey = Mapping[str, object]
"""Everything that a fit depends on: JSON values, see ``fit_key``."""


@dataclass(frozen=True)
class Fit:
    """A posterior, and what it cost to fit it."""

    posterior: Posterior
    parts: list[Part]
    peak_memory: int
    """In bytes."""
    provenance: Provenance | None
    """Of the run that fitted it. None if that is this run."""


class PosteriorCache:
    """A folder of fitted posteriors, stored as Python pickles: use a folder that only you can write to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: FitKey, device: torch.device) -> Fit | None:
        """The posterior of this key, on the device, or None.

        Raises ``BenchError`` if its file cannot be read, or holds the posterior of another key.
        """
        path = self._path(key)
        if not path.exists():
            return None
        try:
            content = torch.load(path, map_location=device, weights_only=False)
        except Exception as error:  # unpickling may raise anything
            raise BenchError(
                f"The cached posterior '{path}' cannot be read ({type(error).__name__}: {error}). Delete it; its cell is then "
                "fitted again."
            ) from error
        match content:
            case {"key": stored, "fit": Fit() as fit} if stored == key:
                return fit
            case {"key": dict(stored)}:
                differing = [name for name in key if stored.get(name) != key[name]]
                reason = f"is that of another fit (another {', '.join(differing)})" if differing else "is incomplete"
            case _:
                reason = "does not say which fit it is of"
        raise BenchError(f"The cached posterior '{path}' {reason}. Delete it; its cell is then fitted again.")

    def put(self, key: FitKey, fit: Fit) -> None:
        """Store it, as a whole or not at all. Warns if that is impossible: the cell then goes on without it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomically(self._path(key)) as scratch:
                torch.save({"key": dict(key), "fit": fit}, scratch)
        except Exception as error:  # pickling may raise anything
            warnings.warn(
                f"the posterior cannot be stored; another attack will need another fit ({type(error).__name__}: {error})",
                BenchWarning,
                stacklevel=2,
            )

    def _path(self, key: FitKey) -> Path:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{key['name']}-seed{key['seed']}-{digest[:16]}.pt"


def fit_key(problem: Problem, cell: Cell, torch_version: str | None, fast: bool = True) -> FitKey:
    """Everything that a fit depends on: method, its source, data, network, budget, seed, device, versions, accelerations."""
    key: dict[str, object] = {
        "format": FORMAT,
        "name": cell.method.name,
        "data": [_digest(problem.x), _digest(problem.y)],
        "likelihood": describe(problem.likelihood),
        "budget": [problem.epochs, problem.batch_size],
    }
    if problem.augmented is not None:
        key["augmented"] = [_digest(problem.augmented.originals), describe(problem.augmented.augmentation)]
    return key | fit_identity(cell, torch_version, problem.x.device.type, fast)


def _digest(x: Tensor) -> str:
    return hashlib.sha256(x.cpu().contiguous().numpy().tobytes()).hexdigest()
