"""The leaderboard: records in; markdown, figures and data frames out.

It reads files only, and imports neither torch nor a plugin. A board can therefore be rendered without the plugins of its
methods.
"""

from collections.abc import Sequence
from pathlib import Path

from bbh_bench.leaderboard import figures
from bbh_bench.leaderboard.images import ReadArrays
from bbh_bench.leaderboard.overview import overview
from bbh_bench.leaderboard.tables import TaskRecords, by_task
from bbh_bench.leaderboard.task_page import page_name, summary, task_page
from bbh_bench.records.files import Together
from bbh_bench.records.record import Record

__all__ = ["FILE", "pages", "render", "summary"]

FILE = "LEADERBOARD.md"


def pages(records: Sequence[Record], read: ReadArrays | None = None) -> dict[str, str]:
    """The markdown pages by file name: the first page, and one for each task.

    ``read`` reads the stored predictions of a record; without it, methods are compared over seeds only.
    """
    return _pages(by_task(records, read))


def _pages(groups: list[TaskRecords]) -> dict[str, str]:
    return {FILE: overview(groups)} | {page_name(group): task_page(group) for group in groups}


def render(records: Sequence[Record], out: Path, read: ReadArrays | None = None) -> Path:
    """Write the board of these records to ``out``/LEADERBOARD.md, its pages and figures beside it, and return its path.

    If one of the files cannot be written, the old ones stay: raises ``OSError``, with the name of the file.
    """
    out.mkdir(parents=True, exist_ok=True)
    groups = by_task(records, read)
    with Together() as files:
        for name, picture in figures.draw(groups).items():
            files.add(out / name, picture)
        for name, text in _pages(groups).items():
            files.add(out / name, text.encode())
    return out / FILE
