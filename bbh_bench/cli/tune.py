"""``bbh-bench tune``: hyperparameters tried at random, scored on validation data."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bbh_bench.cli.arguments import Commands, add_folder, add_names, add_plugin, load, names
from bbh_bench.errors import BenchError

if TYPE_CHECKING:
    from bbh_bench.tuning.results import Fitted, Search

DEFAULT_TASK = "digits5"


def add_parser(commands: Commands) -> None:
    """The arguments of ``tune``."""
    parser = commands.add_parser("tune", help="try hyperparameters of methods on the validation data of tasks")
    add_names(parser, "--task", f"tasks with validation data (default: {DEFAULT_TASK})")
    add_names(parser, "--method", "methods with a search space (default: all built-in)")
    parser.add_argument(
        "--trials", default="12", metavar="N", help="trials per method; the first has its defaults (default: 12)"
    )
    parser.add_argument(
        "--finalists",
        default="3",
        metavar="N",
        help="the best trials with the first seed, which get all seeds; the defaults always do (default: 3)",
    )
    parser.add_argument("--only", metavar="N", help="fit the trials of these numbers only, such as 0,4,7-9")
    parser.add_argument("--seeds", default="1000-1002", metavar="S", help="from 1000 on (default: 1000-1002)")
    parser.add_argument("--search-seed", default="0", metavar="S", help="of the random trials (default: 0)")
    parser.add_argument("--epochs", metavar="N", help="instead of the task's budget")
    add_folder(parser, "--results", "tuning", "where results go; fits that it has are not repeated (default: tuning)")
    add_folder(parser, "--data", None, "the data folder (default: $BBH_BENCH_DATA, else the user's cache)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="(default: auto)")
    parser.add_argument("--report", action="store_true", help="fit nothing; print the tables of the results")
    add_plugin(parser)
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Search, store and print. Returns 1 if every fit of a method failed."""
    from bbh_bench.tuning.results import read_all
    from bbh_bench.tuning.table import tables

    folder = Path(options.results)
    searches = list(read_all(folder)) if options.report else search_all(options, folder)
    if not searches:
        raise BenchError(f"There are no results in '{folder}'. Leave --report out to compute them.")
    print(f"{tables(searches)}\n\nresults: {folder}")
    failed = [search for search in searches if all(fit.nll is None for trial in search.trials for fit in trial.fits)]
    return 1 if failed else 0


def search_all(options: argparse.Namespace, folder: Path) -> "list[Search]":
    """Every method on every task, one after the other. Raises ``BenchError`` for what can be known before the first fit."""
    from bbh_bench.cli.run import whole_number
    from bbh_bench.data import data_folder
    from bbh_bench.running.context import select_device
    from bbh_bench.running.plan import parse_seeds, plan
    from bbh_bench.running.run import check_data
    from bbh_bench.tuning.trials import search_space
    from bbh_bench.tuning.tune import SearchOptions, Tuner, check_seeds

    seeds = parse_seeds(options.seeds)
    check_seeds(seeds)
    how = SearchOptions(
        trials=whole_number("--trials", options.trials),
        only=() if options.only is None else tuple(parse_numbers("--only", options.only)),
        finalists=whole_number("--finalists", options.finalists),
        search_seed=seed("--search-seed", options.search_seed),
        epochs=None if options.epochs is None else whole_number("--epochs", options.epochs),
    )
    tasks = names("--task", options.task) or [DEFAULT_TASK]
    cells = plan(load(options.plugin), tasks, names("--method", options.method), seeds)
    data, device = data_folder(options.data), select_device(options.device)
    for cell in cells:
        search_space(cell.method)
    check_data(cells, data)
    groups = [tuple(cells[k : k + len(seeds)]) for k in range(0, len(cells), len(seeds))]
    tuners = [Tuner(group, partial(group[0].task.load, data), device, how, folder) for group in groups]
    return [tuner.run(report) for tuner in tuners]


def report(method: str, number: int, fit: "Fitted") -> None:
    """One line on standard error about a fit that ended."""
    result = f"validation NLL {fit.nll:.4f}" if fit.nll is not None else f"failed: {fit.error}"
    line = f"{method} trial {number}, seed {fit.seed}: {result}, {fit.processor_seconds:.1f} s"
    print(line, file=sys.stderr, flush=True)


def parse_numbers(option: str, text: str) -> list[int]:
    """Numbers of trials: ``0,4,7-9``. Raises ``BenchError``."""
    from bbh_bench.running.plan import parse_seeds

    try:
        return parse_seeds(text)
    except BenchError:
        raise BenchError(f"{option} takes numbers of trials, such as 0,4,7-9, not '{text[:25]}'.") from None


def seed(option: str, text: str) -> int:
    """A whole number from 0 on. Raises ``BenchError``."""
    if not text.isdecimal() or len(text) > 18:
        raise BenchError(f"{option} takes a whole number from 0 on, not '{text[:25]}'.")
    return int(text)
