"""The leaderboard: records in; markdown, figures and data frames out.

It reads files only, and imports neither torch nor a plugin. A board can therefore be rendered without the plugins of its
methods.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bbh_bench.leaderboard import figures
from bbh_bench.leaderboard.export import as_csv, as_json, as_latex
from bbh_bench.leaderboard.images import ReadArrays
from bbh_bench.leaderboard.model import TaskModel, task_model
from bbh_bench.leaderboard.overview import overview
from bbh_bench.leaderboard.page import markdown
from bbh_bench.leaderboard.site import Site
from bbh_bench.leaderboard.tables import TaskRecords, by_task
from bbh_bench.leaderboard.task_page import page_name, summary, task_page
from bbh_bench.records.files import Together
from bbh_bench.records.record import Record

__all__ = ["FILE", "pages", "render", "summary"]

FILE = "LEADERBOARD.md"
SITE = "site"
"""Folder of the site, beside the board."""


def pages(records: Sequence[Record], read: ReadArrays | None = None) -> dict[str, str]:
    """The markdown pages by file name: the first page, and one for each task.

    ``read`` reads the stored predictions of a record; without it, methods are compared over seeds only.
    """
    return _pages(by_task(records, read))


def _pages(groups: list[TaskRecords]) -> dict[str, str]:
    texts = {FILE: markdown(overview(groups))}
    return texts | {page_name(group): markdown(task_page(group)) for group in groups}


def render(records: Sequence[Record], out: Path, read: ReadArrays | None = None) -> Path:
    """Write the board of these records to ``out``/LEADERBOARD.md, and return its path.

    Beside it: a page and figures of each task; ``leaderboard.csv``, ``.json`` and ``.tex``; and the folder ``site``, whose
    first page is ``index.html``. If one of the files cannot be written, the old ones stay: raises ``OSError``, with the name
    of the file.
    """
    out.mkdir(parents=True, exist_ok=True)
    groups = by_task(records, read)
    models = list(map(task_model, groups))
    with Together() as files:
        for name, picture in figures.draw(groups).items():
            files.add(out / name, picture)
        for name, text in _pages(groups).items():
            files.add(out / name, text.encode())
        for name, content in exports(models).items():
            files.add(out / name, content)
        for name, content in site_files(groups, models, read):
            path = out / SITE / name
            path.parent.mkdir(parents=True, exist_ok=True)
            files.add(path, content)
    return out / FILE


def exports(models: Sequence[TaskModel]) -> dict[str, bytes]:
    """The board for programs and papers, by file name."""
    return {"leaderboard.csv": as_csv(models), "leaderboard.json": as_json(models), "leaderboard.tex": as_latex(models)}


def site_files(
    groups: Sequence[TaskRecords], models: Sequence[TaskModel], read: ReadArrays | None
) -> Iterator[tuple[str, bytes]]:
    """All files of the site, by path."""
    site = Site(models)
    yield from site.assets()
    pairs = list(zip(groups, models, strict=True))
    yield site.index([site.section(group, model) for group, model in pairs])
    for group, model in pairs:
        yield site.task(group, model, read)
        for record in group.records:
            yield site.record(record, model)
    for name in sorted({row.method for model in models for row in model.rows}):
        yield site.method(name)
