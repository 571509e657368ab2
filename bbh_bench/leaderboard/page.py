"""A page as a list of blocks, which become markdown here and HTML in ``site``."""

from collections.abc import Iterable
from dataclasses import dataclass

from bbh_bench.leaderboard import figures
from bbh_bench.leaderboard.rendering import Table, paragraph
from bbh_bench.leaderboard.tables import TaskRecords


@dataclass(frozen=True)
class Figure:
    """A figure of a task: a PNG file beside markdown, and charts on the site."""

    key: str
    """``fits``, ``summary``, ``attacks``, ``uncertainty``, ``shifts``, ``images`` or another one of ``site.charts``."""
    file: str
    alt: str
    caption: str
    """Below the image in markdown. The charts of the site have their own."""

    def markdown(self) -> str:
        """An image and its caption."""
        image = f"![{self.alt}]({self.file})"
        return f"{image}\n\n{paragraph(self.caption)}" if self.caption else image


Block = str | Table | Figure
"""Text is markdown: a heading, a paragraph or a list. What comes from outside is escaped in it."""


def figure(group: TaskRecords, key: str, alt: str, caption: str = "") -> Figure:
    """A figure with its file name."""
    return Figure(key, figures.file_name(group, "" if key == "fits" else key), alt, caption)


def markdown(blocks: Iterable[Block]) -> str:
    """The blocks that are not empty, with a blank line between them."""
    texts = (block if isinstance(block, str) else block.markdown() for block in blocks)
    return "\n\n".join(text for text in texts if text) + "\n"
