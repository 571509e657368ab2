"""What a plugin may add: four hooks, each takes nothing and returns a list of named objects (see ``bbh_bench.api``)."""

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from bbh_bench.api import Attack, Method, Metric, Task

PROJECT = "bbh_bench"  # also the entry-point group

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def bbh_methods() -> "list[Method]":  # type: ignore[empty-body]
    """Methods: each learns a posterior over networks."""


@hookspec
def bbh_tasks() -> "list[Task]":  # type: ignore[empty-body]
    """Tasks: each brings data, a network, a budget and a way to judge."""


@hookspec
def bbh_attacks() -> "list[Attack]":  # type: ignore[empty-body]
    """Attacks: each a setting of a Foolbox attack."""


@hookspec
def bbh_metrics() -> "list[Metric]":  # type: ignore[empty-body]
    """Metrics: each a number computed from stored predictions."""
