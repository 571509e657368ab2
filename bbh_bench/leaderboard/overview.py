"""The first page of a board: for each task a verdict, one narrow table and one figure, and links to the rest."""

from collections.abc import Sequence

from bbh_bench.leaderboard import figures
from bbh_bench.leaderboard.audit import struck_out_reasons
from bbh_bench.leaderboard.columns import overview_columns
from bbh_bench.leaderboard.drawing import drawn_methods
from bbh_bench.leaderboard.fidelity_figure import fidelity_sets
from bbh_bench.leaderboard.glossary import GLOSSARY
from bbh_bench.leaderboard.page import Block, figure, markdown
from bbh_bench.leaderboard.rendering import DASH, Table, column_texts, escaped, paragraph, short
from bbh_bench.leaderboard.statistics import column_values, is_provisional, method_order
from bbh_bench.leaderboard.summary_figure import has_summary
from bbh_bench.leaderboard.tables import Column, TaskRecords
from bbh_bench.leaderboard.task_page import page_name, title
from bbh_bench.leaderboard.verdict import resolution, verdict
from bbh_bench.leaderboard.verification import sentence

INTRODUCTION = """# bbh_bench leaderboard

Rendered by `bbh-bench report` from the records in this folder."""
PROVISIONAL = "*"
"""Marks a method with fewer than three seeds."""


def first_page(sections: Sequence[str]) -> str:
    """The whole first page, from the markdown of the section of each task."""
    return markdown(
        [INTRODUCTION, *(text.rstrip("\n") for text in sections or ["There are no records yet."]), GLOSSARY]
    )


def section(group: TaskRecords) -> list[Block]:
    """What the first page shows of one task."""
    blocks: list[Block] = [f"## {title(group)}", *_sentences(group), overview_table(group), notes(group)]
    blocks += struck_out_reasons(group)
    if figures.has_fits(group):
        blocks.append(figure(group, "fits", "Data, true function and predictions of each method"))
    elif has_summary(group):
        alt = "Likelihood against cost; worst-case accuracy and OOD AUROC under attack against epsilon"
        blocks.append(figure(group, "summary", alt))
    elif fidelity_sets(group):
        blocks.append(
            figure(group, "fidelity", "Total variation of each method from the exact posterior, with the floor")
        )
    return [*blocks, f"[All tables, figures, failures and the origin of the records]({page_name(group)})"]


def _sentences(group: TaskRecords) -> list[str]:
    text = " ".join([verdict(group), resolution(group)]).strip()
    return [paragraph(text)] if text else []


def overview_table(group: TaskRecords) -> Table:
    """At most nine columns: rank and method, scores, relative cost. Methods of which every cell failed come last."""
    ordered = method_order(group)
    headline = next((column for column in overview_columns(group) if column.name == group.task.headline), None)
    ranks = column_values(group, headline).ranks if headline else {}
    rows = {name: [_ranked(group, name, ranks)] for name in ordered}
    headings = ["method"]
    for heading, columns in _headings(group).items():
        texts = [_texts(group, column) for column in columns]
        headings.append(heading)
        for name, row in rows.items():
            row.append(" / ".join(text.get(name, DASH) for text in texts))
    lost = sorted(group.failed_by_method.keys() - group.by_method.keys())
    blank = [DASH] * (len(headings) - 1)
    return Table(headings, [*rows.values(), *([f"{name} (failed)", *blank] for name in lost)])


def _ranked(group: TaskRecords, name: str, ranks: dict[str, int]) -> str:
    """``1. map``; an asterisk in place of the rank of a provisional row."""
    if is_provisional(group, name):
        return f"{PROVISIONAL} {name}"
    return f"{ranks[name]}. {name}" if name in ranks else name


def _headings(group: TaskRecords) -> dict[str, list[Column]]:
    """Columns with any value, by heading; two that share a heading share a column of the table."""
    headings: dict[str, list[Column]] = {}
    for column in overview_columns(group):
        if column_values(group, column).values:
            headings.setdefault(column.heading, []).append(column)
    return headings


def _texts(group: TaskRecords, column: Column) -> dict[str, str]:
    """The short text of each method that has a value."""
    return column_texts(group, column, lambda _, value: short(value, column))


def notes(group: TaskRecords) -> str:
    """Seeds, and what the columns leave out."""
    counts = {name: len(group.by_method[name]) for name in method_order(group)}
    sentences = []
    if counts:
        full = sorted({n for name, n in counts.items() if not is_provisional(group, name)})
        seeds = f"{full[0]}" if len(full) == 1 else f"{full[0]} to {full[-1]}" if full else ""
        few = ", ".join(f"{name} ({n})" for name, n in counts.items() if is_provisional(group, name))
        sentences += [f"{seeds} seeds."] if seeds else []
        sentences += [f"Provisional, with their numbers of seeds: {escaped(few)}."] if few else []
    if len(counts) > len(drawn_methods(group)):
        sentences.append(f"Figures with lines show the {len(drawn_methods(group))} best methods.")
    warned = [name for name, records in group.by_method.items() if any(record.warnings for record in records)]
    sentences += [f"With warnings, which stand on the task's page: {escaped(', '.join(warned))}."] if warned else []
    sentences += [f"OOD set: {escaped(name)}." for name in group.ood_sets()[:1]]
    if group.has("robust/linf"):
        sentences.append("Robustness is the worst case over the L∞ attacks.")
    return paragraph(" ".join([*sentences, sentence(group)]).strip())
