"""Which cells a run consists of, and which of them still have to run."""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import packages_distributions
from typing import Any, TypeVar

from bbh_bench.api import Attack, Method, Task, TaskDescription, task_fingerprint
from bbh_bench.contracts import check_object, shown
from bbh_bench.errors import BenchError, ContractError, RecordError, text
from bbh_bench.plugins import PACKAGE, Plugins, Registered, Registry, description
from bbh_bench.records.identity import describe, hyperparameters
from bbh_bench.records.record import Record
from bbh_bench.records.store import Store
from bbh_bench.running.cell import Cell
from bbh_bench.running.provenance import package
from bbh_bench.running.source import Parsed, source_digest

T = TypeVar("T")

SEEDS = 2**63
"""A seed is below it: records hold integers of 64 bits."""
MOST_SEEDS = 10**6
"""Of one run."""


def plan(
    plugins: Plugins,
    tasks: Iterable[str | Task],
    methods: Iterable[str | Method],
    seeds: Iterable[int],
    attacks: Iterable[str | Attack] = (),
) -> list[Cell]:
    """All combinations of tasks, methods and seeds, tasks outermost. No methods: every built-in one.

    ``attacks`` are added to those of each task. Raises ``UnknownName``, ``ContractError`` for an object that breaks its
    contract, and ``BenchError`` for attacks on a task that cannot be attacked and for a seed that is none.
    """
    chosen = _resolve_all(plugins.methods, methods) or _built_in(plugins.methods)
    added = [entry.value for entry in _resolve_all(plugins.attacks, attacks)]
    one_of_each = {entry.package: entry.value for entry in chosen}
    packages = {name: package(name, type(method).__module__) for name, method in one_of_each.items()}
    parsed: Parsed = {}
    sources = {entry.value.name: source_digest(entry.value, parsed) for entry in chosen}
    numbers = list(dict.fromkeys(checked_seed(seed) for seed in seeds))
    cells = []
    for entry in _resolve_all(plugins.tasks, tasks):
        task = entry.value.with_attacks(added) if added else entry.value
        described, fingerprint = _describe(task, entry.package)
        for each in chosen:
            method, source = each.value, sources[each.value.name]
            cells += [
                Cell(task, described, fingerprint, method, each.description, packages[each.package], source, seed)
                for seed in numbers
            ]
    return cells


def _describe(task: Task, package: str) -> tuple[TaskDescription, str]:
    """Description and fingerprint of a task of ``package``. Raises ``ContractError`` if the task cannot give them."""
    try:
        described = _recordable(task.describe())
        return described, task_fingerprint(task, described)
    except ContractError as error:
        raise ContractError(
            f"Task '{task.name}' of the plugin '{package}' cannot be recorded: what describe() returns {error}"
        ) from error
    except Exception as error:  # a third party's task may raise anything
        raise ContractError(
            f"Task '{task.name}' of the plugin '{package}' cannot describe itself: describe() raised "
            f"{type(error).__name__}: {text(error)}."
        ) from error


def _recordable(described: TaskDescription) -> TaskDescription:
    """The same with plain values in the parts that records store. Raises ``ContractError`` for a value that none can store."""
    own = {name: getattr(described, name) for name in ("kind", "title", "headline")}
    for name, value in own.items():
        if not isinstance(value, str):
            raise ContractError(f"has a `{name}` of type {type(value).__name__}; it must be a string.")
    model = None if described.threat_model is None else dict(described.threat_model)
    plain = describe(own | {"threat_model": model})
    return replace(
        described,
        kind=plain["kind"],
        title=plain["title"],
        headline=plain["headline"],
        threat_model=plain["threat_model"],
    )


def resolve(registry: Registry[T], item: str | T) -> Registered[T]:
    """A registered object by its name; or an object of the caller's own. Raises ``UnknownName`` or ``ContractError``."""
    if isinstance(item, str):
        return registry.registered(item)
    known = next((entry for entry in registry.entries.values() if entry.value == item), None)
    if known is not None:
        return known
    check_object(registry.kind, item)
    top = type(item).__module__.partition(".")[0]
    name = next(iter(packages_distributions().get(top, [])), top)
    return Registered(item, PACKAGE if top == "bbh_bench" else name, description(registry.kind, item))


def _built_in(methods: Registry[Method]) -> list[Registered[Method]]:
    return [entry for entry in methods.entries.values() if entry.package == PACKAGE]


def _resolve_all(registry: Registry[T], items: Iterable[str | T]) -> list[Registered[T]]:
    """Each once. A single name may stand alone.

    Raises ``ContractError`` for two objects of one name, too: their records would have the same place.
    """
    entries: dict[str, Registered[Any]] = {}
    for item in [items] if isinstance(items, str) else items:
        entry: Registered[Any] = resolve(registry, item)
        held = entries.setdefault(entry.value.name, entry).value
        if held is not entry.value and held != entry.value:  # a third party's __eq__ may raise
            raise ContractError(
                f"Two {registry.kind}s have the name '{entry.value.name}'; give one of them another `name`."
            )
    return list(entries.values())


def checked_seed(seed: int) -> int:
    """A seed as a Python integer. Raises ``BenchError`` unless it is a whole number from 0 on, below 2**63."""
    try:
        number = operator.index(seed)
    except TypeError:
        raise BenchError(f"A seed is a whole number, not {shown(seed)}.") from None
    if not 0 <= number < SEEDS:
        raise BenchError(f"A seed is between 0 and 2^63 - 1, not {shown(number)}.")
    return number


def parse_seeds(text: str) -> list[int]:
    """Parse ``0,1,2`` and ``0-2``. Raises ``BenchError``."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise _no_seeds(text)
        numbers = [_parse_seed(digits) for digits in (first, last or first)]
        if numbers[1] < numbers[0]:
            raise _no_seeds(text)
        if numbers[1] - numbers[0] + len(seeds) >= MOST_SEEDS:
            raise BenchError(f"--seeds has more than {MOST_SEEDS:,} seeds. Give it fewer.")
        seeds += range(numbers[0], numbers[1] + 1)
    return list(dict.fromkeys(seeds))


def _no_seeds(text: str) -> BenchError:
    return BenchError(
        f"--seeds takes whole numbers and ranges, separated by commas, such as 0,1,2 or 0-2; not {shown(text)}."
    )


def _parse_seed(digits: str) -> int:
    """The number, unless it is too large: Python itself refuses those of thousands of digits."""
    if len(digits) > len(str(SEEDS)) or int(digits) >= SEEDS:
        raise BenchError(f"--seeds takes numbers below 2^63; not '{digits[:25]}', of {len(digits)} digits.")
    return int(digits)


def unfinished(cells: Sequence[Cell], store: Store, replace: bool = False, keep_outdated: bool = False) -> list[Cell]:
    """The cells to run: those without a record, with a failure's, with lost arrays, or with attacks to add.

    ``replace`` runs all. ``keep_outdated`` accepts records that an older version of the method's source code made. Raises
    ``RecordError`` for a finished record that was made with other settings or source code, or whose attacks would be lost.
    """
    return [cell for cell in cells if replace or _must_run(cell, store, keep_outdated)]


def _must_run(cell: Cell, store: Store, keep_outdated: bool) -> bool:
    record = store.get(cell.path)
    if record is None or not record.finished or not store.complete(record):
        return True
    _check_settings(record, cell, store)
    if not keep_outdated:
        _check_source(record, cell, store)
    stored = record.task.attacks
    if all(describe(attack) in stored for attack in cell.task_description.extra_attacks):
        return False
    _check_attacks(record, cell, store)
    return True


def _check_settings(record: Record, cell: Cell, store: Store) -> None:
    if record.task.fingerprint != cell.fingerprint:
        changed = "another definition of its task"
    elif record.method.version != cell.method.version:
        changed = f"version {record.method.version} of its method (installed: {cell.method.version})"
    elif record.method.hyperparameters != hyperparameters(cell.method):
        changed = "other hyperparameters"
    else:
        return
    raise RecordError(
        f"The record '{store.root / cell.path}' was made with {changed}. Choose another folder with --records, or give "
        "--replace to run its cell again."
    )


def _check_source(record: Record, cell: Cell, store: Store) -> None:
    if record.method.source is not None and record.method.source == cell.source:
        return
    what = "has changed since the record '{}' was made" if record.method.source else "is not known for the record '{}'"
    raise RecordError(
        f"The source code of method '{cell.method.name}' {what.format(store.root / cell.path)}. Give --replace to run its "
        "cells again, --keep-outdated to keep such records as they are, or choose another folder with --records."
    )


def _check_attacks(record: Record, cell: Cell, store: Store) -> None:
    """Raise ``RecordError`` if running a cell again would lose an attack of its record, or change its settings."""
    path = store.root / cell.path
    old = {attack["name"]: attack for attack in record.task.attacks}
    new = {attack.name: describe(attack) for attack in cell.attacks}
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
