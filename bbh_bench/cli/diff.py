"""``bbh-bench diff``: what differs between two records, or between two boards."""

import argparse
from pathlib import Path

from bbh_bench.cli.arguments import Commands, add_record


def add_parser(commands: Commands) -> None:
    """The arguments of ``diff``."""
    parser = commands.add_parser("diff", help="the differences between two records, or between two boards")
    add_record(
        parser, "first", "a record's JSON file; or a folder of records, also at a git revision: HEAD~1:leaderboard"
    )
    add_record(parser, "second", "another one")
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Print the differences."""
    if Path(options.first).is_file() and Path(options.second).is_file():
        from bbh_bench.leaderboard.diff import diff_page
        from bbh_bench.records.record import Record

        print(diff_page(Record.read(Path(options.first)), Record.read(Path(options.second))))
        return 0
    from bbh_bench.cli.boards import board
    from bbh_bench.leaderboard.board_diff import board_diff

    print(board_diff(board(options.first), board(options.second)))
    return 0
