"""``bbh-bench verify``: every score again, from the stored predictions; and cells again, from nothing."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bbh_bench.cli.arguments import Commands, add_folder, add_plugin, add_records, load
from bbh_bench.errors import BenchError

if TYPE_CHECKING:
    from bbh_bench.plugins import Plugins
    from bbh_bench.records.record import Record
    from bbh_bench.records.store import Store


def add_parser(commands: Commands) -> None:
    """The arguments of ``verify``."""
    parser = commands.add_parser("verify", help="recompute every score from the stored predictions and compare")
    add_records(parser)
    parser.add_argument(
        "--rerun",
        nargs="+",
        default=[],
        metavar="RECORD",
        help="run the cells of these records again, and compare; a path in the folder, such as digits5/v3/map/seed0.json",
    )
    parser.add_argument(
        "--log", action="store_true", help="note what was verified in verifications.jsonl, which the leaderboard shows"
    )
    parser.add_argument(
        "--sign-off", metavar="NAME", help="note in the log that you vouch for the records that have no fault"
    )
    add_folder(
        parser, "--submission", None, "check the records of this folder as `publish` would, and name every fault"
    )
    add_folder(parser, "--to", "leaderboard", "the published leaderboard of --submission (default: leaderboard)")
    add_folder(parser, "--data", None, "the data folder, for --rerun (default: $BBH_BENCH_DATA, else the user's cache)")
    add_plugin(parser)
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Verify all finished records. Returns 1 if one is not what it claims to be, or cannot be read."""
    from bbh_bench.cli.report import print_unreadable
    from bbh_bench.publishing.note import note
    from bbh_bench.publishing.verify import verify_records
    from bbh_bench.records.store import Store

    store, plugins = Store(Path(options.submission or options.records)), load(options.plugin)
    _check_name(options.sign_off)
    records, unreadable = store.some_readable()
    chosen = _chosen(options.rerun, records, store)
    if options.submission:
        complaints, wrong = _submission(records, store, Store(Path(options.to)), plugins)
    else:
        complaints = verify_records(records, store, plugins)
        wrong = print_complaints(complaints)
    good = [record for record in records if complaints.get(record.path) == ""]
    if options.log or options.sign_off:
        note(store, good, "recomputed")
    differ = [record for record in chosen if not _same_again(record, store, records, plugins, options)]
    if options.sign_off:
        note(store, [record for record in good if record not in differ], "signed off", by=options.sign_off)
    return max(wrong, 1 if differ else 0, print_unreadable(unreadable))


def _check_name(name: str | None) -> None:
    from bbh_bench.records.verifications import LONGEST

    if name is not None and not (name.strip() and name.isprintable() and len(name) <= LONGEST):
        raise BenchError(
            f"--sign-off needs a name of 1 to {LONGEST} printable characters, such as 'Ada Lovelace <ada@...>'."
        )


def _chosen(paths: Sequence[str], records: "Sequence[Record]", store: "Store") -> "list[Record]":
    """The records of ``--rerun``, in the order given. Raises ``BenchError`` for one that is not there."""
    by_path = {record.path: record for record in records}
    chosen = []
    for text in paths:
        path = Path(text)
        path = path.relative_to(store.root) if path.is_relative_to(store.root) else path
        record = by_path.get(path.with_suffix(".json")) if path.name else None
        if record is None:
            example = next(map(str, by_path), "digits5/v3/map/seed0.json")
            raise BenchError(
                f"--rerun: there is no record '{text}' in '{store.root}' that can be read. Give a path such as '{example}'."
            )
        chosen.append(record)
    return chosen


def _submission(
    records: "Sequence[Record]", submitted: "Store", board: "Store", plugins: "Plugins"
) -> tuple[Mapping[Path, str], int]:
    """Print what was found. The complaints, and the exit code."""
    from bbh_bench.publishing.submission import check_submission

    found = check_submission(records, submitted, board, plugins)
    faults = [complaint for complaint in found.complaints.values() if complaint]
    print("".join(f"{complaint}\n" for complaint in faults), end="")
    for row in found.provisional:
        print(f"{row} would be provisional: a rank needs three seeds.")
    good = len(found.complaints) - len(faults)
    print(f"{good} of {len(found.complaints)} records may be published; {len(found.new)} are new.")
    return found.complaints, 1 if faults else 0


def _same_again(
    record: "Record", store: "Store", records: "Sequence[Record]", plugins: "Plugins", options: argparse.Namespace
) -> bool:
    """Run the cell of a record again, print how it compares, and note it if that is asked."""
    from bbh_bench.publishing.note import note
    from bbh_bench.publishing.rerun import rerun

    result = rerun(record, store, records, plugins, options.data)
    print(f"{record.path}: run again: {result.outcome}: {result.text}.", flush=True)
    same = result.outcome != "differs"
    if same and options.log:
        note(store, [record], "rerun", result=result.outcome, vector=result.vector)
    return same


def print_complaints(complaints: Mapping[Path, str]) -> int:
    """Print the complaints, one a line, and a summary. An empty complaint means that the record is fine."""
    for path, complaint in complaints.items():
        if complaint:
            print(f"{path}: {complaint}")
    good = sum(not complaint for complaint in complaints.values())
    print(f"{good} of {len(complaints)} finished records have the scores that their stored predictions give.")
    return 0 if good == len(complaints) else 1
