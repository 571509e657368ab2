"""``bbh-bench run``: methods on tasks, into records and a leaderboard."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from bbh_bench.cli.arguments import Commands, add_folder, add_names, add_plugin, load, names
from bbh_bench.errors import BenchError

if TYPE_CHECKING:
    from bbh_bench.running.run import RunOptions, Selection

DEFAULT_TASKS = ("digits5", "toy")
ATTACKED_TASKS = ("digits5",)
"""Those of the default tasks that can be attacked: the default with ``--attack``."""
MAX_JOBS = 8
"""Of the default number of processes."""


def add_parser(commands: Commands) -> None:
    """The arguments of ``run``."""
    parser = commands.add_parser("run", help="run methods on tasks; finished cells are skipped")
    add_names(parser, "--task", f"tasks (default: {' and '.join(DEFAULT_TASKS)})")
    add_names(parser, "--method", "methods (default: all built-in)")
    add_names(parser, "--attack", "attacks, added to the tasks' own")
    parser.add_argument(
        "--seeds", default="0-2", metavar="S", help="whole numbers and ranges, such as 0,1,2 or 0-2 (default: 0-2)"
    )
    add_folder(parser, "--records", "runs", "where records go (default: runs)")
    add_folder(parser, "--data", None, "the data folder (default: $BBH_BENCH_DATA, else the user's cache)")
    add_folder(
        parser,
        "--posteriors",
        None,
        "store fitted posteriors here, and do not fit them again (pickles: name a folder that only you can write to)",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="(default: auto)")
    parser.add_argument(
        "--executor",
        default="inline",
        choices=("inline", "processes"),
        help="where cells run: in this process (default), or in several at a time",
    )
    parser.add_argument("--jobs", metavar="N", help=f"number of processes (default: one per core, at most {MAX_JOBS})")
    parser.add_argument("--replace", action="store_true", help="run finished cells again and replace their records")
    parser.add_argument(
        "--keep-outdated",
        action="store_true",
        help="accept finished records that older source code of the method made",
    )
    add_plugin(parser)
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Run, store and render. Returns 1 if a cell failed."""
    from bbh_bench.cli.display import display
    from bbh_bench.cli.report import write_leaderboard
    from bbh_bench.leaderboard import summary
    from bbh_bench.records.store import Store
    from bbh_bench.running.run import run

    selected, how, store = selection(options), run_options(options), Store(Path(options.records))
    plugins = load(options.plugin)
    with display(store.root, how.jobs) as observer:
        failed = sum(not result.record.finished for result in run(plugins, selected, how, store, observer))
    records = store.records()
    print(f"\n{summary(records)}\n\nwrote {write_leaderboard(records, store.root, '--records')}")
    return 1 if failed else 0


def selection(options: argparse.Namespace) -> "Selection":
    """What to run. Raises ``BenchError``."""
    from bbh_bench.running.plan import parse_seeds
    from bbh_bench.running.run import Selection

    attacks = names("--attack", options.attack)
    return Selection(
        tasks=names("--task", options.task) or default_tasks(attacks),
        methods=names("--method", options.method),
        seeds=parse_seeds(options.seeds),
        attacks=attacks,
    )


def default_tasks(attacks: list[str]) -> list[str]:
    """The tasks of a run that names none."""
    return list(ATTACKED_TASKS if attacks else DEFAULT_TASKS)


def run_options(options: argparse.Namespace) -> "RunOptions":
    """How to run it. Raises ``BenchError``."""
    from bbh_bench.running.run import RunOptions

    return RunOptions(
        device=options.device,
        jobs=number_of_jobs(options.executor, options.jobs),
        data=options.data,
        posteriors=Path(options.posteriors) if options.posteriors else None,
        replace=options.replace,
        keep_outdated=options.keep_outdated,
        plugin_files=tuple(Path(file) for file in options.plugin),
    )


def number_of_jobs(executor: str, jobs: str | None) -> int | None:
    """Number of processes; None for this one. Raises ``BenchError``."""
    if executor == "inline":
        if jobs is not None:
            raise BenchError("--jobs is the number of processes: give --executor processes with it.")
        return None
    if jobs is None:
        return min(MAX_JOBS, cores())
    if not jobs.isdecimal() or int(jobs) < 1:
        raise BenchError(f"--jobs takes a whole number from 1 on, not '{jobs}'.")
    return int(jobs)


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
