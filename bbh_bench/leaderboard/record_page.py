"""One record, for a terminal."""

import json
import textwrap
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from bbh_bench.leaderboard.origin import commit, machine
from bbh_bench.records.record import Check, Provenance, Record

WIDTH = 120


def record_page(record: Record) -> str:
    """Everything but the curves: settings, origin, warnings, and either scores, audit and costs or why the cell failed."""
    task, method = record.task, record.method
    parts = [
        f"{task.name} v{task.version}, {method.name} v{method.version}, seed {record.seed}: {record.status}",
        _section("Settings", settings_rows(record)),
        _section("Origin", origin_rows(record)),
    ]
    if record.warnings:
        parts.append("\n".join(["Warnings", *(_paragraph(sentence, "  - ") for sentence in record.warnings)]))
    if not record.finished:
        return "\n\n".join([*parts, _failure(record)])
    parts.append(
        _section("Scores", ((name, f"{value:.6g}", _better(record, name)) for name, value in record.scores.items()))
    )
    parts.append(_section("Audit", (_check(name, check) for name, check in record.audit.items())))
    parts.append(_section("Costs", ((name, f"{value:.6g}") for name, value in record.cost.items())))
    return "\n\n".join(part for part in parts if part)


def _section(title: str, rows: Iterable[Sequence[str]]) -> str:
    """A title and an indented table; nothing without rows."""
    cells = [["", *row] for row in rows]
    return f"{title}\n{tabulate(cells, tablefmt='plain', disable_numparse=True)}" if cells else ""


def settings_rows(record: Record) -> list[tuple[str, str]]:
    """What was run: task, attacks, method and hyperparameters."""
    task, method = record.task, record.method
    package = f"{method.package.name} {method.package.version or '(unknown version)'}, {commit(method.package)}"
    return [
        ("task", f"{task.title} ({task.kind})"),
        ("task fingerprint", task.fingerprint),
        ("attacks", ", ".join(attack["name"] for attack in task.attacks) or "none"),
        ("method", method.description),
        *[(f"  {name}", json.dumps(value, ensure_ascii=False)) for name, value in method.hyperparameters.items()],
        ("package", package),
        ("source digest", method.source or "unknown"),
    ]


def origin_rows(record: Record) -> list[tuple[str, str]]:
    """Where it was run: command, code, packages and machine."""
    run = record.provenance
    packages = ", ".join(f"{name} {version or '(unknown version)'}" for name, version in run.packages.items())
    hardware = run.hardware
    memory = "" if hardware.memory_bytes is None else f", {hardware.memory_bytes / 2**30:.1f} GiB of memory"
    vector = f", {hardware.vector}" if hardware.vector else ""
    return [
        ("run", f"{run.command}, {run.started}, on {run.device}"),
        ("code", commit(run, digits=40)),
        *([("uncommitted diff", run.diff)] if run.diff else []),
        *([("posterior", _fitted_by(run.fit))] if run.fit is not None else []),
        ("packages", packages),
        ("Python", run.python),
        (
            "machine",
            f"{machine(hardware)}, {hardware.cores or 'unknown number of'} cores{vector}{memory}, {hardware.system}",
        ),
    ]


def _fitted_by(fit: Provenance) -> str:
    """Which run fitted a posterior that came from the cache."""
    return f"from the cache; fitted by {fit.command} at {commit(fit, digits=40)} on {fit.started}"


def _better(record: Record, score: str) -> str:
    direction = record.directions.get(score.rpartition("/")[2], "neither")
    return "" if direction == "neither" else f"{direction} is better"


def _check(name: str, check: Check) -> tuple[str, str, str, str]:
    if check.value is None or check.limit is None:
        return name, check.verdict, "", check.description
    return name, check.verdict, f"{check.value:.4g} {check.unit} (limit {check.limit:.4g})", check.description


def _failure(record: Record) -> str:
    if record.error is None:
        return "The record does not say why the cell failed."
    error = record.error
    where = f" at {error.location}" if error.location else ""
    return f"{error.type}{where}: {error.message}\n\n{error.traceback.rstrip()}"


def _paragraph(text: str, bullet: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=bullet, subsequent_indent=" " * len(bullet))
