"""A leaderboard as a data frame, for analyses of one's own."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from bbh_bench.leaderboard.tables import COST
from bbh_bench.records.record import Direction, Record
from bbh_bench.records.store import Store

COLUMNS = {
    "task": "str",
    "version": "int64",
    "fingerprint": "str",
    "method": "str",
    "seed": "int64",
    "score": "str",
    "value": "float64",
    "direction": "str",
    "relative_cost": "float64",
    "fit_seconds": "float64",
    "parameters": "Int64",
}
"""Columns of the frame, and their types."""


def load_leaderboard(path: str | Path) -> pd.DataFrame:
    """Read all finished records of a folder: of a run, or of the published leaderboard.

    One row for each task, version, method, seed and score. The columns are ``task``, ``version`` (of the task),
    ``fingerprint`` (rows can be compared only if theirs are equal), ``method``, ``seed``, ``score`` (its name), ``value``,
    ``direction`` (whether ``lower``, ``higher`` or ``neither`` is better) and, equal for all rows of a cell,
    ``relative_cost`` (fit time divided by that of plain MAP training), ``fit_seconds`` and ``parameters``; these three are
    missing values if they were not measured. Costs are rows too, named ``cost/<name>``, such as ``cost/fit/relative``.

    Raises ``RecordError`` if there is no folder or no record, or if a record cannot be read.

    >>> frame = load_leaderboard("leaderboard")
    >>> digits = frame[(frame.task == "digits5") & (frame.score.isin(["test/nll", "test/error"]))]
    >>> digits.pivot_table(index="method", columns="score", values="value")  # means over seeds
    """
    records = Store(Path(path)).some_records()
    rows = [row for record in records if record.finished for row in _rows(record)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _rows(record: Record) -> Iterator[dict[str, Any]]:
    cell = {
        "task": record.task.name,
        "version": record.task.version,
        "fingerprint": record.task.fingerprint,
        "method": record.method.name,
        "seed": record.seed,
        "relative_cost": record.cost.get("fit/relative", math.nan),
        "fit_seconds": record.cost.get("fit/seconds", math.nan),
        "parameters": record.cost.get("parameters"),
    }
    for name, value in record.scores.items():
        direction = record.directions.get(name.rpartition("/")[2], "neither")
        yield cell | {"score": name, "value": value, "direction": direction}
    for name, value in record.cost.items():
        yield cell | {"score": f"{COST}{name}", "value": value, "direction": _cost_direction(name)}


def _cost_direction(name: str) -> Direction:
    """Less is better, except for the speed of the machine."""
    return "neither" if name.startswith("reference/") else "lower"
