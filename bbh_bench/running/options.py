"""What a run consists of, and how its cells are run."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bbh_bench.api import Attack, Method, Task
from bbh_bench.errors import BenchError
from bbh_bench.running.limits import check_memory_limit

MAX_JOBS = 8
"""Of the default number of processes."""


@dataclass(frozen=True)
class Selection:
    """What a run consists of: names of registered objects, or objects."""

    tasks: Sequence[str | Task]
    methods: Sequence[str | Method] = ()
    """Empty: every built-in method."""
    seeds: Sequence[int] = (0, 1, 2)
    attacks: Sequence[str | Attack] = ()
    """Added to the tasks' own."""


@dataclass(frozen=True)
class RunOptions:
    """How cells are run."""

    device: str = "auto"
    """auto, cpu or cuda."""
    executor: Literal["inline", "processes", "ray"] = "inline"
    """In this process, one after the other; each in a process of its own; or on a Ray cluster."""
    jobs: int | None = None
    """Number of cells at a time. None: one per core, at most 8; on a Ray cluster, as many as it has room for."""
    timeout: float | None = None
    """Seconds after which a cell has failed. Not inline."""
    memory: int | None = None
    """Bytes of memory that the process of a cell may have. Not inline."""
    address: str | None = None
    """Of the Ray cluster. None: a new one on this machine."""
    cpus: int = 1
    """Cores per cell on a Ray cluster."""
    gpus: float = 0.0
    """GPUs per cell on a Ray cluster; 0.25 lets four cells share one."""
    data: str | None = None
    """The data folder. None: that of $BBH_BENCH_DATA, else the user's cache."""
    posteriors: Path | None = None
    """A folder in which fitted posteriors are stored and looked up. None: nowhere."""
    checkpoints: Path | None = None
    """A folder in which fits are saved while they go on, and from which they are continued. None: nowhere."""
    checkpoint_seconds: float = 120.0
    """Least time between two saves of a fit."""
    replace: bool = False
    """Run finished cells again, and replace their records."""
    keep_outdated: bool = False
    """Accept finished records that older source code of the method made."""
    fast: bool = True
    """Use the suite's accelerations. False: the plain computations that these are compared with."""
    plugin_files: tuple[Path, ...] = ()
    """Unpackaged plugin modules, which other processes must load too."""

    def check(self) -> None:
        """Raise ``BenchError`` for options that do not go together."""
        if self.executor == "inline":
            for name, value in (("jobs", self.jobs), ("timeout", self.timeout), ("memory", self.memory)):
                if value is not None:
                    raise BenchError(
                        f"--{name} needs cells in processes of their own: give --executor processes with it."
                    )
        if self.executor != "ray" and (self.address is not None or self.cpus != 1 or self.gpus != 0):
            raise BenchError("--address, --cpus and --gpus are about a Ray cluster: give --executor ray with them.")
        if self.executor == "processes" and self.memory is not None:
            check_memory_limit()

    @property
    def at_a_time(self) -> int | None:
        """Number of cells that run at a time. None: one after the other, in this process. 0: as many as a cluster can run."""
        if self.executor == "ray":
            return self.jobs or 0
        return None if self.executor == "inline" else self.processes

    @property
    def processes(self) -> int:
        """Number of processes under ``processes``."""
        return min(MAX_JOBS, cores()) if self.jobs is None else self.jobs


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
