"""``bbh-bench report``: the leaderboard from records alone."""

import argparse
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from bbh_bench.cli.arguments import Commands, add_folder, add_records
from bbh_bench.errors import BenchError

if TYPE_CHECKING:
    from bbh_bench.records.store import Store


def add_parser(commands: Commands) -> None:
    """The arguments of ``report``."""
    parser = commands.add_parser("report", help="render the leaderboard from records alone")
    add_records(parser)
    add_folder(parser, "--out", None, "where the leaderboard goes (default: the folder of records)")
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Render the leaderboard and print where it is."""
    from bbh_bench.records.store import Store

    store = Store(Path(options.records))
    print(f"wrote {write_leaderboard(store, Path(options.out or options.records), '--out')}")
    return 0


def write_leaderboard(store: "Store", out: Path, option: str) -> Path:
    """Render the records of ``store`` into ``out``, which the user named with ``option``, and return the first page's path.

    Raises ``BenchError`` if the folder cannot be written to.
    """
    from bbh_bench.leaderboard import render

    records = store.some_records()
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return render(records, out, store.arrays)
    except OSError as error:
        raise BenchError(
            f"The leaderboard cannot be written to the folder '{out}' ({error.strerror or error}). Name another folder with "
            f"{option}."
        ) from error
