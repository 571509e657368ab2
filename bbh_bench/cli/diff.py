"""``bbh-bench diff``: what differs between two records."""

import argparse
from pathlib import Path

from bbh_bench.cli.arguments import Commands, add_record


def add_parser(commands: Commands) -> None:
    """The arguments of ``diff``."""
    parser = commands.add_parser("diff", help="the differences between two records")
    add_record(parser, "first", "a record's JSON file")
    add_record(parser, "second", "another record's JSON file")
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Print the differences."""
    from bbh_bench.leaderboard.diff import diff_page
    from bbh_bench.records.record import Record

    print(diff_page(Record.read(Path(options.first)), Record.read(Path(options.second))))
    return 0
