"""Fits a method, or loads its posterior from the cache."""

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import msgspec

from bbh_bench.api import Posterior, Preparable, Problem
from bbh_bench.errors import BenchWarning, ContractError
from bbh_bench.running.cell import Cell
from bbh_bench.running.clock import FitClock
from bbh_bench.running.context import RunContext
from bbh_bench.running.memory import PeakMemory
from bbh_bench.running.posterior_cache import Fit, fit_key
from bbh_bench.running.provenance import now
from bbh_bench.running.reference import InterleavedProgress, Reference
from bbh_bench.running.stages import Stages

GRACE = 1.0
"""Seconds that a thread which a method has started gets to end after the fit."""


def fit(
    context: RunContext,
    cell: Cell,
    problem: Problem,
    stages: Stages,
    memory: PeakMemory,
    reference: Reference,
    report: Callable[[float, float], None],
) -> Fit:
    """The posterior of a cell, with the costs of its fit. ``report`` receives its progress.

    Raises what the method raises, and ``ContractError``.
    """
    cache = context.posteriors
    if cache is None:
        return _fit(context, cell, problem, stages, memory, reference, report)
    key = fit_key(problem, cell, context.provenance.packages.get("torch"), context.fast)
    cached = cache.get(key, context.device)
    if cached is not None:
        return cached
    fitted = _fit(context, cell, problem, stages, memory, reference, report)
    cache.put(key, replace(fitted, provenance=msgspec.structs.replace(context.provenance, started=now())))
    return fitted


def _fit(
    context: RunContext,
    cell: Cell,
    problem: Problem,
    stages: Stages,
    memory: PeakMemory,
    reference: Reference,
    report: Callable[[float, float], None],
) -> Fit:
    """Fit, with the reference workload before, during and after."""
    clock = FitClock(problem.x.device)
    clock.reference.append(reference.block().processor_seconds)
    observed = replace(problem, progress=InterleavedProgress(reference, clock, report))
    if context.checkpoints is not None:
        saved = context.checkpoints.open(cell, context.provenance.packages.get("torch"), context.device, clock)
        observed = replace(observed, checkpoint=saved.open, network=saved.tracked(problem.network))
    if isinstance(cell.method, Preparable):
        cell.method.prepare()  # before the stage, which seeds the random generators
    with stages("fit"), no_thread_left():
        clock.start()
        posterior = cell.method.fit(observed)
        clock.stop()
    clock.reference.append(reference.block().processor_seconds)
    check_posterior(posterior)
    parts = clock.parts()
    stages.seconds["fit"] = parts[-1].seconds  # without the reference workload
    stages.processor_seconds["fit"] = parts[-1].processor_seconds
    stored = [problem.x, problem.y] + ([] if problem.augmented is None else [problem.augmented.originals])
    data = sum(tensor.element_size() * tensor.nelement() for tensor in stored)
    return Fit(posterior, parts, memory.bytes() + data, None)


@contextmanager
def no_thread_left() -> Iterator[None]:
    """Raise ``ContractError`` if a thread that was started inside goes on afterwards; warn if it is a daemon.

    It would take processor time from what comes next, and could change its random numbers.
    """
    before = set(threading.enumerate())
    yield
    started = [thread for thread in threading.enumerate() if thread not in before and not _harmless(thread)]
    deadline = time.monotonic() + GRACE
    for thread in started:
        thread.join(max(0.0, deadline - time.monotonic()))
    alive = [thread for thread in started if thread.is_alive()]
    if not alive:
        return
    names = ", ".join(f"'{thread.name}'" for thread in alive)
    if any(not thread.daemon for thread in alive):
        raise ContractError(f"fit() left threads that go on: {names}. End and join them before fit returns.")
    warnings.warn(
        f"fit left daemon threads that go on: {names}. They can change times and random numbers of what follows",
        BenchWarning,
        stacklevel=3,
    )


def _harmless(thread: threading.Thread) -> bool:
    """Whether torch started it, which Python sees as a dummy, or a progress bar of tqdm, which wakes every ten seconds."""
    return isinstance(thread, threading._DummyThread) or type(thread).__module__.startswith("tqdm.")


def check_posterior(posterior: Posterior) -> None:
    """Raise ``ContractError`` if it cannot be evaluated at all; warn if its size is not known."""
    try:
        usable = callable(posterior.sample)
    except AttributeError:
        usable = False
    if not usable:
        raise ContractError(
            f"fit() returned {type(posterior).__name__}, which has no method sample(n). Return a posterior."
        )
    if parameters(posterior) is None:
        warnings.warn(
            "the posterior has no integer `parameters`, its number of parameters: its size gets a dash",
            BenchWarning,
            stacklevel=2,
        )


def parameters(posterior: Posterior) -> int | None:
    """Number of parameters; None if the posterior does not give an integer that a record can store."""
    try:
        number = posterior.parameters
    except AttributeError:
        return None
    valid = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**63
    return number if valid else None
