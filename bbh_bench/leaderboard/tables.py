"""Records grouped by task, and what a column of a table shows of them."""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby

from bbh_bench.leaderboard.deep_ensemble import read_curve
from bbh_bench.leaderboard.images import ImageScores, ReadArrays, image_scores
from bbh_bench.records.record import Check, Direction, Record, TaskInfo
from bbh_bench.records.verifications import Log

COST = "cost/"
"""Precedes the names of costs, to tell them from scores."""
ATTACKED_SETS = {"ood": "OOD", "test": "test", "both": "both"}
"""Which images an attack on the uncertainty perturbs: in names of scores and columns, and as it is written."""
SAFE_NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}")
"""Names that are file names as they are."""
Curve = dict[str, list[float]]
"""Columns of equal length; the first one is the horizontal axis."""


@dataclass(frozen=True)
class Column:
    """One column of a table: which value of a record it shows, and how."""

    heading: str
    """Plain text, with an arrow that says which values are better."""
    name: str
    """Name of a score, or ``cost/`` and the name of a cost."""
    decimals: int = 3
    factor: float = 1.0
    """Values are multiplied by it."""
    direction: Direction = "neither"
    interval: bool = True
    """Whether the first page shows its interval."""

    @property
    def subject(self) -> str:
        """The heading without its arrow."""
        return self.heading.rstrip(" ↓↑")

    @property
    def depends_on_audit(self) -> bool:
        """Whether its values can only be trusted if the attacks passed their audit."""
        return self.name.startswith(("attack/", "robust/", "uncertainty/"))

    @property
    def may_be_bound(self) -> bool:
        """Whether it is a worst case over attacks: a bound only where no white-box attack was possible."""
        return self.name.startswith("robust/")

    def value(self, record: Record) -> float:
        """NaN if the record has no such value, for example because its posterior could not be attacked."""
        if not self.name.startswith(COST):
            return record.scores.get(self.name, math.nan) * self.factor
        cost = self.name.removeprefix(COST)
        if cost.startswith("attack/") and not was_attacked(record):
            return math.nan  # stored as 0 seconds
        return record.cost.get(cost, math.nan) * self.factor


@dataclass(frozen=True)
class Value:
    """What a column shows of one method."""

    mean: float
    """Over seeds, multiplied by the factor of the column."""
    half: float | None
    """Of the 95 % t interval. None for one seed."""
    count: int
    """Seeds with a value."""
    best: bool
    """Whether it is better than that of each other method."""
    struck_out: bool
    """Whether it cannot be trusted, because the method failed the audit of the attacks."""
    bound: bool
    """Whether it only bounds the worst case, because there were no white-box attacks."""


@dataclass(frozen=True)
class ColumnValues:
    """A column with its values by method (none for a method without any), and the ranks of methods that can be compared."""

    column: Column
    values: dict[str, Value]
    ranks: dict[str, int]


@dataclass(frozen=True)
class FailedCheck:
    """A check of the audit that a record failed."""

    seed: int
    name: str
    check: Check


@dataclass(frozen=True)
class TaskRecords:
    """The records of one version of a task with one fingerprint. There is at least one."""

    records: list[Record]
    images: ImageScores = field(default_factory=dict)
    """Scores of single test images, where the predictions are at hand."""
    ensembles: list[float] = field(default_factory=list)
    """Temperature-scaled NLL of ensembles of 1, 2, ... of the seeds of ``map``, where the predictions are at hand."""
    log: Log = field(default_factory=dict)
    """How records were verified."""
    computed: dict[Column, ColumnValues] = field(default_factory=dict, compare=False, repr=False)
    """Columns that ``statistics.column_values`` has computed: pages, figures and exports need the same ones."""

    @property
    def stem(self) -> str:
        """Of the names of the files about this task."""
        return task_stem(self.task.name, self.task.version, self.task.fingerprint)

    @property
    def task(self) -> TaskInfo:
        """As the first record describes it. All of them have the same fingerprint."""
        return self.records[0].task

    @cached_property
    def finished(self) -> list[Record]:
        """Records with scores."""
        return [record for record in self.records if record.finished]

    @cached_property
    def failed(self) -> list[Record]:
        """Records of failed cells."""
        return [record for record in self.records if not record.finished]

    @cached_property
    def by_method(self) -> dict[str, list[Record]]:
        """The finished records of each method that has any, in alphabetical order of the methods."""
        return _by_method(self.finished)

    @cached_property
    def failed_by_method(self) -> dict[str, list[Record]]:
        """The records of failed cells of each method that has any."""
        return _by_method(self.failed)

    @cached_property
    def _score_names(self) -> list[str]:
        return list(dict.fromkeys(name for record in self.finished for name in record.scores))

    @cached_property
    def _curve_names(self) -> list[str]:
        return list(dict.fromkeys(name for record in self.finished for name in record.curves))

    def has(self, name: str) -> bool:
        """Whether any record has a score or a curve of this name."""
        return name in self._score_names or name in self._curve_names

    def score_names(self, prefix: str = "") -> list[str]:
        """Names of the scores that start with ``prefix``, in the order of the records."""
        return [name for name in self._score_names if name.startswith(prefix)]

    def curve_names(self, prefix: str) -> list[str]:
        """Names of the curves that start with ``prefix``, in the order of the records."""
        return [name for name in self._curve_names if name.startswith(prefix)]

    def curves(self, name: str, method: str | None = None) -> list[Curve]:
        """The curves of this name, of one method or of all methods."""
        records = self.finished if method is None else self.by_method.get(method, [])
        return [record.curves[name] for record in records if name in record.curves]

    def ood_sets(self) -> list[str]:
        """Names of the out-of-distribution sets."""
        return list(dict.fromkeys(name.split("/")[1] for name in self.score_names("ood/")))

    def attacks(self) -> list[str]:
        """Names of the attacks that were run."""
        return [name.removeprefix("attack/") for name in self.curve_names("attack/")]

    def attack_norms(self) -> dict[str, str]:
        """The norm of each attack, ``linf`` or ``l2``, by the attack's name."""
        return {attack["name"]: attack["norm"] for record in self.finished for attack in record.task.attacks}

    def uncertainty_sets(self) -> list[str]:
        """Names of the OOD sets with an attack on the uncertainty."""
        return [name.removeprefix("uncertainty/") for name in self.curve_names("uncertainty/")]

    def only_bounds(self, method: str) -> bool:
        """Whether a record of the method lacks the white-box attacks that its task has, since there were no gradients."""
        return method in self._only_bounds

    @cached_property
    def _only_bounds(self) -> set[str]:
        return {name for name, records in self.by_method.items() if any(map(_without_white_box, records))}

    def shifts(self) -> tuple[list[str], list[str]]:
        """Names of the shifts of many images, and of those of a single image, which have class probabilities.

        Corruptions are not among them.
        """
        corruptions = set(self.corruptions())
        names = [name.removeprefix("shift/") for name in self.curve_names("shift/")]
        names = [name for name in names if name not in corruptions]
        single = [name for name in names if "p(0)" in self.curves(f"shift/{name}")[0]]
        return [name for name in names if name not in single], single

    def corruptions(self) -> list[str]:
        """Names of the shifts whose axis is a severity."""
        names = self.curve_names("shift/")
        chosen = [name for name in names if next(iter(self.curves(name)[0]), "") == "severity"]
        return [name.removeprefix("shift/") for name in chosen]

    def failed_checks(self, method: str) -> list[FailedCheck]:
        """Checks of the audit that a method failed, over all seeds."""
        return self._failed_checks.get(method, [])

    @cached_property
    def _failed_checks(self) -> dict[str, list[FailedCheck]]:
        checks: dict[str, list[FailedCheck]] = {}
        for record in self.finished:
            for name, check in record.audit.items():
                if check.verdict == "fail":
                    checks.setdefault(record.method.name, []).append(FailedCheck(record.seed, name, check))
        return checks

    def direction(self, score: str) -> Direction:
        """Which values of a score are better."""
        directions = (record.directions for record in self.finished if score in record.scores)
        return next((known.get(score.rpartition("/")[2], "neither") for known in directions), "neither")


def _by_method(records: Sequence[Record]) -> dict[str, list[Record]]:
    names = sorted({record.method.name for record in records})
    grouped: dict[str, list[Record]] = {name: [] for name in names}
    for record in records:
        grouped[record.method.name].append(record)
    return grouped


def task_stem(name: str, version: int, fingerprint: str) -> str:
    """Of the names of the files about a task."""
    return file_stem(f"{name}-v{version}-{fingerprint[:6]}")


def file_stem(name: str) -> str:
    """A name from outside as part of a file name and of an address: itself, or what is safe of it and a digest of it."""
    if SAFE_NAME.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{re.sub('[^A-Za-z0-9_-]+', '-', name)[:60].strip('-') or 'name'}-{digest}"


def _without_white_box(record: Record) -> bool:
    white = [attack["name"] for attack in record.task.attacks if attack.get("access") == "white"]
    return was_attacked(record) and bool(white) and not any(f"attack/{name}" in record.curves for name in white)


def was_attacked(record: Record) -> bool:
    """Whether the record has scores under attack."""
    return any(name.startswith("attack/") for name in record.curves)


def by_task(records: Sequence[Record], read: ReadArrays | None = None, log: Log | None = None) -> list[TaskRecords]:
    """Group records by task, version and fingerprint: values from different task definitions cannot be compared.

    With ``read``, which reads the stored predictions, groups have scores of single images. ``log`` says how records were
    verified.
    """

    def key(record: Record) -> tuple[str, int, str]:
        return record.task.name, record.task.version, record.task.fingerprint

    groups = [list(group) for _, group in groupby(sorted(records, key=key), key=key)]
    if read is None:
        return [TaskRecords(group, log=log or {}) for group in groups]
    return [TaskRecords(group, image_scores(group, read), read_curve(group, read), log or {}) for group in groups]
