"""``bbh-bench check``: the contract tests of a method or metric."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bbh_bench.cli.arguments import Commands, add_plugin, load
from bbh_bench.errors import BenchError

if TYPE_CHECKING:
    from bbh_bench.api import Method, Metric
    from bbh_bench.plugins import Plugins, Registry

T = TypeVar("T")


def add_parser(commands: Commands) -> None:
    """The arguments of ``check``."""
    parser = commands.add_parser("check", help="the contract tests of a method or metric, with advice")
    parser.add_argument("name", nargs="?", metavar="NAME", help="of a method or metric (default: all of --plugin)")
    parser.add_argument(
        "--kind",
        default="classification",
        choices=("classification", "regression"),
        help="for methods (default: classification)",
    )
    add_plugin(parser)
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Check one method or metric, or those of plugin files. Returns 1 if one breaks the contract."""
    if options.name is None and not options.plugin:
        raise BenchError("check needs the name of a method or metric, or --plugin FILE for those of a file.")
    plugins = load(options.plugin)
    files = [Path(file).name for file in options.plugin]
    methods, metrics = chosen(plugins, options.name, files)
    broken = rejected(plugins, files)
    if not methods and not metrics and not broken:
        raise BenchError(
            f"{', '.join(files)} provides no method or metric. Return them from its hooks, such as bbh_methods()."
        )
    kept = [*(method_keeps(method, options.kind) for method in methods), *map(metric_keeps, metrics)]
    return 1 if broken or not all(kept) else 0


def chosen(plugins: "Plugins", name: str | None, files: Sequence[str]) -> "tuple[list[Method], list[Metric]]":
    """What to check: the method of this name, else the metric; without a name, what plugin files provide.

    Raises ``UnknownName``.
    """
    if name is None:
        return provided(plugins.methods, files), provided(plugins.metrics, files)
    if name in set(plugins.metrics) - set(plugins.methods):
        return [], [plugins.metrics[name]]
    return [plugins.methods[name]], []


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


def metric_keeps(metric: "Metric") -> bool:
    """Whether a metric keeps its contract; printed."""
    from bbh_bench.metric_checks import check_metric

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
