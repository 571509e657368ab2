"""A record: everything that is known about one cell, stored as JSON.

Reading a record needs neither torch nor the plugin whose method it is about. The classes below are the schema: a file that
does not fit them is refused with the path of the value that is wrong.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal

import msgspec

from bbh_bench.errors import RecordError, printable
from bbh_bench.records.limits import LARGEST_JSON, check_values, decoded, read_limited
from bbh_bench.records.upgrade import upgraded

SCHEMA = 3
"""3: identity by name, version and fields; typed sections; warnings. ``upgrade`` reads 1 and 2."""

ARRAYS = re.compile(r"(?P<stem>seed\d+)(-[0-9a-f]{8})?\.npz")
"""Name of a file of stored arrays: that of its record, and a part of its own digest where the first name was taken."""

LONGEST_REASON = 500
"""Characters of what a message says of a damaged file; it may quote a name of any length."""

Verdict = Literal["pass", "fail", "not applicable"]
Direction = Literal["lower", "higher", "neither"]
"""Which values of a score are better."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all parts of a record: no field may be missing or unknown."""


class Check(Section, frozen=True, kw_only=True):
    """One item of the audit: whether a robustness score can be trusted."""

    verdict: Verdict
    value: float | None
    """What was measured, in ``unit``. None if the item does not apply."""
    limit: float | None
    """The largest value that passes."""
    unit: str
    description: str


class TaskInfo(Section, frozen=True, kw_only=True):
    """The task of a cell."""

    name: str
    version: int
    kind: str
    """``classification``, ``regression``, or the kind that a third-party task gives itself."""
    title: str
    headline: str
    """Name of the score by which methods are ranked."""
    fingerprint: str
    """Hash of everything that the scores depend on."""
    attacks: list[dict[str, Any]]
    """Each attack of the cell as ``identity.describe`` gives it. Empty if the task has none."""
    threat_model: dict[str, Any] | None
    """What all attacks have in common. None for a task without attacks."""


class Package(Section, frozen=True, kw_only=True):
    """The installed package, or the single file, that provides a method."""

    name: str
    version: str | None
    commit: str | None
    """Git commit of an installation from a repository."""
    dirty: bool | None
    """Whether the working tree had uncommitted changes. None if it is not known."""


class MethodInfo(Section, frozen=True, kw_only=True):
    """The method of a cell. Its identity is name, version and hyperparameters."""

    name: str
    version: int
    description: str
    hyperparameters: dict[str, Any]
    package: Package
    source: str | None
    """Digest of the source code that defines the method. None if it is not known: in records of schema 2, and for classes that
    were defined in an interactive session."""


class Predictions(Section, frozen=True, kw_only=True):
    """The file of stored arrays, beside the record."""

    file: str
    sha256: str


class Hardware(Section, frozen=True, kw_only=True):
    """The machine. Host names are not recorded."""

    system: str
    processor: str | None
    cores: int | None
    threads: int
    """Threads that torch used in this cell."""
    memory_bytes: int | None
    accelerator: str | None
    vector: str | None
    """Vector instructions that torch uses, such as AVX2. The same cell has the same bits only where these agree."""


class Provenance(Section, frozen=True, kw_only=True):
    """Code, packages, machine and command of a run."""

    packages: dict[str, str | None]
    python: str
    commit: str | None
    """Commit of bbh_bench. None if it is not installed from a repository."""
    dirty: bool | None
    diff: str | None
    """SHA-256 of ``git diff HEAD`` where the working tree was dirty."""
    command: str
    device: str
    hardware: Hardware
    started: str
    """ISO 8601, UTC."""
    fit: "Provenance | None"
    """Of the run that fitted the posterior, where it came from the posterior cache."""


class Failure(Section, frozen=True, kw_only=True):
    """Why a cell has no scores."""

    type: str
    message: str
    location: str
    """File name and line where the exception was raised: the method's own code if it took part. May be empty."""
    traceback: str


class Record(Section, frozen=True, kw_only=True):
    """One cell: method x task x seed."""

    schema: int
    status: Literal["finished", "failed"]
    task: TaskInfo
    method: MethodInfo
    seed: int
    scores: dict[str, float]
    """Flat and unrounded, computed from the stored arrays."""
    directions: dict[str, Direction]
    """By the last part of a score's name."""
    curves: dict[str, dict[str, list[float]]]
    """By name; the columns of a curve have equal lengths."""
    audit: dict[str, Check]
    """Empty for a posterior that was not attacked."""
    cost: dict[str, float]
    warnings: list[str]
    """What could not be measured, and why."""
    predictions: Predictions | None
    """None for a failed cell."""
    provenance: Provenance
    error: Failure | None
    """None for a finished cell."""

    @property
    def path(self) -> Path:
        """Place of the record in a store."""
        return cell_path(self.task.name, self.task.version, self.method.name, self.seed)

    @property
    def finished(self) -> bool:
        """Whether the cell has scores."""
        return self.status == "finished"

    def to_json(self) -> str:
        """Indented, keys in the order of the fields, floats unrounded. Raises ``ValueError`` for NaN and infinity."""
        return json.dumps(msgspec.to_builtins(self), indent=1, allow_nan=False) + "\n"

    @staticmethod
    def read(path: Path) -> "Record":
        """Read a record of this schema or an older one. Raises ``RecordError``."""
        try:
            content = decoded(read_limited(path, LARGEST_JSON))
        except (OSError, ValueError, RecursionError) as error:
            raise RecordError(f"The record '{path}' cannot be read ({_reason(error)}). {_remedy(path)}") from error
        schema = content.get("schema") if isinstance(content, dict) else None
        if type(schema) is not int or schema < 1:
            raise RecordError(
                f"'{path}' is not a record: it has no valid schema number. Move it elsewhere, or delete it."
            )
        if schema > SCHEMA:
            raise RecordError(
                f"The record '{path}' has schema {schema} and this bbh-bench reads up to {SCHEMA}. "
                "Upgrade it: pip install --upgrade bbh-bench."
            )
        try:
            record = msgspec.convert(upgraded(content), Record)
            record.check()
        except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
            raise RecordError(f"The record '{path}' is damaged ({_reason(error)}). {_remedy(path)}") from error
        return record

    def check(self) -> None:
        """Raise ``ValueError`` where parts contradict each other, and for values that no table could show."""
        check_values(self)
        for name, curve in self.curves.items():
            if len({len(column) for column in curve.values()}) != 1:
                raise ValueError(f"the columns of the curve '{name}' have different lengths")
        if not self.finished:
            if self.error is None:
                raise ValueError("a failed record must have an error")
            if self.predictions is not None:
                raise ValueError("a failed record must have no predictions")
            return
        match = None if self.predictions is None else ARRAYS.fullmatch(self.predictions.file)
        if match is None or match["stem"] != self.path.stem:
            stem = self.path.stem
            raise ValueError(f"the predictions of a finished record must be in '{stem}.npz' or '{stem}-<8 digits>.npz'")
        if self.task.headline not in self.scores:
            raise ValueError(f"its scores lack the headline, {self.task.headline}")


def cell_path(task: str, version: int, method: str, seed: int) -> Path:
    """``<task>/v<version>/<method>/seed<seed>.json``."""
    return Path(task) / f"v{version}" / method / f"seed{seed}.json"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return printable(f"no {error.args[0]}" if isinstance(error, KeyError) else str(error), LONGEST_REASON)


def _remedy(path: Path) -> str:
    """What a user can do; nothing is to be deleted where there is nothing."""
    if path.is_dir():
        example = next(iter(sorted(path.rglob("seed*.json"))), None)
        return f"Name a record in it, such as '{example}'." if example else "It contains no records."
    if not path.exists():
        return "Check the path: records are named <folder>/<task>/v<version>/<method>/seed<seed>.json."
    return "Restore it, or delete it and run its cell again."
