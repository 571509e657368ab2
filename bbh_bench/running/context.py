"""What all cells of a run have in common."""

from dataclasses import dataclass
from pathlib import Path

import torch

from bbh_bench.api import Metric
from bbh_bench.errors import BenchError
from bbh_bench.records.record import Provenance
from bbh_bench.running.checkpoint import CheckpointFolder
from bbh_bench.running.guard import Originals
from bbh_bench.running.posterior_cache import PosteriorCache


@dataclass(frozen=True)
class RunContext:
    """Device, metrics, provenance and cache of a run."""

    device: torch.device
    metrics: tuple[Metric, ...]
    provenance: Provenance
    posteriors: PosteriorCache | None = None
    """Where fitted posteriors are stored and looked up. None: nowhere."""
    checkpoints: CheckpointFolder | None = None
    """Where fits are saved while they go on. None: nowhere."""
    scratch: Path | None = None
    """A folder for arrays that the cells of this run share. None: each cell computes them for itself."""
    originals: Originals | None = None
    """What a method must not replace. None: not known yet."""
    fast: bool = True
    """Whether cells use the suite's accelerations."""


def select_device(name: str) -> torch.device:
    """``auto``: the GPU if there is one. Raises ``BenchError`` for ``cuda`` without one."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise BenchError("--device cuda: torch sees no CUDA device here. Use --device cpu, or auto.")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
