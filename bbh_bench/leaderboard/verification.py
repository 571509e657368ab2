"""Which rows were verified, and how: from the log beside the records."""

from collections import Counter
from collections.abc import Iterable, Iterator

from bbh_bench.leaderboard.page import Block
from bbh_bench.leaderboard.rendering import DASH, Table, code, escaped, paragraph
from bbh_bench.leaderboard.statistics import method_order
from bbh_bench.leaderboard.tables import TaskRecords
from bbh_bench.records.record import Record
from bbh_bench.records.verifications import LEVELS, Level, Verification, verified

CAPTION = (
    "Numbers of cells. *recomputed*: their scores follow from the stored predictions. *rerun*: they were run again with the "
    "same result, to the bit or within the noise of their seeds. *signed off*: somebody vouches for them."
)


def verification(group: TaskRecords) -> list[Block]:
    """A table of the levels of each method. Nothing if no record was verified."""
    entries = {name: list(_verified(group, group.by_method[name])) for name in method_order(group)}
    if not any(entries.values()):
        return []
    rows = [
        [name, str(len(group.by_method[name])), *(_text(own, level) for level in LEVELS)]
        for name, own in entries.items()
    ]
    return [
        "## Verification",
        paragraph(CAPTION),
        Table(["method", "n", *LEVELS], rows),
        *_signatures(entries.values()),
    ]


def sentence(group: TaskRecords) -> str:
    """Of how many cells each level holds; empty if no record was verified."""
    numbers = [
        (sum(any(entry.level == level for entry in verified(record, group.log)) for record in group.finished), level)
        for level in LEVELS
    ]
    counts = ", ".join(f"{n} {level}" for n, level in numbers if n)
    return f"Verified, of {len(group.finished)} cells: {counts}." if counts else ""


def rows(entries: Iterable[Verification]) -> list[tuple[str, str]]:
    """What the page of a record says about it."""
    return [
        (
            entry.level,
            ", ".join(
                part
                for part in (
                    entry.result,
                    entry.by,
                    entry.when,
                    f"bbh-bench {entry.suite}",
                    f"commit {entry.commit[:10]}" if entry.commit else "",
                    entry.vector or "",
                )
                if part
            ),
        )
        for entry in entries
    ] or [("verified", "no")]


def _verified(group: TaskRecords, records: Iterable[Record]) -> Iterator[Verification]:
    """For each record its last entry of each level."""
    for record in records:
        yield from {entry.level: entry for entry in verified(record, group.log)}.values()


def _text(entries: Iterable[Verification], level: Level) -> str:
    """``3``; for reruns ``3 (2 to the bit)``."""
    results = Counter(entry.result for entry in entries if entry.level == level)
    if not results:
        return DASH
    bits = results["to the bit"]
    return str(results.total()) + (f" ({bits} to the bit)" if bits else "")


def _signatures(entries: Iterable[Iterable[Verification]]) -> list[Block]:
    """Who signed off, when, and with which code."""
    signed = {
        (entry.by, entry.when[:10], (entry.commit or "unknown")[:10])
        for own in entries
        for entry in own
        if entry.level == "signed off"
    }
    lines = [f"- {escaped(by)}, {escaped(day)}, commit {code(commit)}" for by, day, commit in sorted(signed)]
    return ["\n".join(["Signed off by:", "", *lines])] if lines else []
