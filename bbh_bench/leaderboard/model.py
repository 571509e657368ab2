"""What a board says of one task, as plain data: the site's index, its pages of methods, CSV, JSON and LaTeX need only this.

It can be stored as JSON and read again, so that a board whose records of one task changed need not read those of the others.
"""

from dataclasses import dataclass
from typing import Any

from bbh_bench.leaderboard.columns import sections
from bbh_bench.leaderboard.origin import commit
from bbh_bench.leaderboard.statistics import column_values, is_provisional, method_order
from bbh_bench.leaderboard.tables import ColumnValues, TaskRecords, task_stem
from bbh_bench.leaderboard.verdict import resolution, verdict


@dataclass(frozen=True)
class Row:
    """One method on one task."""

    method: str
    version: int
    description: str
    package: str
    """Name, version and commit."""
    hyperparameters: dict[str, Any]
    seeds: list[int]
    """Of the finished cells."""
    failed: list[int]
    """Seeds of the failed cells."""
    rank: int | None
    """In the headline. Methods that cannot be told apart share it."""
    provisional: bool
    """Whether there are too few seeds for a rank."""
    warnings: list[str]


@dataclass(frozen=True)
class Section:
    """Columns that belong together, such as those of one OOD set."""

    title: str
    columns: list[ColumnValues]


@dataclass(frozen=True)
class TaskModel:
    """One version of a task with one fingerprint."""

    name: str
    version: int
    fingerprint: str
    title: str
    kind: str
    headline: str
    """Name of the score by which methods are ranked."""
    verdict: str
    """A sentence in markdown. May be empty."""
    resolution: str
    rows: list[Row]
    """Best mean of the headline first; methods of which every cell failed come last."""
    sections: list[Section]
    """The first one is that of the first page. A column may be in several."""

    @property
    def stem(self) -> str:
        """Of the names of the files about this task."""
        return task_stem(self.name, self.version, self.fingerprint)


def task_model(group: TaskRecords) -> TaskModel:
    """Everything is computed here or was computed for the markdown pages."""
    task = group.task
    named = [
        Section(title, [values for values in (column_values(group, column) for column in columns) if values.values])
        for title, columns in sections(group).items()
    ]
    headline = next((each for section in named for each in section.columns if each.column.name == task.headline), None)
    ranks = headline.ranks if headline else {}
    finished = method_order(group)
    lost = sorted(group.failed_by_method.keys() - group.by_method.keys())
    return TaskModel(
        task.name,
        task.version,
        task.fingerprint,
        task.title,
        task.kind,
        task.headline,
        verdict(group),
        resolution(group),
        [_row(group, name, ranks.get(name)) for name in [*finished, *lost]],
        [section for section in named if section.columns],
    )


def _row(group: TaskRecords, name: str, rank: int | None) -> Row:
    finished, failed = group.by_method.get(name, []), group.failed_by_method.get(name, [])
    records = [*finished, *failed]
    newest = max(records, key=lambda record: (record.method.version, record.finished))
    provisional = is_provisional(group, name)
    package = newest.method.package
    return Row(
        name,
        newest.method.version,
        newest.method.description,
        f"{package.name} {package.version or '(unknown version)'}, {commit(package)}",
        newest.method.hyperparameters,
        sorted(record.seed for record in finished),
        sorted(record.seed for record in failed),
        None if provisional else rank,
        provisional,
        sorted({sentence for record in records for sentence in record.warnings}),
    )
