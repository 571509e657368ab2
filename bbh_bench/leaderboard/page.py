"""A page as a list of blocks, which become markdown here and HTML in ``site``."""

from collections.abc import Iterable
from dataclasses import dataclass

from bbh_bench.leaderboard import figures
from bbh_bench.leaderboard.rendering import Table
from bbh_bench.leaderboard.tables import TaskRecords


@dataclass(frozen=True)
class Figure:
    """A figure of a task: a PNG file beside markdown, and charts on the site."""

    key: str
    """``fits``, ``summary``, ``attacks``, ``uncertainty``, ``shifts`` or ``images``."""
    file: str
    alt: str

    def markdown(self) -> str:
        """An image."""
        return f"![{self.alt}]({self.file})"


Block = str | Table | Figure
"""Text is markdown: a heading, a paragraph or a list. What comes from outside is escaped in it."""


def figure(group: TaskRecords, key: str, alt: str) -> Figure:
    """A figure with its file name."""
    return Figure(key, figures.file_name(group, "" if key == "fits" else key), alt)


def markdown(blocks: Iterable[Block]) -> str:
    """The blocks that are not empty, with a blank line between them."""
    texts = (block if isinstance(block, str) else block.markdown() for block in blocks)
    return "\n\n".join(text for text in texts if text) + "\n"
