"""What a board writes about each task, and what the pages about several tasks need of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bbh_bench.leaderboard.export import as_csv, as_json, as_latex
from bbh_bench.leaderboard.images import ReadArrays
from bbh_bench.leaderboard.model import TaskModel, task_model
from bbh_bench.leaderboard.overview import first_page, section
from bbh_bench.leaderboard.page import markdown
from bbh_bench.leaderboard.site import Site
from bbh_bench.leaderboard.tables import TaskRecords
from bbh_bench.leaderboard.task_page import page_name, task_page

FILE = "LEADERBOARD.md"
SITE = "site"
"""Folder of the site, beside the board."""


@dataclass(frozen=True)
class Part:
    """Of one task; can be stored as JSON."""

    model: TaskModel
    first_page: str
    """Markdown of its section on the first page."""
    site_section: str
    """HTML of its section on the site's first page."""


def parts_of(groups: Sequence[TaskRecords], others: Sequence[Part] = ()) -> tuple[list[Part], Site]:
    """The parts of these tasks, and the site of all tasks, the others included."""
    models = list(map(task_model, groups))
    site = Site(sorted([*models, *(part.model for part in others)], key=order))
    parts = [
        Part(model, markdown(section(group)), site.section(group, model))
        for group, model in zip(groups, models, strict=True)
    ]
    return parts, site


def order(model: TaskModel) -> tuple[str, int, str]:
    """The order of tasks on a board."""
    return model.name, model.version, model.fingerprint


def task_files(group: TaskRecords, part: Part, site: Site, read: ReadArrays | None) -> Iterator[tuple[str, bytes]]:
    """The pages about one task, by path, without those of its records."""
    yield page_name(group), markdown(task_page(group)).encode()
    yield _on_site(site.task(group, part.model, read))


def record_files(group: TaskRecords, part: Part, site: Site) -> Iterator[tuple[str, bytes]]:
    """A page for each record, by path."""
    for record in group.records:
        yield _on_site(site.record(record, part.model, group.log))


def common_files(parts: Sequence[Part], site: Site) -> Iterator[tuple[str, bytes]]:
    """The pages about all tasks, by path."""
    ordered = sorted(parts, key=lambda part: order(part.model))
    yield FILE, first_page([part.first_page for part in ordered]).encode()
    yield from exports([part.model for part in ordered]).items()
    for path, content in site.assets():
        yield _on_site((path, content))
    yield _on_site(site.index([part.site_section for part in ordered]))
    for method in site.method_names():
        yield _on_site(site.method(method))


def exports(models: Sequence[TaskModel]) -> Mapping[str, bytes]:
    """The board for programs and papers, by file name."""
    return {"leaderboard.csv": as_csv(models), "leaderboard.json": as_json(models), "leaderboard.tex": as_latex(models)}


def _on_site(page: tuple[str, bytes]) -> tuple[str, bytes]:
    return f"{SITE}/{page[0]}", page[1]
