"""``bbh-bench show``: one record, readable."""

import argparse
from pathlib import Path

from bbh_bench.cli.arguments import Commands, add_record


def add_parser(commands: Commands) -> None:
    """The arguments of ``show``."""
    parser = commands.add_parser("show", help="one record, readable")
    add_record(parser, "record", "a record's JSON file")
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Print the page of a record."""
    from bbh_bench.leaderboard.record_page import record_page
    from bbh_bench.records.record import Record

    print(record_page(Record.read(Path(options.record))))
    return 0
