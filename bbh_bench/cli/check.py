"""``bbh-bench check``: the contract tests of a method."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bbh_bench.cli.arguments import Commands, add_plugin, load
from bbh_bench.errors import BenchError

if TYPE_CHECKING:
    from bbh_bench.api import Method
    from bbh_bench.plugins import Plugins


def add_parser(commands: Commands) -> None:
    """The arguments of ``check``."""
    parser = commands.add_parser("check", help="the contract tests of a method, with advice")
    parser.add_argument("name", nargs="?", metavar="METHOD", help="its name (default: every method of --plugin)")
    parser.add_argument(
        "--kind", default="classification", choices=("classification", "regression"), help="(default: classification)"
    )
    add_plugin(parser)
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Check one method, or those of plugin files. Returns 1 if one breaks the contract."""
    if options.name is None and not options.plugin:
        raise BenchError("check needs a method: its name, or --plugin FILE for the methods of a file.")
    plugins = load(options.plugin)
    files = [Path(file).name for file in options.plugin]
    chosen = [plugins.methods[options.name]] if options.name else methods_of(plugins, files)
    broken = rejected(plugins, files)
    if not chosen and not broken:
        raise BenchError(f"{', '.join(files)} provides no method. Return them from its hook bbh_methods().")
    codes = [check(method, options.kind) for method in chosen]
    return 1 if broken or any(codes) else 0


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
