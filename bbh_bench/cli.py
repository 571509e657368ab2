"""The command line: parses, calls, prints. torch and the plugins are imported by the command that needs them."""

import argparse
import os
import sys
from pathlib import Path

from bbh_bench.errors import BenchError

DEFAULT_TASKS = ("digits5", "toy")
ATTACKED_TASKS = ("digits5",)  # of these, with --attack: a regression can't be attacked


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = argparse.ArgumentParser(
        prog="bbh-bench", description="Benchmark methods that make neural networks know what they don't know."
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    commands.add_parser("list", help="methods, tasks, attacks and metrics: name, distribution, one line each")

    run = commands.add_parser("run", help="run methods on tasks; finished cells are skipped")
    run.add_argument(
        "--task", action="append", metavar="T", help=f"a task; may be repeated (default: {' and '.join(DEFAULT_TASKS)})"
    )
    run.add_argument("--method", action="append", metavar="M", help="a method; may be repeated (default: all built-in)")
    run.add_argument("--attack", action="append", metavar="A", help="an attack beside the task's own; may be repeated")
    run.add_argument(
        "--seeds", default="0,1,2", metavar="S", help="whole numbers, separated by commas (default: 0,1,2)"
    )
    run.add_argument("--records", default="runs", metavar="DIR", help="where records go (default: runs)")
    run.add_argument("--data", metavar="DIR", help="the data folder (default: $BBH_BENCH_DATA, else the user's cache)")
    run.add_argument(
        "--posteriors",
        metavar="DIR",
        help="keep what is fitted here, and don't fit it again (pickles: name a folder that only you can write to)",
    )
    run.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    run.add_argument(
        "--executor",
        default="inline",
        choices=("inline", "processes"),
        help="where cells run: in this process (default), or in several at a time",
    )
    run.add_argument("--jobs", metavar="N", help="how many processes (default: one a core, at most 8)")
    run.add_argument("--replace", action="store_true", help="run finished cells again and replace their records")

    report = commands.add_parser("report", help="render LEADERBOARD.md from records alone")
    report.add_argument("--records", default="runs", metavar="DIR", help="a folder of records (default: runs)")
    report.add_argument("--out", metavar="DIR", help="where LEADERBOARD.md goes (default: the folder of records)")

    publish = commands.add_parser("publish", help="copy finished records to the published board, and render it")
    publish.add_argument("--records", default="runs", metavar="DIR", help="where the records are (default: runs)")
    publish.add_argument(
        "--to", default="leaderboard", metavar="DIR", help="the published board (default: leaderboard)"
    )
    publish.add_argument(
        "--task", action="append", metavar="T", help="publish this task's records only; may be repeated"
    )
    publish.add_argument("--method", action="append", metavar="M", help="publish this method's only; may be repeated")
    publish.add_argument("--replace", action="store_true", help="replace published records that differ")

    verify = commands.add_parser("verify", help="recompute every score from the stored predictions and compare")
    verify.add_argument("--records", default="runs", metavar="DIR", help="a folder of records (default: runs)")

    show = commands.add_parser("show", help="one record, readable")
    show.add_argument("record", metavar="RECORD", help="a record's JSON file")

    check = commands.add_parser("check", help="the contract tests on one method, with advice")
    check.add_argument("name", metavar="METHOD")
    check.add_argument(
        "--kind", default="classification", choices=("classification", "regression"), help="(default: classification)"
    )
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns 0, 1 where a cell failed or a check didn't hold, or 2 for a mistake the user can mend."""
    options = parser().parse_args(arguments)
    if options.version:
        import bbh_bench

        print(f"bbh-bench {bbh_bench.__version__}")
        return 0
    if options.command is None:
        parser().print_help()
        return 2
    try:
        return _COMMANDS[options.command](options)
    except BenchError as error:
        print(f"bbh-bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "bbh-bench: stopped; the finished cells are kept, and the same command goes on with the rest.",
            file=sys.stderr,
        )
        return 130


def _list(options: argparse.Namespace) -> int:
    from tabulate import tabulate

    from bbh_bench.plugins import plugins

    catalogue = plugins().catalogue()
    shelves = (catalogue.methods, catalogue.tasks, catalogue.attacks, catalogue.metrics)
    rows = [
        (shelf.kind, name, entry.distribution, entry.line) for shelf in shelves for name, entry in shelf.entries.items()
    ]
    print(tabulate(rows, headers=("kind", "name", "distribution", "what it is"), tablefmt="plain"))
    _warn(catalogue.problems)
    return 1 if catalogue.problems else 0


def _run(options: argparse.Namespace) -> int:
    from bbh_bench.running.commands import Folders, run
    from bbh_bench.running.plan import Selection

    selection = Selection(
        tasks=options.task or list(ATTACKED_TASKS if options.attack else DEFAULT_TASKS),
        methods=options.method or [],
        attacks=options.attack or [],
        seeds=options.seeds,
    )
    return run(
        selection,
        Folders(Path(options.records), options.data, Path(options.posteriors) if options.posteriors else None),
        options.device,
        _jobs(options.executor, options.jobs),
        options.replace,
    )


def _jobs(executor: str, jobs: str | None) -> int | None:
    """How many processes; None for this one. Raises ``BenchError``."""
    if executor == "inline":
        if jobs is not None:
            raise BenchError("--jobs is how many processes to use: give --executor processes with it.")
        return None
    if jobs is None:
        return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if not jobs.isdecimal() or int(jobs) < 1:
        raise BenchError(f"--jobs takes a whole number from 1 on, not '{jobs}'.")
    return int(jobs)


def _report(options: argparse.Namespace) -> int:
    from bbh_bench.leaderboard import render
    from bbh_bench.records.store import Store

    records = Store(Path(options.records)).some_records()
    out = Path(options.out or options.records)
    Store(out).prepare()
    board = render(records, out)
    print(f"wrote {board}")
    return 0


def _publish(options: argparse.Namespace) -> int:
    from bbh_bench.running.commands import publish

    return publish(
        Path(options.records), Path(options.to), options.task or [], options.method or [], replace=options.replace
    )


def _verify(options: argparse.Namespace) -> int:
    from bbh_bench.running.commands import verify

    return verify(Path(options.records))


def _show(options: argparse.Namespace) -> int:
    from bbh_bench.leaderboard.markdown import record_page
    from bbh_bench.records.record import Record

    print(record_page(Record.read(Path(options.record))))
    return 0


def _check(options: argparse.Namespace) -> int:
    from bbh_bench.plugins import plugins
    from bbh_bench.testing import check_method

    catalogue = plugins().catalogue()
    _warn(catalogue.problems)
    method = catalogue.methods[options.name]
    try:
        check_method(method, options.kind)
    except AssertionError as error:
        print(f"{options.name} breaks the contract: {error}", file=sys.stderr)
        return 1
    print(f"{options.name} keeps the contract of a method, in {options.kind}.")
    return 0


def _warn(problems: tuple[str, ...]) -> None:
    for problem in problems:
        print(f"bbh-bench: warning: {problem}", file=sys.stderr)


_COMMANDS = {
    "list": _list,
    "run": _run,
    "report": _report,
    "publish": _publish,
    "verify": _verify,
    "show": _show,
    "check": _check,
}

if __name__ == "__main__":
    sys.exit(main())
