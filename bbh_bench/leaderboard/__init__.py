"""The leaderboard: records in; markdown, figures and data frames out.

It reads files only, and imports neither torch nor a plugin. A board can therefore be rendered without the plugins of its
methods.
"""

from collections.abc import Iterable
from pathlib import Path

from bbh_bench.leaderboard import figures
from bbh_bench.leaderboard.markdown import board, summary
from bbh_bench.leaderboard.tables import by_task
from bbh_bench.records.files import Together
from bbh_bench.records.record import Record

__all__ = ["FILE", "board", "render", "summary"]

FILE = "LEADERBOARD.md"


def render(records: Iterable[Record], out: Path) -> Path:
    """Write the board of these records to ``out``/LEADERBOARD.md, its figures beside it, and return its path.

    If one of the files cannot be written, the old ones stay: raises ``OSError``, with the name of the file.
    """
    out.mkdir(parents=True, exist_ok=True)
    records = list(records)
    with Together() as files:
        for name, picture in figures.draw(by_task(records)).items():
            files.add(out / name, picture)
        files.add(out / FILE, board(records).encode())
    return out / FILE
