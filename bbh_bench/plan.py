"""Which cells a run consists of: task x method x seed."""

import json
from dataclasses import dataclass
from pathlib import Path

from bbh_bench.api import Method, Task
from bbh_bench.errors import BenchError, ContractError, RecordError
from bbh_bench.plugins import DISTRIBUTION, Catalogue, Entry
from bbh_bench.record import cell_path, describe, fingerprint
from bbh_bench.store import Store


@dataclass(frozen=True)
class Cell:
    """One fit and its evaluation."""

    task: Task
    method: Method
    distribution: str
    """Which brought the method."""
    line: str
    seed: int

    @property
    def path(self) -> Path:
        """Of its record in a store."""
        return cell_path(self.task.name, self.task.version, self.method.name, self.seed)

    def __str__(self) -> str:
        return f"{self.task.name} {self.method.name} seed {self.seed}"


def plan(catalogue: Catalogue, tasks: list[str], methods: list[str], seeds: list[int]) -> list[Cell]:
    """All combinations, tasks outermost. No methods named: every built-in one.

    Raises ``UnknownName``, and ``ContractError`` for a method whose hyperparameters a record can't hold.
    """
    built_in = [name for name, entry in catalogue.methods.entries.items() if entry.distribution == DISTRIBUTION]
    entries = [catalogue.methods.entry(name) for name in methods or built_in]
    for entry in entries:
        _check_hyperparameters(entry.thing)
    for name in tasks:
        _check_specification(catalogue.tasks.entry(name))
    return [
        Cell(task, entry.thing, entry.distribution, entry.line, seed)
        for task in [catalogue.tasks[name] for name in tasks]
        for entry in entries
        for seed in seeds
    ]


def _check_hyperparameters(method: Method) -> None:
    try:
        json.dumps(describe(method), allow_nan=False)
    except ValueError as error:
        raise ContractError(
            f"Method '{method.name}' has a hyperparameter that a record can't hold ({error}); use None instead."
        ) from error


def _check_specification(entry: Entry[Task]) -> None:
    try:
        fingerprint(entry.thing.specification())
    except Exception as error:  # a stranger's task may raise anything
        raise ContractError(
            f"Task '{entry.thing.name}' of distribution '{entry.distribution}' can't say what its scores depend on: its "
            f"specification() raised {type(error).__name__}: {error}."
        ) from error


def seeds(text: str) -> list[int]:
    """Parse ``0,1,2``. Raises ``BenchError``."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 0:
        raise BenchError(f"--seeds takes whole numbers from 0 on, separated by commas, such as 0,1,2; not '{text}'.")
    return list(dict.fromkeys(found))


def unfinished(cells: list[Cell], store: Store, replace: bool) -> list[Cell]:
    """The cells that still have to run: those without a record, with a failure's, or with lost predictions.

    Raises ``RecordError`` where a finished record was made with other settings, unless ``replace``.
    """
    left = []
    for cell in cells:
        record = store.get(cell.path)
        if record is None or record.status == "failed" or replace or not store.complete(record):
            left.append(cell)
            continue
        if record.task["fingerprint"] != fingerprint(cell.task.specification()):
            changed = "another definition of its task"
        elif record.method["hyperparameters"] != describe(cell.method):
            changed = "other hyperparameters"
        else:
            continue
        raise RecordError(
            f"The record '{store.root / cell.path}' was made with {changed} than are installed now. "
            "Choose another folder with --records, or give --replace to run its cell again."
        )
    return left
