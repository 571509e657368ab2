"""Runs one cell and returns its record: the same data, seeds, clock and attacks for every method."""

import gc
import math
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import msgspec
import torch

from bbh_bench.acceleration import acceleration
from bbh_bench.api import Arrays, LoadedTask, Scored
from bbh_bench.data import sealed
from bbh_bench.errors import BenchWarning, ContractError, Terminated, location
from bbh_bench.records.identity import describe, hyperparameters
from bbh_bench.records.limits import LONGEST_TEXT, LONGEST_TRACEBACK, check_values
from bbh_bench.records.record import SCHEMA, Failure, MethodInfo, Record, TaskInfo
from bbh_bench.running.cell import Cell, Result
from bbh_bench.running.context import RunContext
from bbh_bench.running.cost import costs
from bbh_bench.running.fitting import fit, parameters
from bbh_bench.running.memory import PeakMemory
from bbh_bench.running.posterior_cache import Fit
from bbh_bench.running.provenance import now
from bbh_bench.running.reference import Reference, Step
from bbh_bench.running.shared import SharedArrays
from bbh_bench.running.stages import Stages, cpu_threads, seed_everything

LONGEST_MESSAGE = 10**5
"""Characters of an exception's message that a record keeps: with the traceback, less than a record may have."""


class CellProgress(Protocol):
    """Receives what a cell is doing."""

    def stage(self, name: str) -> None:
        """The stage that begins now."""
        ...

    def fitting(self, fraction: float, loss: float) -> None:
        """The completed fraction of the fit, in [0, 1], and the current loss."""
        ...


def run_cell(context: RunContext, cell: Cell, load: Callable[[], LoadedTask], progress: CellProgress) -> Result:
    """Fit, evaluate and score. If anything raises, the record is that of a failure, with the traceback.

    ``load`` returns the cell's task with its data. It is called before the fit, for the training data, and again after it:
    while the method fits, the process has no test data, unless the caller of this function keeps some.
    """
    record = _unfinished_record(context, cell)
    start = time.perf_counter()
    try:
        with recorded_warnings() as messages, cpu_threads(cell.task_description.threads) as threads, _ways(context):
            fitted, arrays, cost, timed = _measure(context, cell, load, progress)
            scored = cell.task.score(arrays, context.metrics)
        _check_scores(cell, scored)
        hardware = msgspec.structs.replace(record.provenance.hardware, threads=threads)
        total = time.perf_counter() - start
        record = msgspec.structs.replace(
            record,
            status="finished",
            error=None,
            scores=scored.scores,
            directions=dict(scored.directions),
            curves=scored.curves,
            audit=dict(scored.audit),
            cost=cost | {"total/seconds": total, "overhead/seconds": total - timed},
            warnings=list(dict.fromkeys(messages)),
            provenance=msgspec.structs.replace(record.provenance, hardware=hardware, fit=fitted.provenance),
        )
        record.to_json()  # what cannot be stored, or not be read again, must fail here
        check_values(record)
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException as error:  # whatever a method raises is a failure of its cell, not of the run
        return failure(context, cell, error)
    return Result(record, arrays)


def failure(context: RunContext, cell: Cell, error: BaseException) -> Result:
    """The result of a cell that raised ``error``, which may be an exception whose text cannot be shown."""
    package = type(cell.method).__module__.partition(".")[0]
    what = Failure(
        type=_text(lambda: type(error).__name__, LONGEST_TEXT),
        message=_text(lambda: str(error), LONGEST_MESSAGE),
        location=_text(lambda: location(error, package), LONGEST_TEXT),
        traceback=_text(lambda: "".join(traceback.format_exception(error)), LONGEST_TRACEBACK),
    )
    return Result(msgspec.structs.replace(_unfinished_record(context, cell), error=what), {})


def _text(show: Callable[[], str], longest: int) -> str:
    """What ``show`` returns, with characters and a length that a record can hold. If it raises, a text that says so."""
    try:
        shown = show().encode(errors="backslashreplace").decode()
        return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException as error:
        return f"<its text cannot be shown: {type(error).__name__}>"


@contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Collect the sentences of ``BenchWarning``; every other warning is shown as usual."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BenchWarning)
        yield messages
    for warning in caught:  # not reached if the cell raises: its failure says more
        if issubclass(warning.category, BenchWarning):
            messages.append(_text(partial(str, warning.message), LONGEST_TEXT))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@contextmanager
def _ways(context: RunContext) -> Iterator[None]:
    """Inside, the suite computes in the ways that the run asks for. Warns if they are the plain ones."""
    if not context.fast:
        message = "run without the suite's accelerations (--no-fast): its costs are not those of a usual run"
        warnings.warn(message, BenchWarning, stacklevel=2)
    with acceleration(context.fast):
        yield


def _check_scores(cell: Cell, scored: Scored) -> None:
    not_finite = [name for name, value in scored.scores.items() if not math.isfinite(value)]
    if cell.task_description.headline not in scored.scores:
        raise ContractError(f"the task's headline, {cell.task_description.headline}, is not among its scores.")
    if not_finite:
        raise ContractError(f"these scores are not finite: {', '.join(not_finite)}.")


def _unfinished_record(context: RunContext, cell: Cell) -> Record:
    """A record with everything that is known before the cell runs."""
    described = cell.task_description
    return Record(
        schema=SCHEMA,
        status="failed",
        task=TaskInfo(
            name=cell.task.name,
            version=cell.task.version,
            kind=described.kind,
            title=described.title,
            headline=described.headline,
            fingerprint=cell.fingerprint,
            attacks=[describe(attack) for attack in cell.attacks],
            threat_model=None if described.threat_model is None else dict(described.threat_model),
        ),
        method=MethodInfo(
            name=cell.method.name,
            version=cell.method.version,
            description=cell.description,
            hyperparameters=hyperparameters(cell.method),
            package=cell.package,
            source=cell.source,
        ),
        seed=cell.seed,
        scores={},
        directions={},
        curves={},
        audit={},
        cost={},
        warnings=[],
        predictions=None,
        provenance=msgspec.structs.replace(context.provenance, started=now()),
        error=None,
    )


def _measure(
    context: RunContext, cell: Cell, load: Callable[[], LoadedTask], progress: CellProgress
) -> tuple[Fit, Arrays, dict[str, float], float]:
    """The fit, the arrays from which scores are computed, the cost columns, and the seconds of all stages together."""
    problem = load().problem(context.device)  # nothing refers to the loaded task from here on
    steps = problem.steps
    seed_everything(cell.seed, "reference")
    reference = Reference(problem)
    timings: list[Step] = []

    def time_reference() -> None:
        if time.perf_counter() >= reference.due:
            timings.append(reference.block())

    def begin(stage: str) -> None:
        progress.stage(stage)
        if timings:  # the fit has its own
            time_reference()

    user = f"method '{cell.method.name}'"
    memory = PeakMemory(context.device)
    stages = Stages(cell.seed, context.device, begin, _sharing(context, cell), memory)
    with sealed(user), unreplaced(context, user):
        fitted = fit(context, cell, problem, stages, memory, reference, progress.fitting)
    del problem
    with memory.excluded():
        loaded = load()
    timings.append(reference.recent())
    with sealed(user), unreplaced(context, user):
        arrays = loaded.evaluate(fitted.posterior, context.device, cell.seed, stages)
    time_reference()
    cost = costs(stages, timings, steps, fitted.parts, parameters(fitted.posterior))
    cost["peak_memory_bytes"] = max(fitted.peak_memory, memory.bytes())
    return fitted, arrays, cost, sum(stages.seconds.values())


def _sharing(context: RunContext, cell: Cell) -> SharedArrays:
    """What the cells of a task share: on other versions, processors or threads, the last bits could differ."""
    identity = {
        "task": [cell.task.name, cell.fingerprint],
        "device": str(context.device),
        "fast": context.fast,
        "torch": torch.__version__,
        "processor": [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()],
    }
    return SharedArrays(context.scratch, identity)


@contextmanager
def unreplaced(context: RunContext, user: str) -> Iterator[None]:
    """Put back, at the end, what the method has replaced inside. Raises ``ContractError`` if it was something."""
    try:
        yield
    finally:
        if context.originals is not None:
            context.originals.check(user)


@contextmanager
def collection_frozen() -> Iterator[None]:
    """Inside, objects that exist already are exempt from garbage collection.

    A collection before each cell would otherwise take longer than the attacks of a small cell.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
