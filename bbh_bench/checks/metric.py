"""Tests of the contract of a metric: call ``check_metric(yours)`` in a test of your plugin."""

import math
from collections.abc import Callable

import numpy as np

from bbh_bench.api import Metric
from bbh_bench.contracts import check_object
from bbh_bench.errors import ContractError, NotApplicable, text
from bbh_bench.evaluation.predictive import Predictions

INPUTS, CLASSES = 60, 4


def check_metric(metric: Metric) -> None:
    """Raise ``AssertionError``, with advice, unless a metric keeps its contract.

    It must give one finite number, the same each time and in every order of the inputs, also for one input and for certain
    predictions; give one for a single network, too, or raise ``NotApplicable``; leave its arguments as they are; and, if it has
    a better side, not prefer bad predictions to good ones.
    """
    try:
        check_object("metric", metric)
    except ContractError as error:
        raise AssertionError(str(error)) from error
    good, bad = _arguments(metric, good=True), _arguments(metric, good=False)
    value = _value(metric, good, "predictions of a good network")
    _require(
        _value(metric, good, "the same") == value, metric, "gives another number the second time; fix its random seed"
    )
    _check_unchanged(metric)
    _check_order(metric, value)
    _value(metric, _first(good), "predictions of a single input")
    _value(metric, _certain(metric), "predictions that are certain: probabilities of 0 and 1")
    _check_single_network(metric)
    _check_direction(metric, value, _value(metric, bad, "predictions of a bad network"))


Arguments = tuple[Predictions | np.ndarray, ...]


def _predictions(good: bool, seed: int, certain: bool = False) -> tuple[Predictions, np.ndarray]:
    """Of inputs with labels ``[N]``. A good network is right and fairly sure; a bad one is wrong and as sure."""
    random = np.random.default_rng(seed)
    labels = random.integers(CLASSES, size=INPUTS)
    logits = random.normal(size=(INPUTS, CLASSES))
    favoured = labels if good else (labels + 1) % CLASSES
    logits[np.arange(INPUTS), favoured] += 800.0 if certain else 4.0
    return _normalised(logits, random.uniform(0.0, 0.1, INPUTS), random.normal(size=INPUTS)), labels


def _unsure(seed: int, sure: bool) -> Predictions:
    """Of OOD inputs: a good network is unsure, a bad one sure."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(INPUTS, CLASSES)) * (8.0 if sure else 0.3)
    information = random.uniform(0.0, 0.02, INPUTS) if sure else random.uniform(0.1, 0.2, INPUTS)
    return _normalised(logits, information, random.normal(-2.0 if sure else 2.0, size=INPUTS))


def _normalised(logits: np.ndarray, mutual_information: np.ndarray, ood_score: np.ndarray) -> Predictions:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return Predictions(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), mutual_information, ood_score)


def _arguments(metric: Metric, good: bool) -> Arguments:
    predictions, labels = _predictions(good, 0)
    if metric.scope == "labelled":
        return predictions, labels
    return (predictions,) if metric.scope == "inputs" else (predictions, _unsure(1, sure=not good))


def _certain(metric: Metric) -> Arguments:
    predictions, labels = _predictions(True, 0, certain=True)
    if metric.scope == "labelled":
        return predictions, labels
    return (predictions,) if metric.scope == "inputs" else (predictions, predictions)


def _arrays(each: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    return each.log_probs, each.mutual_information, each.ood_score


def _mapped(arguments: Arguments, function: Callable[[np.ndarray], np.ndarray]) -> Arguments:
    return tuple(
        Predictions(
            function(each.log_probs),
            function(each.mutual_information),
            None if each.ood_score is None else function(each.ood_score),
        )
        if isinstance(each, Predictions)
        else function(each)
        for each in arguments
    )


def _first(arguments: Arguments) -> Arguments:
    return _mapped(arguments, lambda array: array[:1].copy())


def _value(metric: Metric, arguments: Arguments, what: str, may_be_absent: bool = False) -> float:
    try:
        value = metric.compute(*arguments)
    except NotApplicable as error:
        _require(
            may_be_absent, metric, f"raises NotApplicable ({error}) on {what}, which has all that predictions can have"
        )
        return math.nan
    except (Exception, SystemExit) as error:
        raise AssertionError(f"'{metric.name}' raised {type(error).__name__} on {what}: {text(error)}") from error
    _require(
        isinstance(value, float | int) and math.isfinite(value),
        metric,
        f"gives {value!r} on {what}; return a finite float (float(...) of an array of one number)",
    )
    return float(value)


def _check_unchanged(metric: Metric) -> None:
    """The arguments are shared by all metrics."""
    arguments = _arguments(metric, good=True)
    before = _mapped(arguments, np.copy)
    _value(metric, arguments, "predictions of a good network")
    for each, old in zip(arguments, before, strict=True):
        pairs = (
            list(zip(_arrays(each), _arrays(old), strict=True))
            if isinstance(each, Predictions) and isinstance(old, Predictions)
            else [(each, old)]
        )
        same = all(np.array_equal(np.asarray(new), np.asarray(former)) for new, former in pairs)
        _require(same, metric, "changes its arguments, which other metrics read too; work on a copy")


def _check_single_network(metric: Metric) -> None:
    """Of a method without an OOD score: no mutual information either. A metric may not be applicable to it."""
    arguments = tuple(
        Predictions(each.log_probs, np.zeros(INPUTS)) if isinstance(each, Predictions) else each
        for each in _arguments(metric, good=True)
    )
    what = "predictions of a single network without OOD scores (raise NotApplicable if it needs more)"
    _value(metric, arguments, what, may_be_absent=True)


def _check_order(metric: Metric, value: float) -> None:
    shuffled = _mapped(
        _arguments(metric, good=True), lambda array: array[np.random.default_rng(2).permutation(len(array))]
    )
    other = _value(metric, shuffled, "the same predictions in another order")
    _require(
        math.isclose(value, other, rel_tol=0.1, abs_tol=0.02),
        metric,
        f"depends on the order of the inputs: {value:.4g} and {other:.4g}. Sets are not sequences",
    )


def _check_direction(metric: Metric, good: float, bad: float) -> None:
    """Entropies have no better side, and metrics of scope ``inputs`` cannot know whether a prediction is right."""
    if metric.better == "neither" or metric.scope == "inputs":
        return
    worse = good > bad if metric.better == "lower" else good < bad
    _require(
        not worse,
        metric,
        f"calls {metric.better} values better, but gives {good:.4g} for a good network and {bad:.4g} for a bad one. Is its "
        "direction the wrong way round?",
    )


def _require(holds: object, metric: Metric, advice: str) -> None:
    """An assertion that holds under ``python -O`` too."""
    if not holds:
        raise AssertionError(f"'{metric.name}' {advice}.")
