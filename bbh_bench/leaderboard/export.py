"""A board for programs and papers: CSV with a row for each value, JSON with everything, LaTeX with the first tables."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from bbh_bench.leaderboard.model import Row, TaskModel
from bbh_bench.leaderboard.rendering import DASH, short
from bbh_bench.leaderboard.tables import ColumnValues, Value

CSV_COLUMNS = (
    *("task", "version", "fingerprint", "method", "method_version", "finished_seeds", "provisional"),
    *("score", "direction", "mean", "half_width", "seeds", "rank", "best", "struck_out", "bound"),
)
"""``mean`` and ``half_width`` (of the 95 % t interval over ``seeds``) are in the unit of the score in the records: errors and
accuracies are shares. ``rank`` is that of this score, empty where methods cannot be compared."""
LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"},
    **{">": r"\textgreater{}", "±": r"$\pm$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "ε": r"$\varepsilon$"},
    **{"≤": r"$\leq$", "≥": r"$\geq$", "∞": r"$\infty$", DASH: "--"},
}


def as_json(models: Sequence[TaskModel]) -> bytes:
    """The models of all tasks: the fields are those of ``TaskModel``."""
    return msgspec.json.format(msgspec.json.encode({"tasks": models}), indent=1) + b"\n"


def as_csv(models: Sequence[TaskModel]) -> bytes:
    """A row for each task, method and score, with the columns ``CSV_COLUMNS``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for model in models:
        columns = {each.column.name: each for section in model.sections for each in section.columns}
        for row in model.rows:
            writer.writerows(_lines(model, row, columns.values()))
    return text.getvalue().encode(errors="backslashreplace")


def _lines(model: TaskModel, row: Row, columns: Iterable[ColumnValues]) -> Iterator[list[object]]:
    cell = [model.name, model.version, model.fingerprint, row.method, row.version, len(row.seeds), row.provisional]
    for each in columns:
        value = each.values.get(row.method)
        if value is not None:
            factor = each.column.factor
            half = "" if value.half is None else value.half / factor
            marks = [value.best, value.struck_out, value.bound]
            numbers = [value.mean / factor, half, value.count, each.ranks.get(row.method, "")]
            name = _without_formula(each.column.name)
            yield [*cell, name, each.column.direction, *numbers, *marks]


def _without_formula(text: str) -> str:
    """A text from outside that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def as_latex(models: Sequence[TaskModel]) -> bytes:
    """A table of each task for the package booktabs; struck-out values need ulem."""
    head = "% Needs \\usepackage{booktabs} and, for values that cannot be trusted, \\usepackage[normalem]{ulem}.\n"
    return (head + "\n".join(map(_latex_table, models))).encode(errors="backslashreplace")


def _latex_table(model: TaskModel) -> str:
    by_heading: dict[str, list[ColumnValues]] = {}
    for each in model.sections[0].columns if model.sections else []:
        by_heading.setdefault(each.column.heading, []).append(each)
    rows = [
        [
            _escaped(row.method) + ("*" if row.provisional else ""),
            *(" / ".join(_latex_value(each, row.method) for each in columns) for columns in by_heading.values()),
        ]
        for row in model.rows
    ]
    lines = [
        f"% {' '.join(model.title.split())}, fingerprint {model.fingerprint}",
        f"\\begin{{tabular}}{{l{'r' * len(by_heading)}}}",
        r"\toprule",
        " & ".join(["method", *map(_escaped, by_heading)]) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex_value(column: ColumnValues, method: str) -> str:
    value: Value | None = column.values.get(method)
    if value is None:
        return "--"
    bound = {"higher": r"$\leq$ ", "lower": r"$\geq$ ", "neither": ""}[column.column.direction] if value.bound else ""
    text = bound + _escaped(short(value, column.column))
    if value.struck_out:
        return f"\\sout{{{text}}}"
    return f"\\textbf{{{text}}}" if value.best else text


def _escaped(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in " ".join(text.split()))
