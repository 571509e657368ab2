"""The static site: one folder that opens from a file address, without a network or a server."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bbh_bench.leaderboard.distributions import distributions
from bbh_bench.leaderboard.drawing import drawn_methods, style_numbers
from bbh_bench.leaderboard.explanations import EXPLANATIONS
from bbh_bench.leaderboard.glossary import GLOSSARY
from bbh_bench.leaderboard.images import ReadArrays
from bbh_bench.leaderboard.model import Row, Section, TaskModel
from bbh_bench.leaderboard.overview import notes
from bbh_bench.leaderboard.site import markup
from bbh_bench.leaderboard.site.charts import task_figures
from bbh_bench.leaderboard.site.markup import as_script
from bbh_bench.leaderboard.site.overview_charts import (
    rank_figure,
    reproduction_figure,
    summary_figure,
    trade_off_figure,
)
from bbh_bench.leaderboard.site.panels import Style
from bbh_bench.leaderboard.site.prediction_charts import prediction_figure
from bbh_bench.leaderboard.site.record_page import record_page
from bbh_bench.leaderboard.site.score_table import ScoreTable, score_table
from bbh_bench.leaderboard.site.strengths import sentence, strengths
from bbh_bench.leaderboard.tables import TaskRecords, file_stem
from bbh_bench.leaderboard.task_page import task_page
from bbh_bench.records.record import Record
from bbh_bench.records.verifications import Log, verified

ASSETS = ("site.css", "site.js", "vega.js", "vega-LICENSE.txt")
FIRST_BLOCKS = 3
"""Blocks of a markdown page that the site shows in another way: heading, introduction, first table."""


class Site:
    """Renders the pages of a board. ``models`` are those of all its tasks: each page links to them, and colours follow them."""

    def __init__(self, models: Sequence[TaskModel]) -> None:
        self.models = models
        self.style = Style(style_numbers(row.method for model in models for row in model.rows))
        self.environment = Environment(
            loader=PackageLoader("bbh_bench.leaderboard.site"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def assets(self) -> Iterator[tuple[str, bytes]]:
        """Style sheet and scripts, by path."""
        folder = resources.files("bbh_bench.leaderboard.site") / "assets"
        for name in ASSETS:
            yield f"assets/{name}", (folder / name).read_bytes()

    def section(self, group: TaskRecords, model: TaskModel) -> str:
        """What the first page shows of a task."""
        table = score_table(model.rows, first_page(model), lambda name: f"methods/{file_stem(name)}.html")
        charts = task_figures(group, self.style)
        figure = charts["fits"] or charts["fidelity"] or summary_figure(group, model, self.style)
        template = self.environment.get_template("section.html")
        return template.render(
            model=model, verdict=_verdict(model), table=table, notes=markup.prose(notes(group)), figure=figure
        )

    def index(self, sections: Sequence[str]) -> tuple[str, bytes]:
        """The first page, from what ``section`` gave for each task."""
        descriptions = {row.method: row.description for model in self.models for row in model.rows}
        methods = [
            {"name": name, "stem": file_stem(name), "description": text} for name, text in sorted(descriptions.items())
        ]
        tasks = [{"fragment": Markup(text)} for text in sections]
        glossary = markup.prose(GLOSSARY).replace("<h2>", Markup("<h2 id='how-to-read-this'>"), 1)
        return self._page(
            "index.html", "index.html", "leaderboard", charts=True, tasks=tasks, methods=methods, glossary=glossary
        )

    def task(self, group: TaskRecords, model: TaskModel, read: ReadArrays | None) -> tuple[str, bytes]:
        """Everything about a task."""
        table = score_table(
            model.rows, model.sections[1:], lambda name: f"../methods/{file_stem(name)}.html", choose=True
        )
        known = distributions(group.finished, read) if read else {}
        figures = [
            rank_figure(model, self.style),
            trade_off_figure(group, model, self.style),
            prediction_figure(known, drawn_methods(group), self.style),
            reproduction_figure(group, self.style),
        ]
        blocks = markup.page(task_page(group)[FIRST_BLOCKS:], task_figures(group, self.style))
        blocks, contents = markup.with_anchors(blocks)
        return self._page(
            f"tasks/{model.stem}.html",
            "task.html",
            f"{model.name} v{model.version}: {model.title}",
            charts=True,
            model=model,
            verdict=_verdict(model),
            table=table,
            notes=markup.prose(model.resolution),
            figures=[figure for figure in figures if figure],
            blocks=blocks,
            contents=contents,
            records=[_listed(record, model) for record in group.records],
        )

    def method_names(self) -> list[str]:
        """Names of all methods."""
        return sorted({row.method for model in self.models for row in model.rows})

    def method(self, name: str) -> tuple[str, bytes]:
        """A method on every task that has it."""
        tasks = [self._method_on(model, row) for model in self.models for row in model.rows if row.method == name]
        return self._page(
            f"methods/{file_stem(name)}.html",
            "method.html",
            name,
            name=name,
            description=tasks[-1]["row"].description,
            strengths=strengths(name, self.models),
            tasks=tasks,
        )

    def _method_on(self, model: TaskModel, row: Row) -> dict[str, Any]:
        table = score_table([row], first_page(model), lambda _: "")
        seeds = sorted([*row.seeds, *row.failed])
        return {
            "model": model,
            "row": row,
            "sentence": sentence(model, row),
            "table": table if row.seeds else ScoreTable([], [], []),
            "hyperparameters": [
                (key, json.dumps(value, ensure_ascii=False)) for key, value in row.hyperparameters.items()
            ],
            "records": [(record_link(model, row.method, seed), f"seed {seed}") for seed in seeds],
        }

    def record(self, record: Record, model: TaskModel, log: Log) -> tuple[str, bytes]:
        """Everything that a record holds, and how it was verified."""
        return self._page(
            record_link(model, record.method.name, record.seed),
            "record.html",
            f"{record.method.name} on {record.task.name}, seed {record.seed}",
            page=record_page(record, verified(record, log)),
            curves=as_script(record.curves) if record.curves else "",
            stem=model.stem,
            method=record.method.name,
            method_stem=file_stem(record.method.name),
        )

    @cached_property
    def _navigation(self) -> list[Mapping[str, Any]]:
        """Links to the tasks; several versions of one are told apart."""
        names = [model.name for model in self.models]
        return [
            {
                "stem": model.stem,
                "name": model.name,
                "version": model.version,
                "fingerprint": model.fingerprint,
                "ambiguous": names.count(model.name) > 1,
            }
            for model in self.models
        ]

    def _page(self, path: str, template: str, title: str, charts: bool = False, **values: Any) -> tuple[str, bytes]:
        text = self.environment.get_template(template).render(
            title=title,
            root="../" * path.count("/"),
            navigation=self._navigation,
            charts=charts,
            explanations="" if template == "record.html" else as_script(EXPLANATIONS),
            **values,
        )
        return path, text.encode(errors="replace")


def first_page(model: TaskModel) -> list[Section]:
    """The columns of the first page, with headings that no two of them share."""
    named = {each.column.name: each for section in reversed(model.sections[1:]) for each in section.columns}
    return [
        Section(section.title, [named[each.column.name] for each in section.columns]) for section in model.sections[:1]
    ]


def _verdict(model: TaskModel) -> Markup:
    return markup.prose(model.verdict) if model.verdict else Markup("")


def _listed(record: Record, model: TaskModel) -> dict[str, Any]:
    return {
        "link": record_link(model, record.method.name, record.seed),
        "method": record.method.name,
        "seed": record.seed,
        "status": record.status,
        "headline": f"{record.scores[model.headline]:.6g}" if record.finished else "",
        "started": record.provenance.started,
    }


def record_link(model: TaskModel, method: str, seed: int) -> str:
    """Path of the page of a record in the site."""
    return f"records/{model.stem}/{file_stem(method)}-seed{seed}.html"
