"""The leaderboard: records in; markdown, figures and data frames out.

It reads files only, and imports neither torch nor a plugin. A board can therefore be rendered without the plugins of its
methods.
"""

from collections.abc import Sequence
from pathlib import Path

from bbh_bench.leaderboard import figures
from bbh_bench.leaderboard.images import ReadArrays
from bbh_bench.leaderboard.parts import FILE, SITE, common_files, exports, parts_of, record_files, task_files
from bbh_bench.leaderboard.rebuild import render_folder
from bbh_bench.leaderboard.tables import by_task
from bbh_bench.leaderboard.task_page import summary
from bbh_bench.records.files import Together
from bbh_bench.records.record import Record
from bbh_bench.records.verifications import Log

__all__ = ["FILE", "SITE", "exports", "files", "pages", "render", "render_folder", "summary"]


def pages(records: Sequence[Record], read: ReadArrays | None = None, log: Log | None = None) -> dict[str, str]:
    """The markdown pages by file name: the first page, and one for each task.

    ``read`` reads the stored predictions of a record; without it, methods are compared over seeds only. ``log`` says how
    records were verified.
    """
    return {path: content.decode() for path, content in files(records, read, log).items() if path.endswith(".md")}


def files(records: Sequence[Record], read: ReadArrays | None = None, log: Log | None = None) -> dict[str, bytes]:
    """All files of the board of these records, by path, without its pictures."""
    groups = by_task(records, read, log)
    parts, site = parts_of(groups)
    written = dict(common_files(parts, site))
    for group, part in zip(groups, parts, strict=True):
        written |= dict(task_files(group, part, site, read)) | dict(record_files(group, part, site))
    return written


def render(records: Sequence[Record], out: Path, read: ReadArrays | None = None, log: Log | None = None) -> Path:
    """Write the board of these records to ``out``/LEADERBOARD.md, and return its path.

    Beside it: a page and figures of each task; ``leaderboard.csv``, ``.json`` and ``.tex``; and the folder ``site``, whose
    first page is ``index.html``. If one of the files cannot be written, the old ones stay: raises ``OSError``, with the name
    of the file.
    """
    pictures = figures.draw(by_task(records), (record.method.name for record in records if record.finished))
    with Together() as together:
        for name, content in (files(records, read, log) | pictures).items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            together.add(path, content)
    return out / FILE
