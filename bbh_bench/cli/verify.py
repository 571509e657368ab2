"""``bbh-bench verify``: every score again, from the stored predictions."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from bbh_bench.cli.arguments import Commands, add_plugin, add_records, load


def add_parser(commands: Commands) -> None:
    """The arguments of ``verify``."""
    parser = commands.add_parser("verify", help="recompute every score from the stored predictions and compare")
    add_records(parser)
    add_plugin(parser)
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Verify all finished records. Returns 1 if one is not what it claims to be, or cannot be read."""
    from bbh_bench.cli.report import print_unreadable
    from bbh_bench.publishing.verify import verify_records
    from bbh_bench.records.store import Store

    store = Store(Path(options.records))
    records, unreadable = store.some_readable()
    wrong = print_complaints(verify_records(records, store, load(options.plugin)))
    return max(wrong, print_unreadable(unreadable))


def print_complaints(complaints: Mapping[Path, str]) -> int:
    """Print the complaints, one a line, and a summary. An empty complaint means that the record is fine."""
    for path, complaint in complaints.items():
        if complaint:
            print(f"{path}: {complaint}")
    good = sum(not complaint for complaint in complaints.values())
    print(f"{good} of {len(complaints)} finished records have the scores that their stored predictions give.")
    return 0 if good == len(complaints) else 1
