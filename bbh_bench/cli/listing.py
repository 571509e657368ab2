"""``bbh-bench list``: everything that can be run."""

import argparse
from typing import TYPE_CHECKING

from bbh_bench.cli.arguments import Commands, add_plugin, load

if TYPE_CHECKING:
    from bbh_bench.plugins import Plugins


def add_parser(commands: Commands) -> None:
    """The arguments of ``list``."""
    parser = commands.add_parser("list", help="methods, tasks, attacks and metrics: name, package, one line each")
    add_plugin(parser)
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Print the table. Returns 1 if a plugin does not work."""
    plugins = load(options.plugin)
    print(table(plugins))
    return 1 if plugins.problems else 0


def table(plugins: "Plugins") -> str:
    """One line for each registered object."""
    from tabulate import tabulate

    rows = [
        (registry.kind, name, entry.package, entry.description)
        for registry in plugins.registries
        for name, entry in registry.entries.items()
    ]
    return tabulate(rows, headers=("kind", "name", "package", "description"), tablefmt="plain")
