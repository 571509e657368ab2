"""Records -> one table a task: mean and standard error over seeds, in the order of the headline score."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd

from bbh_bench.records.record import Record

CLEAR = 2.0  # combined standard errors between the best and the next


@dataclass(frozen=True)
class Column:
    """One column: where its value comes from, and how it is shown."""

    heading: str
    key: str
    """A score's name, or ``cost:`` and a cost's name."""
    decimals: int = 3
    factor: float = 1.0
    better: str = "neither"

    @property
    def of_robustness(self) -> bool:
        """Whether its figures mean something only where the audit of the attacks passed."""
        return self.key.startswith(("attack/", "robust/"))

    def value(self, record: Record) -> float:
        """NaN where the record has no such value: a method that can't be attacked, a data set that was absent."""
        values = record.cost if self.key.startswith("cost:") else record.scores
        return values.get(self.key.removeprefix("cost:"), math.nan) * self.factor


@dataclass(frozen=True)
class TaskRecords:
    """The records of one version of one task with one fingerprint."""

    records: list[Record]

    @property
    def head(self) -> Record:
        """Any of them: they agree about the task."""
        return self.records[0]

    @property
    def finished(self) -> list[Record]:
        """Those with scores."""
        return [record for record in self.records if record.status == "finished"]

    @property
    def failed(self) -> list[Record]:
        """Those without."""
        return [record for record in self.records if record.status == "failed"]

    def has(self, name: str) -> bool:
        """Whether any record has this score or curve."""
        return any(name in record.scores or name in record.curves for record in self.finished)

    def curves(self, name: str, method: str | None = None) -> list[dict[str, list[float]]]:
        """The curves of this name, of one method or of all."""
        return [
            record.curves[name]
            for record in self.finished
            if name in record.curves and method in (None, record.method["name"])
        ]

    def outliers(self) -> list[str]:
        """Names of the outlier sets, in the order of the records."""
        names = [
            name.split("/")[1] for record in self.finished for name in record.scores if name.startswith("outlier/")
        ]
        return list(dict.fromkeys(names))

    def attacks(self) -> list[str]:
        """Names of the attacks."""
        names = [name.split("/")[1] for record in self.finished for name in record.curves if name.startswith("attack/")]
        return list(dict.fromkeys(names))

    def norms(self) -> dict[str, str]:
        """Each attack's norm."""
        return {attack["name"]: attack["norm"] for record in self.finished for attack in record.task.get("attacks", [])}

    def unsound(self, method: str) -> list[tuple[int, str, dict[str, Any]]]:
        """What failed of a method's audits: the seed, the item's name, and the item."""
        return [
            (record.seed, name, check)
            for record in self.finished
            for name, check in record.audit.items()
            if record.method["name"] == method and check["verdict"] == "fail"
        ]

    def shifts(self) -> tuple[list[str], list[str]]:
        """Names of the shifts of many images, and of those of a single one, whose classes' probabilities are shown."""
        curves = {
            name.split("/")[1]: "p(0)" in curve
            for record in self.finished
            for name, curve in record.curves.items()
            if name.startswith("shift/")
        }
        return [name for name, single in curves.items() if not single], [name for name in curves if curves[name]]

    def better(self, score: str) -> str:
        """lower, higher or neither."""
        return next(
            (r.better.get(score.rpartition("/")[2], "neither") for r in self.finished if score in r.scores), "neither"
        )


def by_task(records: list[Record]) -> list[TaskRecords]:
    """Group records by task, version and fingerprint: numbers from different definitions never share a table."""

    def key(record: Record) -> tuple[str, int, str]:
        return record.task["name"], record.task["version"], record.task["fingerprint"]

    return [TaskRecords(list(group)) for _, group in groupby(sorted(records, key=key), key=key)]


def order(group: TaskRecords) -> list[str]:
    """Methods by the mean of the headline score, best first."""
    headline = group.head.task["headline"]
    frame = _frame(group, lambda record: record.scores.get(headline, math.nan))
    means = frame.groupby("method")["value"].mean()
    return list(means.sort_values(ascending=group.better(headline) != "higher", kind="stable").index)


def statistics(group: TaskRecords, column: Column) -> pd.DataFrame:
    """Mean, standard error (NaN for one seed) and n of a column, indexed by method."""
    frame = _frame(group, column.value).dropna()
    return frame.groupby("method")["value"].agg(["mean", "sem", "count"])


def clear_best(stats: pd.DataFrame, better: str) -> str | None:
    """The method whose mean is ahead of every other by more than two combined standard errors; None where noise may decide."""
    if better == "neither" or len(stats) < 2 or stats["sem"].isna().any():
        return None
    ranked = stats.sort_values("mean", ascending=better == "lower")
    first, rest = ranked.iloc[0], ranked.iloc[1:]
    gap = (rest["mean"] - first["mean"]).abs()
    noise = (rest["sem"] ** 2 + first["sem"] ** 2) ** 0.5
    return str(ranked.index[0]) if (gap > CLEAR * noise).all() else None


def _frame(group: TaskRecords, value: Callable[[Record], float]) -> pd.DataFrame:
    return pd.DataFrame(
        [(record.method["name"], float(value(record))) for record in group.finished], columns=["method", "value"]
    )
