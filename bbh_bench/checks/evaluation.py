"""Contract tests of a task's evaluation: the same seed gives the same arrays, and scores follow from arrays alone."""

import json
import math
import random
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from bbh_bench.api import (
    Arrays,
    LoadedTask,
    Metric,
    Posterior,
    Recognised,
    Scored,
    Task,
    TaskDescription,
    Validated,
)
from bbh_bench.checks.problem import CPU, data_digest
from bbh_bench.checks.small_problems import quick_posterior
from bbh_bench.checks.tools import advice, no_data_files, require
from bbh_bench.data import digest, sealed
from bbh_bench.errors import BenchError, BenchWarning, text
from bbh_bench.plugins import load_plugins
from bbh_bench.running.settings import settings_restored
from bbh_bench.running.shared import SharedArrays
from bbh_bench.running.stages import Stages, cpu_threads, seed_everything

STEPS = 100
"""Of the fit of the posterior that is evaluated."""
NETWORKS = 2
"""Of its sample: they differ with the random generators, so that random numbers of no stage are noticed."""
STORABLE = "biufU"
"""Kinds of arrays that a record stores: truth values, numbers and text."""


def check_evaluation(copy: Task, task: Task, loaded: LoadedTask, described: TaskDescription) -> None:
    """Raise ``AssertionError`` with advice unless evaluation and scores of a loaded task keep the contract.

    ``copy`` is the task as another process has it: it scores the arrays, too.
    """
    with cpu_threads(described.threads), settings_restored(), warnings.catch_warnings():
        warnings.simplefilter("ignore", BenchWarning)  # of posteriors of few steps
        seed_everything(0, "fit")
        with advice("a fit of MAP to the task's problem"):
            posterior = quick_posterior(loaded.problem(CPU), STEPS, NETWORKS)
        arrays = _check_arrays(loaded, posterior)
        _check_validation(loaded, posterior)
    metrics = load_plugins(external=False).metrics.values()
    scored = _check_scores(task, copy, arrays, metrics)
    _check_headline(scored, described)
    _check_curves(scored)
    if isinstance(task, Recognised):
        with advice("faults(arrays)"):
            faults = task.faults(_copies(arrays))
        require(not faults, f"faults() refuses the arrays of the task's own evaluate(): {'; '.join(faults)}.")


def _check_arrays(loaded: LoadedTask, posterior: Posterior) -> Arrays:
    before = data_digest(loaded.problem(CPU))
    shared = SharedArrays(None, {})
    first = _evaluated(loaded, posterior, shared, elsewhere=0)
    _check_storable(first)
    second = _evaluated(loaded, posterior, shared, elsewhere=1)
    require(
        first.keys() == second.keys(),
        f"evaluate() returned other arrays the second time: {_names(first.keys() ^ second.keys())}.",
    )
    different = [name for name in first if _bytes(first[name]) != _bytes(second[name])]
    require(
        not different,
        f"evaluate() with the same seed gave other values in {_names(different)}; sample networks and draw random numbers "
        "inside `with stage(name):`, which seeds the generators.",
    )
    require(
        data_digest(loaded.problem(CPU)) == before, "evaluate() changed the training data; work on copies of tensors."
    )
    return first


def _evaluated(loaded: LoadedTask, posterior: Posterior, shared: SharedArrays, elsewhere: int) -> Arrays:
    """The arrays for seed 0. Outside of stages, random numbers are those of ``elsewhere``."""
    seed_everything(elsewhere, "outside of all stages")
    with advice("evaluate(), of MAP with noise on its weights,"):
        arrays = loaded.evaluate(posterior, CPU, 0, Stages(0, CPU, sharing=shared))
    return arrays


def _check_storable(arrays: Any) -> None:
    require(
        isinstance(arrays, dict) and arrays and all(isinstance(name, str) for name in arrays),
        "evaluate() must return a dict of arrays by name, with at least one array.",
    )
    for name, array in arrays.items():
        require(
            isinstance(array, np.ndarray) and array.dtype.kind in STORABLE,
            f"evaluate() returned '{name}' as {_kind(array)}; a record stores NumPy arrays of numbers or text: use "
            "tensor.cpu().numpy().",
        )


def _check_validation(loaded: LoadedTask, posterior: Posterior) -> None:
    if not isinstance(loaded, Validated):
        return
    values = []
    for elsewhere in (0, 1):
        seed_everything(elsewhere, "outside of all stages")
        try:
            values.append(loaded.validation_nll(posterior, CPU, Stages(0, CPU)))
        except BenchError:  # it has no validation data
            return
        except (Exception, SystemExit) as error:
            raise AssertionError(f"validation_nll() raised {type(error).__name__}: {text(error)}") from error
    require(
        isinstance(values[0], float) and math.isfinite(values[0]),
        f"validation_nll() returned {values[0]!r}; return a finite float.",
    )
    require(
        values[0] == values[1],
        "validation_nll() gave another value the second time; sample networks inside `with stage('validate'):`.",
    )


def _check_scores(task: Task, copy: Task, arrays: Arrays, metrics: Iterable[Metric]) -> Scored:
    metrics, given = list(metrics), _copies(arrays)
    state = _random_digest()
    scored = _scored(task, given, metrics)
    require(_random_digest() == state, "score() draws random numbers; scores must follow from the arrays alone.")
    require(
        given.keys() == arrays.keys() and all(_bytes(given[name]) == _bytes(arrays[name]) for name in arrays),
        "score() changes its arrays, from which others compute scores too; work on copies.",
    )
    _check_numbers(scored)
    again = _scored(task, _copies(arrays), metrics)
    require(repr(scored) == repr(again), f"score() gave other values the second time: {_differences(scored, again)}.")
    elsewhere = _scored(copy, _copies(arrays), metrics)
    require(
        repr(scored) == repr(elsewhere),
        f"another process computes other scores from the same arrays: {_differences(scored, elsewhere)}; score() may use "
        "nothing that load() or evaluate() kept.",
    )
    return scored


def _scored(task: Task, arrays: Arrays, metrics: list[Metric]) -> Scored:
    with sealed("score()"), no_data_files("scores follow from the arrays"), advice("score(arrays, metrics)"):
        scored = task.score(arrays, metrics)
    require(isinstance(scored, Scored), f"score() returned {type(scored).__name__}; return a bbh_bench.api.Scored.")
    return scored


def _check_numbers(scored: Scored) -> None:
    for name, value in scored.scores.items():
        require(
            isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value),
            f"the score '{name}' is {value!r}; return a finite float, and leave out a score that is not defined.",
        )
    require(scored.scores, "score() returned no scores.")


def _check_headline(scored: Scored, described: TaskDescription) -> None:
    headline = described.headline
    require(
        headline in scored.scores,
        f"the headline '{headline}' is not among the scores, which are {_names(scored.scores)}.",
    )
    known = [value for value in scored.directions.values() if value not in ("lower", "higher", "neither")]
    require(not known, f"directions are 'lower', 'higher' or 'neither', not {_names(map(repr, known))}.")
    part = headline.rpartition("/")[2]
    require(
        scored.directions.get(part) in ("lower", "higher"),
        f"the headline '{headline}' has no direction, so that methods cannot be ranked; put '{part}': 'lower' or 'higher' into "
        "the `directions` of what score() returns.",
    )


def _check_curves(scored: Scored) -> None:
    for name, columns in scored.curves.items():
        sizes = {column: len(values) for column, values in columns.items()}
        require(
            len(set(sizes.values())) == 1, f"the curve '{name}' has columns of different lengths: {json.dumps(sizes)}."
        )


def _differences(first: Scored, second: Scored) -> str:
    names = first.scores.keys() | second.scores.keys()
    return _names(name for name in names if first.scores.get(name) != second.scores.get(name)) or "curves or audit"


def _names(names: Iterable[str], shown: int = 5) -> str:
    several = sorted(names)
    return ", ".join(several[:shown]) + (f" and {len(several) - shown} more" if len(several) > shown else "")


def _kind(value: Any) -> str:
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__


def _bytes(array: np.ndarray) -> tuple[str, tuple[int, ...], str]:
    """What identifies an array to the bit: NaN equals NaN."""
    return str(array.dtype), array.shape, digest([array])


def _copies(arrays: Arrays) -> Arrays:
    return {name: array.copy() for name, array in arrays.items()}


def _random_digest() -> str:
    """Of the state of the random generators of Python, NumPy and torch."""
    _, numbers, *rest = np.random.get_state(legacy=True)
    others = repr((random.getstate(), rest)).encode()
    return digest([np.asarray(numbers), torch.get_rng_state().numpy(), np.frombuffer(others, dtype=np.uint8)])
