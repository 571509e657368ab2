"""Which cells a run consists of: task x method x seed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bbh_bench.api import Attack, Method, Task
from bbh_bench.errors import BenchError, ContractError, RecordError
from bbh_bench.plugins import DISTRIBUTION, Catalogue, Entry
from bbh_bench.records.record import Record, cell_path, describe, fingerprint
from bbh_bench.records.store import Store


@dataclass(frozen=True)
class Selection:
    """What a run consists of, as its user names it."""

    tasks: list[str]
    methods: list[str]
    """Empty: every built-in one."""
    attacks: list[str]
    """Beside the tasks' own."""
    seeds: str


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


def plan(
    catalogue: Catalogue, tasks: list[str], methods: list[str], seeds: list[int], attacks: Sequence[str] = ()
) -> list[Cell]:
    """All combinations, tasks outermost. No methods named: every built-in one. ``attacks`` come beside a task's own.

    Raises ``UnknownName``, ``ContractError`` for a method whose hyperparameters a record can't hold, and ``BenchError``
    for attacks on a task that can't be attacked.
    """
    built_in = [name for name, entry in catalogue.methods.entries.items() if entry.distribution == DISTRIBUTION]
    entries = [catalogue.methods.entry(name) for name in methods or built_in]
    for entry in entries:
        _check_hyperparameters(entry.thing)
    for name in tasks:
        _check_specification(catalogue.tasks.entry(name))
    return [
        Cell(task, entry.thing, entry.distribution, entry.line, seed)
        for task in [_attacked(catalogue.tasks[name], [catalogue.attacks[name] for name in attacks]) for name in tasks]
        for entry in entries
        for seed in seeds
    ]


def _attacked(task: Task, attacks: list[Attack]) -> Task:
    if not attacks:
        return task
    if not hasattr(task, "with_attacks"):
        raise BenchError(f"--attack: task '{task.name}' can't be attacked. Name others with --task.")
    return task.with_attacks(attacks)


def attacks_of(task: Task) -> list[dict[str, Any]]:
    """What a record says of the attacks of its cell: each one's class, version and settings."""
    return [describe(attack) for attack in getattr(task, "all_attacks", ())]


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
    """The cells that still have to run: without a record, with a failure's, with lost predictions, or with attacks to come.

    Raises ``RecordError`` where a finished record was made with other settings, or has attacks that running its cell again
    would lose, unless ``replace``.
    """
    left = []
    for cell in cells:
        record = store.get(cell.path)
        if record is None or record.status == "failed" or replace or not store.complete(record):
            left.append(cell)
            continue
        _check_settings(record, cell, store)
        held, wanted = record.task.get("attacks", []), attacks_of(cell.task)
        if all(attack in held for attack in describe(getattr(cell.task, "extra", ()))):
            continue
        _check_attacks(held, wanted, store.root / cell.path)
        left.append(cell)
    return left


def _check_attacks(held: list[dict[str, Any]], wanted: list[dict[str, Any]], path: Path) -> None:
    """Raise ``RecordError`` if running a cell again would lose an attack of its record, or change one's meaning."""
    old = {attack["name"]: attack for attack in held}
    new = {attack["name"]: attack for attack in wanted}
    lost = ", ".join(sorted(old.keys() - new.keys()))
    changed = ", ".join(name for name in old.keys() & new.keys() if old[name] != new[name])
    if lost:
        raise RecordError(
            f"The record '{path}' has attacks that this run would lose ({lost}). Name them with --attack too, choose another "
            "folder with --records, or give --replace."
        )
    if changed:
        raise RecordError(
            f"The record '{path}' has other settings of {changed} than are installed now. Choose another folder with "
            "--records, or give --replace."
        )


def _check_settings(record: Record, cell: Cell, store: Store) -> None:
    if record.task["fingerprint"] != fingerprint(cell.task.specification()):
        changed = "another definition of its task"
    elif record.method["hyperparameters"] != describe(cell.method):
        changed = "other hyperparameters"
    else:
        return
    raise RecordError(
        f"The record '{store.root / cell.path}' was made with {changed} than are installed now. "
        "Choose another folder with --records, or give --replace to run its cell again."
    )
