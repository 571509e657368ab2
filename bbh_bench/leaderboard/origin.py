"""Where the rows of a table come from: code, packages, machine and command."""

from collections import Counter

from bbh_bench.leaderboard.rendering import code, escaped
from bbh_bench.leaderboard.tables import TaskRecords
from bbh_bench.records.record import Hardware, Package, Provenance, Record


def origin(group: TaskRecords) -> str:
    """The task's fingerprint, and a list item for each combination of code, machine and command."""
    lines = Counter(_line(record) for record in group.records)
    items = [f"- {n} {'cell' if n == 1 else 'cells'}: {line}" for line, n in lines.items()]
    return "\n".join([f"Task fingerprint: {code(group.task.fingerprint)}. Origin of the records:", "", *items])


def commit(provenance: Provenance | Package, digits: int = 10) -> str:
    """The commit in words, and whether the working tree had changes."""
    if provenance.commit is None:
        return "unknown commit"
    return f"commit {provenance.commit[:digits]}" + (" with uncommitted changes" if provenance.dirty else "")


def machine(hardware: Hardware) -> str:
    """Accelerator or processor, and threads."""
    threads = "1 thread" if hardware.threads == 1 else f"{hardware.threads} threads"
    return hardware.accelerator or f"{hardware.processor or 'unknown processor'}, {threads}"


def version(provenance: Provenance, package: str) -> str:
    """A package with its version."""
    return f"{package} {provenance.packages.get(package) or '(unknown version)'}"


def _line(record: Record) -> str:
    run, package = record.provenance, record.method.package
    parts = [
        f"{version(run, 'bbh-bench')} ({commit(run)})",
        *([] if package.name == "bbh-bench" else [f"{package.name} {package.version or '(unknown version)'}"]),
        version(run, "torch"),
        machine(run.hardware),
    ]
    line = f"{escaped(', '.join(parts))}, {code(run.command)}"
    if run.fit is not None:
        line += f"; posterior from the cache, fitted by {code(run.fit.command)} ({commit(run.fit)})"
    return line
