"""A table of a task's scores for the templates: numbers to sort by, texts to read, marks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bbh_bench.leaderboard.explanations import term
from bbh_bench.leaderboard.model import Row, Section
from bbh_bench.leaderboard.rendering import BOUNDS, DASH, short
from bbh_bench.leaderboard.tables import ColumnValues

NARROW = "\u00a0"
"""A space at which no line is broken: an arrow stays with its word."""


@dataclass(frozen=True)
class Heading:
    """Of a column."""

    text: str
    name: str
    """Of the score, for CSV."""
    term: str
    """Key of the explanation. Empty without one."""
    sections: str
    """Numbers of the sections that have the column, with spaces between them."""


@dataclass(frozen=True)
class Cell:
    """One value."""

    text: str
    value: float | None = None
    half: float | None = None
    best: bool = False
    struck_out: bool = False


@dataclass(frozen=True)
class TableRow:
    """One method."""

    name: str
    link: str
    provisional: bool
    search: str
    """Further words by which a filter finds it."""
    cells: list[Cell]


@dataclass(frozen=True)
class ScoreTable:
    """Headings of all columns, that of the names included, and rows."""

    headings: list[Heading]
    rows: list[TableRow]
    sections: list[str]
    """Titles. Empty where columns cannot be chosen."""


def score_table(
    rows: Sequence[Row], sections: Sequence[Section], link: Callable[[str], str], choose: bool = False
) -> ScoreTable:
    """One row for each method: rank, seeds, and every column once. ``choose``: columns can be chosen by section."""
    columns: dict[str, ColumnValues] = {}
    owners: dict[str, list[str]] = {}
    for k, section in enumerate(sections):
        for each in section.columns:
            columns.setdefault(each.column.name, each)
            owners.setdefault(each.column.name, []).append(str(k))
    fixed = [Heading(text, text, "", "") for text in ("method", "rank", "seeds")]
    texts = _headings(
        {name: (each.column.heading, sections[int(owners[name][0])].title) for name, each in columns.items()}
    )
    headings = [Heading(texts[name], name, term(name), " ".join(owners[name]) if choose else "") for name in columns]
    return ScoreTable(
        [*fixed, *headings],
        [_row(row, list(columns.values()), link(row.method)) for row in rows],
        [section.title for section in sections] if choose else [],
    )


def _headings(columns: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Headings by name of the column, from heading and section: with the section where an earlier column has the heading."""
    texts: dict[str, str] = {}
    for name, (heading, section) in columns.items():
        text = heading if heading not in texts.values() else f"{heading} ({section})"
        texts[name] = text
    return {name: text.replace(" ↓", NARROW + "↓").replace(" ↑", NARROW + "↑") for name, text in texts.items()}


def _row(row: Row, columns: Sequence[ColumnValues], link: str) -> TableRow:
    rank = Cell(DASH) if row.rank is None else Cell(str(row.rank), row.rank)
    failed = f" ({len(row.failed)} failed)" if row.failed else ""
    seeds = Cell(f"{len(row.seeds)}{failed}", len(row.seeds))
    search = f"{row.description} {row.package}"
    return TableRow(
        row.method, link, row.provisional, search, [rank, seeds, *(_cell(each, row.method) for each in columns)]
    )


def _cell(column: ColumnValues, method: str) -> Cell:
    value = column.values.get(method)
    if value is None:
        return Cell(DASH)
    bound = BOUNDS[column.column.direction] if value.bound else ""
    text = bound + short(value, column.column)
    return Cell(text, value.mean, value.half, value.best, value.struck_out)
