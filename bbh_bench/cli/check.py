"""``bbh-bench check``: the contract tests of a method or metric."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bbh_bench.cli.arguments import Commands, add_plugin, load
from bbh_bench.errors import BenchError

if TYPE_CHECKING:
    from bbh_bench.api import Method, Metric
    from bbh_bench.plugins import Plugins


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
    metrics = metrics_to_check(plugins, options.name, files)
    methods = methods_of(plugins, files) if options.name is None else []
    if options.name is not None and not metrics:
        methods = [plugins.methods[options.name]]
    broken = rejected(plugins, files)
    if not methods and not metrics and not broken:
        raise BenchError(
            f"{', '.join(files)} provides no method or metric. Return them from its hooks, such as bbh_methods()."
        )
    codes = [*(check(method, options.kind) for method in methods), *map(check_one_metric, metrics)]
    return 1 if broken or any(codes) else 0


def metrics_to_check(plugins: "Plugins", name: str | None, files: Sequence[str]) -> "list[Metric]":
    """The metric of this name, if there is one and no method has it; without a name, those that plugin files provide."""
    if name is None:
        return [entry.value for entry in plugins.metrics.entries.values() if entry.package in files]
    return [plugins.metrics[name]] if name in set(plugins.metrics) - set(plugins.methods) else []


def check_one_metric(metric: "Metric") -> int:
    """Run the contract tests on one metric and print how they ended."""
    from bbh_bench.metric_checks import check_metric

    try:
        check_metric(metric)
    except AssertionError as error:
        print(f"{metric.name} breaks the contract: {error}", file=sys.stderr)
        return 1
    print(f"{metric.name} keeps the contract of a metric.")
    return 0


def methods_of(plugins: "Plugins", files: Sequence[str]) -> "list[Method]":
    """The methods that plugin files provide."""
    return [entry.value for entry in plugins.methods.entries.values() if entry.package in files]


def rejected(plugins: "Plugins", files: Sequence[str]) -> list[str]:
    """What was left out of plugin files because it breaks its contract."""
    return [problem for problem in plugins.problems if any(f"'{file}'" in problem for file in files)]


def check(method: "Method", kind: str) -> int:
    """Run the contract tests on one method and print how they ended."""
    from bbh_bench.testing import check_method

    try:
        check_method(method, "regression" if kind == "regression" else "classification")
    except AssertionError as error:
        print(f"{method.name} breaks the contract: {error}", file=sys.stderr)
        return 1
    print(f"{method.name} keeps the contract of a method, in {kind}.")
    return 0
