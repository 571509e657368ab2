"""``bbh-bench publish``: checked records go to the published leaderboard."""

import argparse
from pathlib import Path

from bbh_bench.cli.arguments import Commands, add_folder, add_names, add_plugin, add_records, load, names


def add_parser(commands: Commands) -> None:
    """The arguments of ``publish``."""
    parser = commands.add_parser("publish", help="copy finished records to the published leaderboard, and render it")
    add_records(parser)
    add_folder(parser, "--to", "leaderboard", "the published leaderboard (default: leaderboard)")
    add_names(parser, "--task", "publish the records of these tasks only")
    add_names(parser, "--method", "publish the records of these methods only")
    parser.add_argument("--replace", action="store_true", help="replace published records that differ")
    add_plugin(parser)
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Publish, and print how many records and where."""
    from bbh_bench.publishing.publish import publish

    tasks, methods = names("--task", options.task), names("--method", options.method)
    plugins = load(options.plugin)
    report = publish(Path(options.records), Path(options.to), tasks, methods, options.replace, plugins)
    print(f"published {report.published} records, {report.present} were there already; wrote {report.board}")
    return 0
