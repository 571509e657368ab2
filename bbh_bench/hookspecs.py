"""What a plugin may provide: four hooks. Each takes no arguments and returns a list of named objects (``bbh_bench.api``)."""

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from bbh_bench.api import Attack, Method, Metric, Task

PROJECT = "bbh_bench"  # also the entry-point group

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def bbh_methods() -> "list[Method]":  # type: ignore[empty-body]
    """Methods: each fits a posterior over networks."""


@hookspec
def bbh_tasks() -> "list[Task]":  # type: ignore[empty-body]
    """Tasks: each provides data, a network, a budget and an evaluation."""


@hookspec
def bbh_attacks() -> "list[Attack]":  # type: ignore[empty-body]
    """Attacks: each is a setting of an attack algorithm."""


@hookspec
def bbh_metrics() -> "list[Metric]":  # type: ignore[empty-body]
    """Metrics: each is a score that is computed from stored predictions."""
