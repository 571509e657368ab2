"""Results of searches as markdown tables."""

import math
from collections.abc import Iterable

from tabulate import tabulate

from bbh_bench.tuning.results import Search, Trial

BEST = 3
"""Trials of a method that the table shows, beside the defaults."""


def tables(searches: Iterable[Search], best: int = BEST) -> str:
    """A table for each task: of every method the defaults (trial 0) and the ``best`` trials, the best first.

    It shows trials that were fitted with every seed.
    """
    groups: dict[str, list[Search]] = {}
    for search in searches:
        groups.setdefault(_title(search), []).append(search)
    return "\n\n".join(f"{title}:\n\n{_table(group, best)}" for title, group in groups.items())


def _title(search: Search) -> str:
    """What the methods of a table have in common."""
    seeds = ", ".join(map(str, search.settings.seeds))
    return f"{search.settings.task}, {search.settings.epochs} epochs, seeds {seeds}"


def _table(searches: Iterable[Search], best: int) -> str:
    rows = []
    for search in searches:
        ranked = sorted(search.complete(), key=lambda trial: trial.mean)
        shown = [trial for k, trial in enumerate(ranked) if k < best or trial.number == 0]
        rows += [_row(search, trial) for trial in shown]
    headers = ["method", "trials", "trial", "hyperparameters", "validation NLL", "fit (s)"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _row(search: Search, trial: Trial) -> list[str]:
    values = ", ".join(f"{name} {_number(value)}" for name, value in trial.values.items())
    number = "defaults" if trial.number == 0 else str(trial.number)
    seconds = sum(fit.processor_seconds for fit in trial.fits) / len(trial.fits)
    return [search.settings.method, str(len(search.trials)), number, values or "none", _nll(trial), f"{seconds:.1f}"]


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _nll(trial: Trial) -> str:
    failed = next((fit for fit in trial.fits if fit.nll is None), None)
    if failed is not None:
        return f"failed: {(failed.error or '').partition(':')[0]}"
    error = "" if math.isnan(trial.standard_error) else f" ± {trial.standard_error:.4f}"
    return f"{trial.mean:.4f}{error}"
