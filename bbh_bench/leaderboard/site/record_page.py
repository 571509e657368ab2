"""What the page of a record shows, and the one command that makes the record again."""

import shlex
from dataclasses import dataclass

from bbh_bench.leaderboard.record_page import origin_rows, settings_rows
from bbh_bench.leaderboard.verification import rows
from bbh_bench.records.record import Record
from bbh_bench.records.verifications import Verification

KEPT_OPTIONS = ("--attack", "--device", "--plugin")
KEPT_FLAGS = ("--no-fast",)
"""Options of the original command that decide scores; the others choose cells, folders and how cells are distributed."""


@dataclass(frozen=True)
class RecordPage:
    """Texts of one record's page. All of them come from outside: templates escape them."""

    title: str
    commands: list[str]
    """Which code to use, if it is known, then the command that makes the record again, then how to compare."""
    settings: list[tuple[str, str]]
    origin: list[tuple[str, str]]
    scores: list[tuple[str, str, str]]
    """Name, value, which values are better."""
    checks: list[tuple[str, str, str, str]]
    """Name, verdict, value with its limit, description."""
    costs: list[tuple[str, str]]
    curves: dict[str, dict[str, list[float]]]
    """Scripts show them: as text they would be most of the page."""
    warnings: list[str]
    error: str
    traceback: str


def record_page(record: Record, entries: list[Verification]) -> RecordPage:
    """Everything that a record holds, and the entries of the log about it."""
    task, method = record.task, record.method
    error = record.error
    where = f" at {error.location}" if error and error.location else ""
    return RecordPage(
        title=f"{method.name} on {task.name} v{task.version}, seed {record.seed}",
        commands=commands(record),
        settings=settings_rows(record),
        origin=[*origin_rows(record), *rows(entries)],
        scores=[(name, f"{value:.6g}", _better(record, name)) for name, value in record.scores.items()],
        checks=[
            (
                name.replace("_", " "),
                check.verdict,
                ""
                if check.value is None or check.limit is None
                else f"{check.value:.4g} {check.unit} (limit {check.limit:.4g})",
                check.description,
            )
            for name, check in record.audit.items()
        ],
        costs=[(name, f"{value:.6g}") for name, value in record.cost.items()],
        curves=record.curves,
        warnings=record.warnings,
        error=f"{error.type}{where}: {error.message}" if error else "",
        traceback=error.traceback if error else "",
    )


def _better(record: Record, score: str) -> str:
    direction = record.directions.get(score.rpartition("/")[2], "neither")
    return "" if direction == "neither" else f"{direction} is better"


def commands(record: Record) -> list[str]:
    """How to make a record again, in a shell: the commit of the suite, the run of this cell, the comparison."""
    run = record.provenance
    cell = ["--task", record.task.name, "--method", record.method.name, "--seeds", str(record.seed)]
    again = shlex.join(["bbh-bench", "run", *cell, *_kept(run.command), "--records", "again"])
    path = str(record.path)
    first = [f"git checkout {shlex.quote(run.commit)}"] if run.commit and not run.dirty else []
    return [*first, again, shlex.join(["bbh-bench", "diff", f"leaderboard/{path}", f"again/{path}"])]


def _kept(command: str) -> list[str]:
    """The options of a command that decide scores, with their values."""
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    kept: list[str] = []
    for k, word in enumerate(words):
        if word in KEPT_FLAGS:
            kept.append(word)
        elif word in KEPT_OPTIONS and k + 1 < len(words):
            kept += [word, words[k + 1]]
        elif word.partition("=")[0] in KEPT_OPTIONS and "=" in word:
            kept.append(word)
    return kept
