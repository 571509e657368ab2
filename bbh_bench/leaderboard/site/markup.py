"""Blocks of a page as HTML."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from bbh_bench.leaderboard.page import Block, Figure
from bbh_bench.leaderboard.rendering import Table

PARSER = MarkdownIt("commonmark", {"html": False}).enable("strikethrough").disable(["image", "link", "autolink"])
"""Only emphasis, code, lists and headings: texts from outside can neither link nor load anything."""
PLAIN = frozenset("\\`*_~[]()<>&#!")
"""A text without these characters means the same in markdown and as plain text."""


def as_script(value: Any) -> Markup:
    """JSON that may stand in a script element: no tag can begin in it."""
    return Markup(msgspec.json.encode(value).decode().replace("<", "\\u003c"))


def inline(text: str) -> Markup:
    """A line of markdown, such as the cell of a table."""
    if PLAIN.isdisjoint(text):
        return escape(text)
    return Markup(PARSER.renderInline(text))


def prose(text: str) -> Markup:
    """Paragraphs, lists and headings."""
    return Markup(PARSER.render(text))


def with_anchors(page: Markup) -> tuple[Markup, list[tuple[str, str]]]:
    """The page with an id for each second-level heading, and a list of ids and texts."""
    contents: list[tuple[str, str]] = []

    def anchored(match: re.Match[str]) -> str:
        contents.append((f"section-{len(contents)}", Markup(match[1]).striptags()))
        return f"<h2 id='{contents[-1][0]}'>{match[1]}</h2>"

    return Markup(re.sub("<h2>(.*?)</h2>", anchored, page)), contents


def table(value: Table, caption: str) -> Markup:
    """A table that scripts make sortable, in a frame that scrolls if the screen is narrow. Names are plain text."""
    align = " left" if value.align == "left" else ""
    headings = Markup("").join(Markup("<th scope='col'>{}</th>").format(text) for text in value.headings)
    rows = Markup("\n").join(
        Markup("<tr><th scope='row'>{}</th>{}</tr>").format(
            name, Markup("").join(Markup("<td>{}</td>").format(inline(cell)) for cell in cells)
        )
        for name, *cells in value.rows
    )
    return Markup(
        "<div class='scroll' tabindex='0' role='region' aria-label='{}'><table class='sortable{}'>"
        "<caption class='hidden-text'>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(caption, align, caption, headings, rows)


def page(blocks: Iterable[Block], figures: Mapping[str, Markup]) -> Markup:
    """All blocks; ``figures`` has the charts by key. A figure without charts is left out. Tables are named by their heading."""
    parts, heading, tables = [], "", 0
    for block in blocks:
        if isinstance(block, Figure):
            parts.append(figures.get(block.key, Markup("")))
        elif isinstance(block, Table):
            tables += 1
            parts.append(table(block, f"{heading}, table {tables}"))
        else:
            heading = block.lstrip("# ") if block.startswith("#") else heading
            parts.append(prose(block))
    return Markup("\n").join(parts)
