"""A record: all that is known of one cell, as JSON. Reading one needs neither torch nor the plugin that made it."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from bbh_bench.errors import RecordError

SCHEMA = 2  # 2: with `audit`


@dataclass(frozen=True)
class Record:
    """One cell: method x task x seed, finished or failed."""

    schema: int
    status: Literal["finished", "failed"]
    task: dict[str, Any]
    """name, version, title, headline, fingerprint, and of one that attacks ``attacks``, as ``describe`` gives them, and
    ``threat_model``, what all of them obey."""
    method: dict[str, Any]
    """name, distribution, line, and ``hyperparameters`` as ``describe`` gives them."""
    seed: int
    scores: dict[str, float]
    """Flat and unrounded; computed from the stored predictions."""
    better: dict[str, str]
    """For the last part of each score's name: lower, higher or neither."""
    curves: dict[str, dict[str, list[float]]]
    audit: dict[str, dict[str, Any]]
    """``Check`` by name: whether the figures of robustness mean what they seem to. Empty for what wasn't attacked."""
    cost: dict[str, float]
    predictions: dict[str, str]
    """file, beside the record, and its sha256."""
    provenance: dict[str, Any]
    error: dict[str, str]
    """Of a failed cell: type, message, traceback."""

    @property
    def path(self) -> Path:
        """Where the record lies in a store: the path is the identity."""
        return cell_path(self.task["name"], self.task["version"], self.method["name"], self.seed)

    def to_json(self) -> str:
        """Indented, keys in the order of the fields, floats to the last bit."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    @staticmethod
    def read(path: Path) -> "Record":
        """Raises ``RecordError`` for what isn't a record, and for one of a newer schema."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        except (OSError, ValueError) as error:
            raise RecordError(
                f"The record '{path}' can't be read ({error}). Delete it and run its cell again."
            ) from error
        schema = content.get("schema") if isinstance(content, dict) else None
        if type(schema) is not int:
            raise RecordError(f"'{path}' is no record: it has no schema number. Delete it, or move it elsewhere.")
        if schema > SCHEMA:
            raise RecordError(
                f"The record '{path}' is of schema {schema} and this bbh-bench reads up to {SCHEMA}. "
                "Upgrade it: pip install --upgrade bbh-bench."
            )
        if schema == 1:
            content = {"audit": {}} | content | {"schema": SCHEMA}
        elif schema < SCHEMA:
            raise RecordError(f"The record '{path}' is of schema {schema}, which never was. Run its cell again.")
        expected = {field.name for field in fields(Record)}
        if content.keys() != expected:
            wrong = ", ".join(sorted(content.keys() ^ expected))
            raise RecordError(f"The record '{path}' has missing or unknown fields ({wrong}). Run its cell again.")
        try:
            return Record(**content)._checked()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RecordError(f"The record '{path}' is damaged ({error!r}). Run its cell again.") from error

    def _checked(self) -> "Record":
        """Itself. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for what isn't as ``Record`` says."""
        _expect(self.task, {"name": str, "version": int, "title": str, "headline": str, "fingerprint": str})
        _expect(self.method, {"name": str, "distribution": str, "line": str, "hyperparameters": dict})
        made, optional = self.provenance, (str, type(None))
        _expect(made, {"packages": dict, "commit": optional, "dirty": (bool, type(None)), "command": str})
        _expect(made, {"device": str, "hardware": dict, "started": str})
        _expect(made["hardware"], {"accelerator": optional, "processor": optional, "threads": int})
        _expect(made["packages"], {"bbh-bench": optional, "torch": optional})
        _expect({"status": self.status, "seed": self.seed}, {"status": str, "seed": int})
        for numbers in (self.scores, self.cost):
            _expect(numbers, dict.fromkeys(numbers, (int, float)))
        _expect(self.better, dict.fromkeys(self.better, str))
        for check in self.audit.values():
            number = (int, float, type(None))
            _expect(check, {"verdict": str, "figure": number, "limit": number, "unit": str, "line": str})
            if check["verdict"] not in ("pass", "fail", "not applicable"):
                raise ValueError(f"verdict {check['verdict']!r}")
        for curve in self.curves.values():
            _expect(curve, dict.fromkeys(curve, list))
            if len({len(column) for column in curve.values()}) != 1:
                raise ValueError("a curve has columns of different lengths")
        if self.status == "finished":
            _expect(self.predictions, {"file": str, "sha256": str})
            if self.predictions["file"] != self.path.with_suffix(".npz").name:
                raise ValueError(f"its predictions are said to be in {self.predictions['file']!r}")
            if self.task["headline"] not in self.scores:
                raise ValueError(f"no {self.task['headline']} among its scores")
        elif self.status == "failed":
            _expect(self.error, {"type": str, "message": str, "traceback": str})
        else:
            raise ValueError(f"status {self.status!r}")
        return self


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _expect(values: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    """Raise ``KeyError`` or ``TypeError`` unless ``values`` is a mapping that has these keys, with values of these kinds."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{values!r} where a mapping should be")
    for key, kind in kinds.items():
        if not isinstance(values[key], kind):
            raise TypeError(f"{key} is {values[key]!r}")


def cell_path(task: str, version: int, method: str, seed: int) -> Path:
    """``<task>/v<n>/<method>/seed<k>.json``."""
    return Path(task) / f"v{version}" / method / f"seed{seed}.json"


def fingerprint(specification: Mapping[str, object]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a task's specification as canonical JSON."""
    canonical = json.dumps(specification, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def describe(thing: object) -> Any:
    """A dataclass as JSON values with its class's name, so that ``Ensemble(base=Map())`` says what its base was."""
    if is_dataclass(thing) and not isinstance(thing, type):
        named = {"class": f"{type(thing).__module__}.{type(thing).__qualname__}"}
        return named | {field.name: describe(getattr(thing, field.name)) for field in fields(thing)}
    if isinstance(thing, Mapping):
        return {str(key): describe(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [describe(value) for value in thing]
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))  # an address would differ from run to run
