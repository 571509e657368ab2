"""``bbh-bench check``: the contract tests of a method, task, attack or metric."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bbh_bench.cli.arguments import Commands, add_folder, add_plugin, load
from bbh_bench.errors import BenchError, UnknownName

if TYPE_CHECKING:
    from bbh_bench.api import Attack, Method, Metric, Task
    from bbh_bench.plugins import Plugins, Registry

T = TypeVar("T")


def add_parser(commands: Commands) -> None:
    """The arguments of ``check``."""
    parser = commands.add_parser("check", help="the contract tests of a method, task, attack or metric, with advice")
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="of a method, task, attack or metric (default: all of --plugin)"
    )
    parser.add_argument(
        "--kind",
        default="classification",
        choices=("classification", "regression"),
        help="for methods (default: classification)",
    )
    add_folder(parser, "--data", None, "for tasks: the data folder (default: $BBH_BENCH_DATA, else the user's cache)")
    add_plugin(parser)
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Check one object, or those of plugin files. Returns 1 if one breaks the contract.

    Raises ``DataError`` if the data of a task are not there.
    """
    if options.name is None and not options.plugin:
        raise BenchError(
            "check needs the name of a method, task, attack or metric, or --plugin FILE for those of a file."
        )
    plugins = load(options.plugin)
    files = [Path(file).name for file in options.plugin]
    objects = chosen(plugins, options.name, files)
    broken = rejected(plugins, files)
    if not objects and not broken:
        raise BenchError(
            f"{', '.join(files)} provides no method, task, attack or metric. Return them from its hooks, such as bbh_methods()."
        )
    tests: Mapping[str, Callable[[Any], bool]] = {
        "method": partial(method_keeps, kind=options.kind),
        "task": partial(task_keeps, data=options.data),
        "attack": attack_keeps,
        "metric": metric_keeps,
    }
    kept = [tests[kind](value) for kind, value in objects]
    return 1 if broken or not all(kept) else 0


def chosen(plugins: "Plugins", name: str | None, files: Sequence[str]) -> list[tuple[str, Any]]:
    """What to check, each with its kind: all that has this name; without a name, what plugin files provide.

    Raises ``UnknownName``.
    """
    if name is None:
        return [(registry.kind, value) for registry in plugins.registries for value in provided(registry, files)]
    named = [(registry.kind, registry[name]) for registry in plugins.registries if name in set(registry)]
    if not named:
        known = [each for registry in plugins.registries for each in registry]
        raise UnknownName("method, task, attack or metric", name, known)
    return named


def provided(registry: "Registry[T]", files: Sequence[str]) -> list[T]:
    """What plugin files provide of one kind."""
    return [entry.value for entry in registry.entries.values() if entry.package in files]


def rejected(plugins: "Plugins", files: Sequence[str]) -> list[str]:
    """What was left out of plugin files because it breaks its contract."""
    return [problem for problem in plugins.problems if any(f"'{file}'" in problem for file in files)]


def method_keeps(method: "Method", kind: str) -> bool:
    """Whether a method keeps its contract; printed."""
    from bbh_bench.testing import check_method

    test = partial(check_method, method, "regression" if kind == "regression" else "classification")
    return keeps(method.name, f"a method, in {kind}", test)


def task_keeps(task: "Task", data: str | None) -> bool:
    """Whether a task keeps its contract; printed. ``data``: the data folder. Raises ``DataError``."""
    from bbh_bench.data import data_folder
    from bbh_bench.testing import check_task

    return keeps(task.name, "a task", partial(check_task, task, data_folder(data)))


def attack_keeps(attack: "Attack") -> bool:
    """Whether an attack keeps its contract; printed."""
    from bbh_bench.testing import check_attack

    return keeps(attack.name, "an attack", partial(check_attack, attack))


def metric_keeps(metric: "Metric") -> bool:
    """Whether a metric keeps its contract; printed."""
    from bbh_bench.testing import check_metric

    return keeps(metric.name, "a metric", partial(check_metric, metric))


def keeps(name: str, what: str, test: Callable[[], None]) -> bool:
    """Run contract tests, and print how they ended."""
    try:
        test()
    except AssertionError as error:
        print(f"{name} breaks the contract: {error}", file=sys.stderr)
        return False
    print(f"{name} keeps the contract of {what}.")
    return True
