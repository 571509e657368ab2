"""Runs one cell and makes its record: the same data, seeds, clock and attacks for every method."""

import atexit
import copy
import gc
import math
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from typing import Any

import torch

from bbh_bench.api import Arrays, LoadedTask, Metric, Problem, Task
from bbh_bench.data import sealed
from bbh_bench.errors import ContractError
from bbh_bench.evaluation.scoring import BETTER
from bbh_bench.records.record import SCHEMA, Record, describe, fingerprint
from bbh_bench.running.cost import PeakMemory, costs, reference_steps
from bbh_bench.running.plan import Cell, attacks_of
from bbh_bench.running.posterior_cache import Fitted, Posteriors, fit_key
from bbh_bench.running.progress import Progress
from bbh_bench.running.stages import Stages, cpu_threads, seed_everything


@dataclass(frozen=True)
class Bench:
    """What the cells of one run have in common."""

    device: torch.device
    metrics: tuple[Metric, ...]
    provenance: dict[str, Any]
    posteriors: Posteriors | None = None
    """Where posteriors are kept, and found again."""


def run_cell(bench: Bench, cell: Cell, loaded: LoadedTask, progress: Progress) -> tuple[Record, Arrays]:
    """Fit, evaluate and score. A cell that raises gives a record of its failure, with the traceback."""
    record = _begun(bench, cell)
    start = time.perf_counter()
    try:
        with cpu_threads(cell.task.threads) as threads:
            record.provenance["hardware"]["threads"] = threads
            fitted, arrays, cost, busy = _measure(bench, cell, loaded, progress)
        record.provenance["fit"] = fitted.provenance
        scores, curves = cell.task.score(arrays, bench.metrics)
        odd = [name for name, value in scores.items() if not math.isfinite(value)]
        if cell.task.headline not in scores:
            raise ContractError(f"the task's headline, {cell.task.headline}, is not among its scores.")
        if odd:
            raise ContractError(f"these scores aren't finite: {', '.join(odd)}.")
        total = time.perf_counter() - start
        cost |= {"total/seconds": total, "overhead/seconds": total - busy}
        audited = audit_of(cell.task, arrays)
        finished = replace(record, status="finished", scores=scores, curves=curves, audit=audited, cost=cost)
        finished.to_json()  # what can't be written must fail here
    except (Exception, SystemExit) as error:  # whatever a method raises is its failure, not the run's
        return _failed(record, error), {}
    return finished, arrays


def audit_of(task: Task, arrays: Arrays) -> dict[str, dict[str, Any]]:
    """What a record says of the audit; nothing for a task that has none."""
    audit = getattr(task, "audit", None)
    return {name: asdict(check) for name, check in audit(arrays).items()} if audit else {}


def failure(bench: Bench, cell: Cell, error: BaseException) -> Record:
    """The record of a cell that couldn't make one itself."""
    return _failed(_begun(bench, cell), error)


def _begun(bench: Bench, cell: Cell) -> Record:
    """A record with all that is known in advance."""
    return Record(
        schema=SCHEMA,
        status="failed",
        task={
            "name": cell.task.name,
            "version": cell.task.version,
            "title": cell.task.title,
            "headline": cell.task.headline,
            "fingerprint": fingerprint(cell.task.specification()),
            "attacks": attacks_of(cell.task),
            "threat_model": getattr(cell.task, "threat_model", None),
        },
        method={
            "name": cell.method.name,
            "distribution": cell.distribution,
            "line": cell.line,
            "hyperparameters": describe(cell.method),
        },
        seed=cell.seed,
        scores={},
        better=BETTER | {metric.name: metric.better for metric in bench.metrics},
        curves={},
        audit={},
        cost={},
        predictions={},
        provenance=_made(bench),
        error={},
    )


def _failed(record: Record, error: BaseException) -> Record:
    what = {"type": type(error).__name__, "message": str(error)}
    return replace(record, error=what | {"traceback": "".join(traceback.format_exception(error))})


def _measure(
    bench: Bench, cell: Cell, loaded: LoadedTask, progress: Progress
) -> tuple[Fitted, Arrays, dict[str, float], float]:
    """The posterior, the arrays that scores come from, the cost columns, and the seconds of all stages."""
    memory = PeakMemory(bench.device)
    problem = replace(loaded.problem(bench.device), progress=progress.fitting)
    stages = Stages(cell.seed, bench.device, progress.stage)
    seed_everything(cell.seed, "reference")
    before = reference_steps(problem)
    with sealed(f"method '{cell.method.name}'"):
        fitted, between = _fitted(bench, cell, problem, stages, memory, before)
        arrays = loaded.evaluate(fitted.posterior, bench.device, stages)
    reference = between + reference_steps(problem)
    peak = {"peak_memory_bytes": max(fitted.peak_memory, memory.bytes())}
    return fitted, arrays, costs(stages, reference, problem, fitted) | peak, sum(stages.seconds.values())


def _fitted(
    bench: Bench, cell: Cell, problem: Problem, stages: Stages, memory: PeakMemory, before: list[float]
) -> tuple[Fitted, list[float]]:
    """A posterior that is kept, or a fresh one, which is then kept where that is wanted; and the yardstick's last steps."""
    kept, key = bench.posteriors, ""
    if kept is not None:
        packages = bench.provenance["packages"]
        key = fit_key(problem, cell.method, cell.seed, {k: packages.get(k) for k in ("torch", cell.distribution)})
        found = kept.get(key, bench.device)
        if found is not None:
            return found, before
    with stages("fit"):
        posterior = cell.method.fit(problem)
    if not isinstance(getattr(posterior, "parameters", None), int):
        raise ContractError("the posterior needs `parameters`: how many numbers were learnt, an integer.")
    after = reference_steps(problem)
    fitted = Fitted(posterior, stages.seconds["fit"], before + after, memory.bytes(), {})
    if kept is not None:
        kept.put(key, replace(fitted, provenance=_made(bench)))
    return fitted, after


def _made(bench: Bench) -> dict[str, Any]:
    """Provenance as it is at this moment."""
    return copy.deepcopy(bench.provenance) | {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def warm_up(bench: Bench, loaded: Iterable[LoadedTask]) -> None:
    """Import and compile, before the first clock starts, what the first cell would otherwise pay for alone."""
    for module in ("foolbox", "scipy.stats", "sklearn.metrics", "torchmetrics.functional.classification"):
        import_module(module)
    for task in loaded:
        with suppress(Exception):  # a task that can't even do this fails in its cells, where it is recorded
            reference_steps(task.problem(bench.device), steps=1)
    gc.collect()
    atexit.register(gc.unfreeze)  # the interpreter's end is to look through all of it
    gc.freeze()  # what is there by now stays: looking through it before each cell would take longer than a small cell's attack
