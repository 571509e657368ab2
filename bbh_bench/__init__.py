"""A benchmark suite for neural networks that know what they do not know.

Importing the package registers nothing and loads neither torch nor a plugin: the names below are imported when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from bbh_bench.hookspecs import hookimpl

if TYPE_CHECKING:
    from bbh_bench.api import (
        Architecture,
        Attack,
        AttackAlgorithm,
        Categorical,
        Gaussian,
        Likelihood,
        Method,
        Metric,
        OodDetector,
        Posterior,
        PredictFn,
        Problem,
        Task,
    )
    from bbh_bench.errors import BenchError, BenchWarning, NotApplicable
    from bbh_bench.inference.training import minimise
    from bbh_bench.inference.weights import WeightPosterior
    from bbh_bench.leaderboard.frame import load_leaderboard
    from bbh_bench.library import run
    from bbh_bench.running.options import RunOptions
    from bbh_bench.tasks.classification import ClassificationTask, ImageData

_MODULES = {
    "Architecture": "api",
    "Attack": "api",
    "AttackAlgorithm": "api",
    "BenchError": "errors",
    "BenchWarning": "errors",
    "Categorical": "api",
    "ClassificationTask": "tasks.classification",
    "Gaussian": "api",
    "ImageData": "tasks.classification",
    "Likelihood": "api",
    "Method": "api",
    "Metric": "api",
    "NotApplicable": "errors",
    "OodDetector": "api",
    "Posterior": "api",
    "PredictFn": "api",
    "Problem": "api",
    "RunOptions": "running.options",
    "Task": "api",
    "WeightPosterior": "inference.weights",
    "load_leaderboard": "leaderboard.frame",
    "minimise": "inference.training",
    "run": "library",
}

__all__ = [
    "Architecture",
    "Attack",
    "AttackAlgorithm",
    "BenchError",
    "BenchWarning",
    "Categorical",
    "ClassificationTask",
    "Gaussian",
    "ImageData",
    "Likelihood",
    "Method",
    "Metric",
    "NotApplicable",
    "OodDetector",
    "Posterior",
    "PredictFn",
    "Problem",
    "RunOptions",
    "Task",
    "WeightPosterior",
    "hookimpl",
    "load_leaderboard",
    "minimise",
    "run",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version  # takes a third of a second, and few need it

        return version("bbh-bench")
    if name in _MODULES:
        return getattr(import_module(f"bbh_bench.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'bbh_bench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
