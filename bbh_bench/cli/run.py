"""``bbh-bench run``: methods on tasks, into records and a leaderboard."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bbh_bench.cli.arguments import Commands, add_folder, add_names, add_plugin, load, names
from bbh_bench.errors import BenchError

if TYPE_CHECKING:
    from bbh_bench.running.options import RunOptions, Selection

DEFAULT_TASKS = ("digits5", "toy")
ATTACKED_TASKS = ("digits5",)
"""Those of the default tasks that can be attacked: the default with ``--attack``."""


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
        choices=("inline", "processes", "ray"),
        help="where cells run: in this process (default), each in a process of its own, or on a Ray cluster",
    )
    parser.add_argument("--jobs", metavar="N", help="number of cells at a time (default: one per core, at most 8)")
    parser.add_argument("--timeout", metavar="T", help="a cell that takes longer has failed; such as 90s, 30m or 2h")
    parser.add_argument("--memory", metavar="SIZE", help="that the process of a cell may have, such as 4GB")
    add_folder(parser, "--checkpoints", None, "save fits here while they go on, and continue those that were stopped")
    parser.add_argument("--checkpoint-every", default="2m", metavar="T", help="time between two saves (default: 2m)")
    parser.add_argument("--address", metavar="A", help="of the Ray cluster (default: a new one on this machine)")
    parser.add_argument("--cpus", default="1", metavar="N", help="cores per cell on a Ray cluster (default: 1)")
    parser.add_argument(
        "--gpus", default="0", metavar="X", help="GPUs per cell on a Ray cluster, such as 0.25 (default: 0)"
    )
    parser.add_argument("--replace", action="store_true", help="run finished cells again and replace their records")
    parser.add_argument(
        "--keep-outdated",
        action="store_true",
        help="accept finished records that older source code of the method made",
    )
    parser.add_argument(
        "--no-fast",
        action="store_true",
        help="turn the suite's accelerations off: plain computations, for comparison of scores and speed",
    )
    add_plugin(parser)
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Run, store and render. Returns 1 if a cell failed."""
    from bbh_bench.cli.display import display
    from bbh_bench.cli.report import print_unreadable, write_leaderboard
    from bbh_bench.leaderboard import summary
    from bbh_bench.records.store import Store
    from bbh_bench.running.run import run

    selected, how, store = selection(options), run_options(options), Store(Path(options.records))
    plugins = load(options.plugin)
    with display(store.root, how.at_a_time) as observer:
        failed = sum(not result.record.finished for result in run(plugins, selected, how, store, observer))
    records, unreadable = store.readable()  # somebody else's file is no reason to doubt the cells
    print(f"\n{summary(records)}\n\nwrote {write_leaderboard(store, records, store.root, '--records')}")
    return max(print_unreadable(unreadable), 1 if failed else 0)


def selection(options: argparse.Namespace) -> "Selection":
    """What to run. Raises ``BenchError``."""
    from bbh_bench.running.options import Selection
    from bbh_bench.running.plan import parse_seeds

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
    from bbh_bench.running.limits import parse_duration, parse_memory
    from bbh_bench.running.options import RunOptions

    return RunOptions(
        device=options.device,
        executor=options.executor,
        jobs=None if options.jobs is None else whole_number("--jobs", options.jobs),
        timeout=None if options.timeout is None else parse_duration("--timeout", options.timeout),
        memory=None if options.memory is None else parse_memory(options.memory),
        address=options.address,
        cpus=whole_number("--cpus", options.cpus),
        gpus=share("--gpus", options.gpus),
        data=options.data,
        posteriors=Path(options.posteriors) if options.posteriors else None,
        checkpoints=Path(options.checkpoints) if options.checkpoints else None,
        checkpoint_seconds=parse_duration("--checkpoint-every", options.checkpoint_every),
        replace=options.replace,
        keep_outdated=options.keep_outdated,
        fast=not options.no_fast,
        plugin_files=tuple(Path(file) for file in options.plugin),
    )


def whole_number(option: str, text: str) -> int:
    """Raises ``BenchError`` unless it is at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise BenchError(f"{option} takes a whole number from 1 on, not '{text}'.")
    return int(text)


def share(option: str, text: str) -> float:
    """A number that is not negative. Raises ``BenchError``."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise BenchError(f"{option} takes a number such as 1 or 0.25, not '{text}'.")
    return number
