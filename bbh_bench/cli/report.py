"""``bbh-bench report``: the leaderboard from records alone."""

import argparse
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bbh_bench.cli.arguments import Commands, add_folder, add_records
from bbh_bench.errors import BenchError

if TYPE_CHECKING:
    from bbh_bench.records.record import Record
    from bbh_bench.records.store import Store


def add_parser(commands: Commands) -> None:
    """The arguments of ``report``."""
    parser = commands.add_parser("report", help="render the leaderboard from records alone")
    add_records(parser)
    add_folder(parser, "--out", None, "where the leaderboard goes (default: the folder of records)")
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Render the leaderboard and print where it is. Returns 1 if a record could not be read: the others are rendered."""
    from bbh_bench.leaderboard import SITE, render_folder
    from bbh_bench.records.store import Store

    store, out = Store(Path(options.records)), Path(options.out or options.records)
    store.require_folder()  # before one is created for the board
    with writing_to(out, "--out"):
        page, unreadable = render_folder(store, out)
    print(f"wrote {page} and the site {out / SITE / 'index.html'}")
    return print_unreadable(unreadable)


def print_unreadable(sentences: "Sequence[str]") -> int:
    """Print what is wrong with records that cannot be read, to stderr. The exit code: 1 if there are any."""
    for sentence in sentences:
        print(f"bbh-bench: left out: {sentence}", file=sys.stderr)
    return 1 if sentences else 0


def write_leaderboard(store: "Store", records: "Sequence[Record]", out: Path, option: str) -> Path:
    """Render these records of ``store`` into ``out``, which the user named with ``option``, and return the first page's path.

    Raises ``BenchError`` if the folder cannot be written to.
    """
    from bbh_bench.leaderboard import render
    from bbh_bench.records.verifications import read_log

    with writing_to(out, option):
        return render(records, out, store.arrays, read_log(store.root))


@contextmanager
def writing_to(out: Path, option: str) -> Iterator[None]:
    """Create the folder of a board. Raises ``BenchError`` if it cannot be written to, now or in the block."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        yield
    except OSError as error:
        raise BenchError(
            f"The leaderboard cannot be written to the folder '{out}' ({error.strerror or error}). Name another folder with "
            f"{option}."
        ) from error
