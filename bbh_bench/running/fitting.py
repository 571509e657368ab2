"""Fits a method, or loads its posterior from the cache."""

import warnings
from dataclasses import replace

import msgspec

from bbh_bench.api import Posterior, Problem
from bbh_bench.errors import BenchWarning, ContractError
from bbh_bench.running.cell import Cell
from bbh_bench.running.context import RunContext
from bbh_bench.running.cost import PeakMemory, reference_steps
from bbh_bench.running.posterior_cache import Fit, fit_key
from bbh_bench.running.provenance import now
from bbh_bench.running.stages import Stages


def fit(
    context: RunContext, cell: Cell, problem: Problem, stages: Stages, memory: PeakMemory, before: list[float]
) -> tuple[Fit, list[float]]:
    """The posterior of a cell, and the latest timings of the reference workload.

    ``before``: timings just before the fit. Raises what the method raises, and ``ContractError``.
    """
    cache, key = context.posteriors, ""
    if cache is not None:
        key = fit_key(problem, cell, context.provenance.packages.get("torch"))
        cached = cache.get(key, context.device)
        if cached is not None:
            return cached, before
    with stages("fit"):
        posterior = cell.method.fit(problem)
    check_posterior(posterior)
    after = reference_steps(problem)
    fitted = Fit(posterior, stages.seconds["fit"], before + after, memory.bytes(), None)
    if cache is not None:
        provenance = msgspec.structs.replace(context.provenance, started=now())
        cache.put(key, replace(fitted, provenance=provenance))
    return fitted, after


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
