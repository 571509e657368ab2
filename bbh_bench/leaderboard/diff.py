"""What differs between two records: settings, code, machine, scores, curves and costs."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import msgspec
from tabulate import tabulate

from bbh_bench.leaderboard.tables import Curve
from bbh_bench.records.record import Provenance, Record

Group = Literal["settings", "code", "machine", "scores", "curves", "costs"]
GROUPS: tuple[Group, ...] = ("settings", "code", "machine", "scores", "curves", "costs")
LONGEST = 60
"""Characters of a value that are shown."""
CONTEXT = 20
"""Characters that are shown before the first difference of two long texts."""


class Absent(Enum):
    """Stands for the value of a part that only the other record has."""

    ABSENT = "absent"


@dataclass(frozen=True)
class Difference:
    """One part in which two records differ."""

    group: Group
    name: str
    first: Any
    """A JSON value, a curve, or ``Absent.ABSENT``."""
    second: Any
    change: float | None
    """Second less first, if both are numbers. Of a curve: the largest absolute difference of a point. None if there is no such
    value, for example because the curves do not have the same columns of the same lengths."""


def differences(first: Record, second: Record) -> list[Difference]:
    """The parts that differ, in the order of ``GROUPS``. The times at which runs started are not compared.

    If a posterior came from the cache, the run that fitted it is compared too: its parts have names that start with ``fit/``.
    """
    cached = first.provenance.fit is not None or second.provenance.fit is not None
    old, new = _parts(first, cached), _parts(second, cached)
    return [
        difference
        for group in GROUPS
        for name in dict.fromkeys([*old[group], *new[group]])
        for difference in _difference(
            group, name, old[group].get(name, Absent.ABSENT), new[group].get(name, Absent.ABSENT)
        )
    ]


def diff_page(first: Record, second: Record) -> str:
    """The differences as text for a terminal, one table for each group; ``no differences`` if there are none."""
    all_differences = differences(first, second)
    parts = []
    for group in GROUPS:
        own = [each for each in all_differences if each.group == group]
        if own and group == "curves":
            parts.append("\n".join(f"curves differ: {each.name}, {_curve_change(each)}" for each in own))
        elif own:
            rows = [(each.name, *_texts(each), _change(each.change)) for each in own]
            headings = (group, "first", "second", "difference")
            parts.append(tabulate(rows, headings, tablefmt="simple", disable_numparse=True))
    return "\n\n".join(parts) or "no differences"


def _parts(record: Record, cached: bool) -> dict[Group, dict[str, Any]]:
    """All parts of a record by group and name. ``cached``: also those of the run that fitted the posterior."""
    run = record.provenance
    fit = run.fit or run
    method = msgspec.to_builtins(record.method)
    package, source = method.pop("package"), method.pop("source")
    results = {
        "status": record.status,
        "error": msgspec.to_builtins(record.error),
        "warnings": record.warnings,
        "predictions": {"sha256": record.predictions and record.predictions.sha256},
        "audit": msgspec.to_builtins(record.audit),
        "directions": record.directions,
    }
    settings = {"task": msgspec.to_builtins(record.task), "method": method, "seed": record.seed, "command": run.command}
    code = {"method": {"package": package, "source": source}} | _code(run)
    if cached:
        settings |= {
            "posterior": "fitted by this run" if run.fit is None else "from the cache",
            "fit": {"command": fit.command},
        }
        code |= {"fit": _code(fit)}
    machine = _machine(run) | ({"fit": _machine(fit)} if cached else {})
    return {
        "settings": dict(_flat(settings)),
        "code": dict(_flat(code)),
        "machine": dict(_flat(machine)),
        "scores": record.scores | dict(_flat(results)),
        "curves": dict(record.curves),
        "costs": dict(record.cost),
    }


def _code(run: Provenance) -> dict[str, Any]:
    return {"commit": run.commit, "dirty": run.dirty, "diff": run.diff, "python": run.python, "packages": run.packages}


def _machine(run: Provenance) -> dict[str, Any]:
    return {"device": run.device, "hardware": msgspec.to_builtins(run.hardware)}


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as ``outer/inner`` names. The attacks, a list of mappings, are distinguished by their names."""
    for key, item in value.items():
        nested = item
        if isinstance(item, list) and item and all(isinstance(each, Mapping) and "name" in each for each in item):
            nested = {each["name"]: each for each in item}
        if isinstance(nested, Mapping):
            yield from _flat(nested, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", item


def _difference(group: Group, name: str, first: Any, second: Any) -> Iterator[Difference]:
    """One or none."""
    if first == second:
        return
    change = None
    if group == "curves" and Absent.ABSENT not in (first, second):
        change = _largest_change(first, second)
    elif _is_number(first) and _is_number(second):
        change = second - first
    yield Difference(group, name, first, second, change)


def _largest_change(first: Curve, second: Curve) -> float | None:
    if {name: len(column) for name, column in first.items()} != {name: len(column) for name, column in second.items()}:
        return None
    return max(abs(a - b) for name in first for a, b in zip(first[name], second[name], strict=True))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _curve_change(difference: Difference) -> str:
    if difference.first is Absent.ABSENT or difference.second is Absent.ABSENT:
        return f"only in the {'second' if difference.first is Absent.ABSENT else 'first'} record"
    if difference.change is None:
        return "other columns or other points"
    return f"largest difference {difference.change:.3g}"


def _texts(difference: Difference) -> list[str]:
    """Both values. Of long texts the common beginning is left out, and then what is too long."""
    texts = [_text(difference.first), _text(difference.second)]
    if max(map(len, texts)) <= LONGEST:
        return texts
    pairs = enumerate(zip(*texts, strict=False))
    common = next((k for k, (first, second) in pairs if first != second), min(map(len, texts)))
    start = max(0, common - CONTEXT)
    shortened = [f"{'...' if start else ''}{text[start:]}" for text in texts]
    return [text if len(text) <= LONGEST else f"{text[:LONGEST]}..." for text in shortened]


def _text(value: Any) -> str:
    """One line."""
    if value is Absent.ABSENT:
        return "absent"
    if _is_number(value):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split())


def _change(change: float | None) -> str:
    return "" if change is None else f"{change:+.3g}"
