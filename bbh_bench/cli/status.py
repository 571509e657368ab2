"""``bbh-bench status``: what is finished, running and failed in a records folder."""

import argparse
import json
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bbh_bench.cli.arguments import Commands, add_records

if TYPE_CHECKING:
    from bbh_bench.cli.folder_status import FolderStatus
    from bbh_bench.records.record import Record
    from bbh_bench.running.claim import Claim

WIDTH = 100
"""Columns of the page."""


def add_parser(commands: Commands) -> None:
    """The arguments of ``status``."""
    parser = commands.add_parser("status", help="what is finished, running and failed in a folder, and why")
    add_records(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Print the page, or JSON. Returns 0 also if cells failed: reading them has not."""
    from bbh_bench.cli.folder_status import folder_status

    root = Path(options.records)
    status = folder_status(root)
    print(json.dumps(as_json(status, root), indent=1) if options.json else page(status, root))
    return 0


def totals(status: "FolderStatus") -> dict[str, int]:
    """Numbers of cells."""
    return {
        "finished": len(status.finished),
        "running": len(status.running),
        "failed": len(status.failed),
        "stale": len(status.stale),
        "unreadable": len(status.unreadable),
    }


def page(status: "FolderStatus", root: Path) -> str:
    """Readable, at most ``WIDTH`` columns wide."""
    numbers = totals(status)
    words = {"stale": "claimed by runs that ended"}
    shown = [
        f"{n} {words.get(name, name)}" for name, n in numbers.items() if n or name in ("finished", "running", "failed")
    ]
    parts = [_wrapped(f"{root}: {', '.join(shown)}"), _methods(status), _running(status.running), _stale(status.stale)]
    failed = [f"{_cell(record.path)}: {why(record)}" for record in status.failed]
    parts.append(_section("Failed (`bbh-bench show FILE` prints the traceback)", failed))
    parts.append(_section("Unreadable", status.unreadable))
    return "\n\n".join(part for part in parts if part)


def as_json(status: "FolderStatus", root: Path) -> dict[str, Any]:
    """For programs. Cells are named by the paths of their records in the folder."""
    return {
        "records": str(root),
        "totals": totals(status),
        "methods": [_method(status, folder) for folder in status.folders],
        "running": [_claim(claim) for claim in status.running],
        "stale": [_claim(claim) for claim in status.stale],
        "failed": [{"cell": record.path.as_posix(), "why": why(record)} for record in status.failed],
        "unreadable": status.unreadable,
    }


def why(record: "Record") -> str:
    """Why a cell failed, in one line."""
    from bbh_bench.cli.lines import failure

    return failure(record.error) if record.error is not None else ""


def _method(status: "FolderStatus", folder: Path) -> dict[str, Any]:
    """The line of a method on a task."""
    from bbh_bench.cli.folder_status import mean_seconds

    def count(cells: "Iterable[Record | Claim]") -> int:
        return sum(cell.path.parent == folder for cell in cells)

    seconds = mean_seconds(status.finished).get(folder)
    return {
        "task": folder.parts[0],
        "version": int(folder.parts[1].removeprefix("v")),
        "method": folder.parts[2],
        "finished": count(status.finished),
        "running": count(status.running),
        "failed": count(status.failed),
        "stale": count(status.stale),
        "mean_minutes": None if seconds is None else seconds / 60,
    }


def _claim(claim: "Claim") -> dict[str, Any]:
    return {
        "cell": claim.path.as_posix(),
        "host": claim.host,
        "pid": claim.pid,
        "run": claim.run,
        "began": claim.began,
        "stage": claim.stage,
        "fraction": claim.fraction,
        "loss": claim.loss,
        "heartbeat_seconds": round(claim.age, 1),
    }


def _methods(status: "FolderStatus") -> str:
    rows = [_method(status, folder) for folder in status.folders]
    table = [
        [
            _short(f"{row['task']} v{row['version']}", 28),
            _short(row["method"], 22),
            *(row[name] or "" for name in ("finished", "running", "failed", "stale")),
            "" if row["mean_minutes"] is None else f"{row['mean_minutes']:.2f}",
        ]
        for row in rows
    ]
    return _table(table, ["task", "method", "finished", "running", "failed", "stale", "mean minutes"], right=5)


def _running(claims: "Sequence[Claim]") -> str:
    from bbh_bench.cli.durations import duration

    table = [
        [
            _short(_cell(claim.path), 26),
            _short(f"{claim.host} {claim.pid or ''}", 15),
            _short(claim.stage, 14),
            "" if claim.fraction is None else f"{100 * claim.fraction:.0f} %",
            "" if claim.loss is None else f"{claim.loss:.3g}",
            (claim.began or "")[5:16].replace("T", " "),
            duration(claim.age),
        ]
        for claim in claims
    ]
    return _table(table, ["running", "machine", "stage", "fit", "loss", "since (UTC)", "heartbeat"])


def _stale(claims: "Sequence[Claim]") -> str:
    from bbh_bench.cli.durations import duration

    left = [
        f"{_cell(claim.path)}: {claim.stage}, on {claim.host} (process {claim.pid or 'unknown'}), "
        f"last heartbeat {duration(claim.age)} ago"
        for claim in claims
    ]
    return _section("Stale claims of runs that ended (the next run removes them)", left)


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *map(_wrapped, lines)]) if lines else ""


def _table(rows: Sequence[Sequence[object]], headers: Sequence[str], right: int = 0) -> str:
    """A plain table; the last ``right`` columns are aligned to the right."""
    from tabulate import tabulate

    align = ["left"] * (len(headers) - right) + ["right"] * right
    table = tabulate(rows, headers, tablefmt="plain", disable_numparse=True, colalign=align) if rows else ""
    return "\n".join(line.rstrip() for line in table.splitlines())


def _cell(path: Path) -> str:
    """``digits5 v2 map seed0``."""
    return " ".join(path.with_suffix("").parts)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
