"""The leaderboard: records in; markdown, figures and data frames out.

It reads files only, and imports neither torch nor a plugin. A board can therefore be rendered without the plugins of its
methods.
"""

from collections.abc import Iterable
from pathlib import Path

from bbh_bench.leaderboard import figures
from bbh_bench.leaderboard.markdown import board, summary
from bbh_bench.leaderboard.tables import by_task
from bbh_bench.records.record import Record
from bbh_bench.records.store import write_atomically

__all__ = ["FILE", "board", "render", "summary"]

FILE = "LEADERBOARD.md"


def render(records: Iterable[Record], out: Path) -> Path:
    """Write the board of these records to ``out``/LEADERBOARD.md, its figures beside it, and return its path."""
    out.mkdir(parents=True, exist_ok=True)
    records = list(records)
    for name, picture in figures.draw(by_task(records)).items():
        write_atomically(out / name, picture)
    write_atomically(out / FILE, board(records).encode())
    return out / FILE
