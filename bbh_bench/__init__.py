"""A benchmark suite for neural networks that know what they don't know.

Importing the package registers nothing and loads neither torch nor a plugin: the names below are fetched when used.
"""

from typing import TYPE_CHECKING

from bbh_bench.hookspecs import hookimpl

if TYPE_CHECKING:
    from bbh_bench.api import (
        Attack,
        Categorical,
        Gaussian,
        Likelihood,
        Method,
        Metric,
        Posterior,
        Predict,
        Problem,
        Task,
    )
    from bbh_bench.inference.training import minimise
    from bbh_bench.inference.weights import WeightPosterior

_HOME = {
    **dict.fromkeys(
        [
            "Attack",
            "Categorical",
            "Gaussian",
            "Likelihood",
            "Method",
            "Metric",
            "Posterior",
            "Predict",
            "Problem",
            "Task",
        ],
        "bbh_bench.api",
    ),
    "WeightPosterior": "bbh_bench.inference.weights",
    "minimise": "bbh_bench.inference.training",
}

__all__ = [
    "Attack",
    "Categorical",
    "Gaussian",
    "Likelihood",
    "Method",
    "Metric",
    "Posterior",
    "Predict",
    "Problem",
    "Task",
    "WeightPosterior",
    "hookimpl",
    "minimise",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("bbh-bench")
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'bbh_bench' has no attribute '{name}'")
