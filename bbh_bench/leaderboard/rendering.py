"""Tables as text: means with t intervals, the best in bold, values that cannot be trusted struck out."""

import math
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from tabulate import tabulate

from bbh_bench.leaderboard.statistics import column_values, method_order
from bbh_bench.leaderboard.tables import Column, TaskRecords, Value
from bbh_bench.records.record import Direction

DASH = "–"
"""Shown where there is no value."""
BOUNDS: dict[Direction, str] = {"higher": "≤ ", "lower": "≥ ", "neither": ""}
"""Precede robustness values of a method that could be attacked without gradients only."""
ARROWS = {"lower": " ↓", "higher": " ↑", "neither": ""}
LINE = 118
"""Characters of a line of text on the board."""
LONGEST = 300
"""Characters of a text from outside that are shown."""
HEADING_WIDTH = 15
"""Characters of a line of a heading in a terminal."""


ValueText = Callable[[str, Value], str]
"""A method and its value in a column -> text."""


@dataclass(frozen=True)
class Table:
    """Headings and rows of text. The first column holds names. Both are plain text, other cells markdown."""

    headings: list[str]
    rows: list[list[str]]
    align: Literal["left", "right"] = "right"
    """Of all columns but the first, which is aligned to the left."""

    def markdown(self) -> str:
        """As a pipe table. Headings and names are escaped; other cells must be, if they come from outside."""
        return self._text(
            [*map(in_cell, self.headings)], [[in_cell(name), *cells] for name, *cells in self.rows], "pipe"
        )

    def terminal(self) -> str:
        """As a narrow table: long headings are broken into lines."""
        wrap = textwrap.TextWrapper(HEADING_WIDTH, break_long_words=False, break_on_hyphens=False).fill
        wrapped = [wrap(text) for text in self.headings]
        return self._text(wrapped, self.rows, "psql")

    def _text(self, headings: list[str], rows: list[list[str]], style: str) -> str:
        alignment = ["left", *[self.align] * (len(headings) - 1)] if rows else None
        return tabulate(rows, headers=headings, tablefmt=style, colalign=alignment, disable_numparse=True)


def score_column(group: TaskRecords, heading: str, name: str, decimals: int = 3, factor: float = 1.0) -> Column:
    """A column of a score. An arrow in its heading says which values are better."""
    direction = group.direction(name)
    return Column(heading + ARROWS[direction], name, decimals, float(factor), direction)


def score_table(
    group: TaskRecords, columns: list[Column], texts: Mapping[str, Mapping[str, str]] | None = None
) -> Table:
    """One row for each method, in ``method_order``; methods of which every cell failed come last.

    Columns without any value are left out. Robustness values of a method that failed the audit are struck out, and those that
    are bounds have a sign; neither are candidates for the best. ``texts`` are further columns: by heading, a text for each
    method.
    """
    seeds = {name: len(group.by_method[name]) for name in method_order(group)}
    failed = {name: "failed" for name in group.failed_by_method if name not in seeds}
    cells = {name: [_seeds(group, name, n)] for name, n in seeds.items()} | {
        name: [text] for name, text in failed.items()
    }
    headings = ["method", "n"]
    for column in columns:
        texts_of_column = column_texts(group, column, partial(_value, column, seeds))
        if texts_of_column:
            headings.append(column.heading)
            for name, row in cells.items():
                row.append(texts_of_column.get(name, DASH))
    for heading, of_methods in (texts or {}).items():
        headings.append(heading)
        for name, row in cells.items():
            row.append(of_methods.get(name, DASH))
    return Table(headings, [[name, *row] for name, row in cells.items()])


def column_texts(group: TaskRecords, column: Column, text: ValueText) -> dict[str, str]:
    """The text of each method that has a value: ``text`` of its statistics, with marks of bounds, audit and the best."""
    texts = {}
    for name, value in column_values(group, column).values.items():
        bound = BOUNDS[column.direction] if value.bound else ""
        mark = "~~" if value.struck_out else "**" if value.best else ""
        texts[name] = f"{mark}{bound}{text(name, value)}{mark}"
    return texts


def _seeds(group: TaskRecords, method: str, finished: int) -> str:
    failed = len(group.failed_by_method.get(method, []))
    return f"{finished} ({failed} failed)" if failed else str(finished)


def _value(column: Column, seeds: Mapping[str, int], method: str, value: Value) -> str:
    """``mean ± half of its interval``, and the number of seeds if some have no value."""
    text = f"{value.mean:,.{column.decimals}f}"
    if value.half is not None and column.decimals > 0:
        text += f" ± {value.half:,.{column.decimals}f}"
    return text if value.count == seeds[method] else f"{text} (n = {value.count})"


def short(value: Value, column: Column) -> str:
    """A mean with as many decimals as its interval allows: one digit of the half width, two if the first is 1.

    Without an interval, or in a column that shows none, the column's decimals.
    """
    if value.half is None or not column.interval:
        return f"{value.mean:,.{column.decimals}f}"
    decimals = column.decimals
    if value.half > 0:
        exponent = math.floor(math.log10(value.half))
        decimals = min(column.decimals, max(0, -exponent + (value.half < 2 * 10**exponent)))
    return f"{value.mean:,.{decimals}f} ± {value.half:,.{decimals}f}"


def paragraph(text: str) -> str:
    """Broken into lines, so that a terminal and a diff show it well."""
    return textwrap.fill(text, LINE, break_long_words=False, break_on_hyphens=False)


def escaped(text: str) -> str:
    """A text from outside as markdown for a table or a paragraph: one line, without markup, of limited length.

    Whatever CommonMark or GitHub's extensions could read as markup is escaped, also what would begin a block where the text
    is broken into lines. Ordinary names and sentences stay as they are.
    """
    return _without(_BLOCKS, in_cell(text))


def in_cell(text: str) -> str:
    """As ``escaped``, for a cell of a table, where no block can begin."""
    return _without(_INLINES, _one_line(text).replace("&", "&amp;").replace("<", "&lt;"))


Escapes = tuple[tuple[re.Pattern[str], str], ...]
_INLINES: Escapes = (
    (re.compile(r"([\\`*|~\[\]])"), r"\\\1"),  # code, emphasis, cells, strikethrough, links and images
    (re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"), r"\\_"),  # emphasis, but not within a word
    (re.compile(r"://|(?<=www)\."), r"\\\g<0>"),  # addresses, of which GitHub makes links
)
_BLOCKS: Escapes = (
    (re.compile(r"(?<!\S)([#+-]+)(?=\s|$)"), r"\\\1"),  # headings, lists, rules
    (re.compile(r"(?<!\S)>"), r"\\>"),  # quotations
    (re.compile(r"(?<!\S)(=+)(?!\s\S{1,40}(?:\s|$))"), r"\\\1"),  # headings, if it is alone on a line
    (re.compile(r"(?<!\S)(\d{1,9})([.)])(?=\s|$)"), r"\1\\\2"),  # numbered lists
)


def _without(markup: Escapes, text: str) -> str:
    for pattern, replacement in markup:
        text = pattern.sub(replacement, text)
    return text


def code(text: str) -> str:
    """A text from outside as markdown code: one line of limited length."""
    return f"`{_one_line(text).replace('`', chr(39))}`"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[:LONGEST] + "..."
