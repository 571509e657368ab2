"""A cell: one method, fitted to one task with one seed, and evaluated. A run consists of cells."""

from dataclasses import dataclass
from pathlib import Path

from bbh_bench.api import Arrays, Attack, Method, Task, TaskDescription
from bbh_bench.records.identity import describe
from bbh_bench.records.record import Package, Record, cell_path


@dataclass(frozen=True)
class Cell:
    """Everything that identifies a cell, and what its record says about it."""

    task: Task
    task_description: TaskDescription
    fingerprint: str
    """Of the task: see ``api.task_fingerprint``."""
    method: Method
    description: str
    """Of the method, one line."""
    package: Package
    """That provides the method."""
    source: str | None
    """Digest of the method's source code: see ``source.source_digest``."""
    seed: int

    @property
    def path(self) -> Path:
        """Place of its record in a store."""
        return cell_path(self.task.name, self.task.version, self.method.name, self.seed)

    @property
    def attacks(self) -> tuple[Attack, ...]:
        """The task's own attacks, then those that the run adds."""
        return (*self.task_description.attacks, *self.task_description.extra_attacks)

    def __str__(self) -> str:
        return f"{self.task.name} {self.method.name} seed {self.seed}"


def fit_identity(cell: Cell, torch_version: str | None, device: str, fast: bool = True) -> dict[str, object]:
    """What the fit of a cell depends on: JSON values. The digests of the data are in the task's part; ``device`` is a type.

    ``fast``: whether it uses the suite's accelerations.
    """
    identity: dict[str, object] = {
        "method": describe(cell.method),
        "source": cell.source,
        "package": [cell.package.name, cell.package.version],
        "torch": torch_version,
        "task": describe(cell.task_description.fit),
        "seed": cell.seed,
        "device": device,
    }
    return identity if fast else identity | {"fast": False}


@dataclass(frozen=True)
class Result:
    """What a cell gave: its record, and the arrays that its scores were computed from (none if it failed)."""

    record: Record
    arrays: Arrays
