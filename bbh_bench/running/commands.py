"""The commands that do more than print: run, publish, verify."""

import math
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bbh_bench.api import Arrays, Curves, LoadedTask, Scores, Task
from bbh_bench.data import data_folder
from bbh_bench.errors import BenchError, RecordError
from bbh_bench.evaluation.scoring import BETTER
from bbh_bench.leaderboard import render, summary
from bbh_bench.plugins import Catalogue, plugins
from bbh_bench.records.record import Record, describe, fingerprint
from bbh_bench.records.store import Store, write_atomically
from bbh_bench.running.executors import inline, processes
from bbh_bench.running.plan import Selection, attacks_of, plan, unfinished
from bbh_bench.running.plan import seeds as parse_seeds
from bbh_bench.running.posterior_cache import Posteriors
from bbh_bench.running.provenance import provenance
from bbh_bench.running.runner import Bench, audit_of

SAME = 1e-9  # relative


@dataclass(frozen=True)
class Folders:
    """Where a run reads and writes."""

    records: Path
    data: str | None
    """None: the variable's, else the user's cache."""
    posteriors: Path | None
    """Where fitted posteriors are kept; None: nowhere."""


def run(selection: Selection, folders: Folders, device: str, jobs: int | None, replace: bool) -> int:
    """Run the cells that are not in the store yet, and render the board there. Returns 1 where a cell failed.

    ``jobs``: so many at a time, each in a process of its own; None runs them here.
    """
    seeds = parse_seeds(selection.seeds)
    chosen = choose_device(device)
    folder = data_folder(folders.data)
    catalogue = _catalogue()
    records, store = folders.records, Store(folders.records)
    tasks, methods, attacks = (
        list(dict.fromkeys(names)) for names in (selection.tasks, selection.methods, selection.attacks)
    )
    cells = plan(catalogue, tasks, methods, seeds, attacks)
    left = unfinished(cells, store, replace)
    if records.is_dir():
        store.records()  # one that can't be read must show before hours are spent
    loaded = {name: _load(task, folder) for name, task in {cell.task.name: cell.task for cell in left}.items()}
    if len(left) < len(cells):
        print(f"{len(cells) - len(left)} of {len(cells)} cells are finished already.")
    made = provenance(chosen, {cell.distribution for cell in left})
    posteriors = Posteriors(folders.posteriors) if folders.posteriors else None
    bench = Bench(chosen, tuple(catalogue.metrics.things()), made, posteriors)
    for place in (store, *([Store(folders.posteriors)] if folders.posteriors else [])):
        place.prepare()
    if jobs is not None:
        loaded.clear()  # the processes read for themselves; here it was a check that they can
    failed = 0
    with closing(inline(bench, left, loaded) if jobs is None else processes(bench, left, folder, jobs)) as results:
        for number, (cell, record, arrays) in enumerate(results, start=1):
            kept = _put(store, record, arrays)
            failed += record.status == "failed"
            print(f"[{number}/{len(left)}] {cell}: {outcome(record)}{kept}", flush=True)
    print(f"\n{summary(store.records())}\n\nwrote {render(store.records(), records)}")
    return 1 if failed else 0


def _put(store: Store, record: Record, arrays: Arrays) -> str:
    """Store it, unless a failure's would take a finished one's place; then says so. Raises ``RecordError``."""
    if record.status == "failed":
        held = store.get(record.path)
        if held is not None and held.status == "finished":
            return " (the finished record of this cell is kept)"
    try:
        store.put(record, arrays)
    except OSError as error:
        raise RecordError(
            f"The record '{store.root / record.path}' can't be written ({error.strerror}). Make room, or name another folder "
            "with --records; the finished cells are kept, and the same command goes on with the rest."
        ) from error
    return ""


def _load(task: Task, folder: Path) -> LoadedTask:
    try:
        return task.load(folder)
    except (BenchError, KeyboardInterrupt):
        raise
    except Exception as error:  # a stranger's loader may raise anything
        raise BenchError(f"Task '{task.name}' can't load its data: {type(error).__name__}: {error}.") from error


def outcome(record: Record) -> str:
    """One line: the headline score and the seconds, or why it failed."""
    if record.status == "failed":
        return f"FAILED: {record.error['type']}: {record.error['message']}"
    headline = record.task["headline"]
    return f"{headline} {record.scores[headline]:.4g} in {record.cost['total/seconds']:.1f} s"


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one. Raises ``BenchError`` for ``cuda`` where there is none."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise BenchError("--device cuda: torch sees no CUDA device here. Use --device cpu, or auto.")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def publish(records: Path, to: Path, tasks: list[str], methods: list[str], replace: bool) -> int:
    """Check every chosen record, copy all or none, and render the board."""
    catalogue = _catalogue()
    source, target = Store(records), Store(to)
    chosen = [
        record
        for record in source.records()
        if (not tasks or record.task["name"] in tasks) and (not methods or record.method["name"] in methods)
    ]
    if not chosen:
        raise RecordError(f"There is no such record in '{records}'; `bbh-bench run` makes records.")
    fresh = [record for record in chosen if _publishable(record, source, target, catalogue, replace)]
    target.prepare()
    target.records()  # a damaged board must show before anything is copied
    for record in fresh:
        path = target.root / record.path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path.with_name(record.predictions["file"]), source.packed(record))
        write_atomically(path, record.to_json().encode())
    print(
        f"published {len(fresh)} records, {len(chosen) - len(fresh)} were there already; wrote {render(target.records(), to)}"
    )
    return 0


def _publishable(record: Record, source: Store, target: Store, catalogue: Catalogue, replace: bool) -> bool:
    """Whether to copy it (False: it is there already). Raises ``RecordError`` where it must not be published."""
    where = f"The record '{source.root / record.path}'"
    if record.status != "finished":
        raise RecordError(f"{where} is of a failed cell. Run it again, or choose others with --task and --method.")
    if record.task["name"] not in set(catalogue.tasks):
        raise RecordError(f"{where} is of a task that isn't installed. Install it, or choose others with --task.")
    task = catalogue.tasks[record.task["name"]]
    if record.task["fingerprint"] != fingerprint(task.specification()):
        raise RecordError(
            f"{where} has the task fingerprint {record.task['fingerprint']}, and the installed task has "
            f"{fingerprint(task.specification())}: it was made with another definition of the task. Run it again."
        )
    _check_labels(record, where, task, catalogue)
    # A task's own attacks, which needn't be registered, are in its fingerprint; the others must be the installed ones.
    installed = [*attacks_of(task), *map(describe, catalogue.attacks.things())]
    other = [attack["name"] for attack in record.task.get("attacks", []) if attack not in installed]
    if other:
        raise RecordError(f"{where} has other attacks than are installed ({', '.join(other)}). Run it again.")
    wrong = mismatches(record, source, catalogue)
    if wrong:
        raise RecordError(
            f"{where} has figures that its predictions don't give ({', '.join(wrong[:5])}). "
            "Run it again with --replace."
        )
    there = target.get(record.path)
    if there is not None and there != record and not replace:
        raise RecordError(f"{where} differs from the published one. Give --replace to replace that.")
    return there != record or not target.complete(there)


def _check_labels(record: Record, where: str, task: Task, catalogue: Catalogue) -> None:
    """What decides order, bold and headings must be the installed task's and metrics'. Raises ``RecordError``."""
    better = BETTER | {metric.name: metric.better for metric in catalogue.metrics.things()}
    foreign = sorted(record.better.keys() - better.keys())
    if foreign:
        raise RecordError(
            f"{where} has figures of metrics that aren't installed and so can't be checked ({', '.join(foreign)}). "
            "Install the plugins that bring them."
        )
    changed = [key for key in ("title", "headline") if record.task[key] != getattr(task, key)]
    changed += [name for name, way in record.better.items() if way != better[name]]
    if changed:
        raise RecordError(f"{where} says otherwise than the installed suite of {', '.join(changed)}. Run it again.")


def verify(records: Path) -> int:
    """Recompute every score and curve of every finished record. Returns 1 where one can't be had again."""
    catalogue = _catalogue()
    store = Store(records)
    finished = [record for record in store.some_records() if record.status == "finished"]
    wrong = {record.path: _complaint(record, store, catalogue) for record in finished}
    for path, complaint in wrong.items():
        if complaint:
            print(f"{path}: {complaint}")
    good = sum(not complaint for complaint in wrong.values())
    print(f"{good} of {len(finished)} finished records have the scores that their predictions give.")
    return 0 if good == len(finished) else 1


def _complaint(record: Record, store: Store, catalogue: Catalogue) -> str:
    if record.task["name"] not in set(catalogue.tasks):
        return f"the task isn't installed here (its method came with '{record.method['distribution']}')"
    try:
        names = mismatches(record, store, catalogue)
    except RecordError as error:
        return str(error)
    return f"not what the predictions give: {', '.join(names)}" if names else ""


def mismatches(record: Record, store: Store, catalogue: Catalogue) -> list[str]:
    """Names of the figures that differ from those recomputed, or that one side lacks. Raises ``RecordError``.

    A metric that isn't installed here can't be checked, and its figures are passed over. The same machine gives the same
    bits; another's vector units may round the last of them otherwise.
    """
    known = [metric for metric in catalogue.metrics.things() if metric.name in record.better]
    task = catalogue.tasks[record.task["name"]]
    try:
        arrays = store.arrays(record)
        again = _flat(*task.score(arrays, known))
        audited = audit_of(task, arrays)
    except (KeyError, ValueError, IndexError) as error:
        raise RecordError(
            f"The predictions of '{store.root / record.path}' can't be scored ({error!r}). Run the cell again with --replace."
        ) from error
    held = _flat(record.scores, record.curves)
    foreign = record.better.keys() - {metric.name for metric in known} - BETTER.keys()
    checked = {name for name in held if name.rpartition("/")[2] not in foreign}
    wrong = {
        name
        for name in checked | again.keys()
        if name not in held or name not in again or not math.isclose(again[name], held[name], rel_tol=SAME)
    }
    wrong |= {
        f"audit/{name}" for name in audited.keys() | record.audit.keys() if not _same_check(record, audited, name)
    }
    return sorted(wrong)


def _same_check(record: Record, again: dict[str, dict[str, Any]], name: str) -> bool:
    """Whether an item of the audit is the one that was recomputed, but for the last bits of its figures."""
    held, new = record.audit.get(name), again.get(name)
    if held is None or new is None or held.keys() != new.keys():
        return False
    return all(
        math.isclose(held[key], new[key], rel_tol=SAME) if isinstance(new[key], float) and held[key] is not None
        else held[key] == new[key]
        for key in new
    )  # fmt: skip


def _flat(scores: Scores, curves: Curves) -> dict[str, float]:
    """Scores and every point of every curve, by name."""
    points = {
        f"{name}/{column}/{k}": value
        for name, curve in curves.items()
        for column, values in curve.items()
        for k, value in enumerate(values)
    }
    return scores | points


def _catalogue() -> Catalogue:
    catalogue = plugins().catalogue()
    for problem in catalogue.problems:
        print(f"bbh-bench: warning: {problem}", file=sys.stderr)
    return catalogue
