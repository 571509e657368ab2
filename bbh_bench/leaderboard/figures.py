"""The board's figures, from records alone."""

import io
from typing import Any

import numpy as np

from bbh_bench.leaderboard.tables import TaskRecords, order
from bbh_bench.records.record import Record

COLUMNS = 3
Y_RANGE = (-100, 100)  # as in the paper's first figure
LINES = ("#1f4e79", "#d1495b", "#3a7d44", "#e08e1b", "#6d4c9f", "#4aa3a2", "#8c564b", "#c65fa6", "#6f6f6f", "#a3a500")
WORST = {"robust/linf": "worst case, L∞", "robust/l2": "worst case, L2"}
QUANTITIES = {"entropy": "entropy, nats", "mutual_information": "mutual information, nats", "accuracy": "accuracy"}


def name(group: TaskRecords, figure: str = "") -> str:
    """The file of a task's figure, beside the board."""
    task = group.head.task
    return f"{task['name']}-v{task['version']}-{task['fingerprint'][:6]}{figure and '-'}{figure}.png"


def draw(groups: list[TaskRecords]) -> dict[str, bytes]:
    """PNG files by name: of each regression on a line its fits, of a classification what attacks and shifts do."""
    pictures = {}
    for group in groups:
        if group.has("grid/prediction"):
            pictures[name(group)] = _fits(group)
        if group.has("robust/linf") or group.has("robust/l2"):
            pictures[name(group, "attacks")] = _attacks(group)
        several, single = group.shifts()
        if several:
            pictures[name(group, "shifts")] = _shifts(group, several)
        if single:
            pictures[name(group, "images")] = _images(group, single)
    return pictures


def _fits(group: TaskRecords) -> bytes:
    """One panel a method: data, truth, mean and bands of 1, 2 and 3 standard deviations, from the lowest seed."""
    shown = _first_records(group)
    rows = -(-len(shown) // COLUMNS)
    figure = _figure(4 * COLUMNS, 3 * rows)
    axes = list(figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flat)
    for axis, record in zip(axes, shown, strict=False):
        _fit(axis, record)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    for axis in axes[max(0, len(shown) - COLUMNS) : len(shown)]:
        axis.tick_params(labelbottom=True)  # the lowest of each column
    return _png(figure, *axes[0].get_legend_handles_labels())


def _fit(axis: Any, record: Record) -> None:
    curve, data = record.curves["grid/prediction"], record.curves["train/data"]
    x, mean, std = curve["x"], curve["mean"], curve["std"]
    for k in (3, 2, 1):
        low = [m - k * s for m, s in zip(mean, std, strict=True)]
        high = [m + k * s for m, s in zip(mean, std, strict=True)]
        axis.fill_between(
            x, low, high, color="#4c78a8", alpha=0.18, linewidth=0, label="1, 2, 3 std" if k == 1 else None
        )
    axis.plot(x, curve["truth"], color="black", linewidth=1, linestyle="--", label="truth")
    axis.plot(x, mean, color="#1f4e79", linewidth=1.5, label="mean")
    axis.plot(data["x"], data["y"], "o", color="#d1495b", markersize=4, label="data")
    axis.set(title=record.method["name"], xlim=(min(x), max(x)), ylim=Y_RANGE)


def _shifts(group: TaskRecords, shifts: list[str]) -> bytes:
    """A row a quantity, a column a shift: one line a method, the mean over seeds, with a band of one standard error."""
    figure = _figure(4.2 * len(shifts), 2.6 * len(QUANTITIES))
    grid = figure.subplots(len(QUANTITIES), len(shifts), squeeze=False)
    methods = order(group)
    for column, shift in enumerate(shifts):
        curves = {method: group.curves(f"shift/{shift}", method) for method in methods}
        for row, (quantity, label) in enumerate(QUANTITIES.items()):
            axis = grid[row, column]
            for k, method in enumerate(methods):
                _line(axis, curves[method], quantity, {"color": LINES[k % len(LINES)]}, label=method)
            axis.set_visible(axis.has_data())
            axis.set(xlabel=_abscissa(group, shift), ylabel=label, title=shift if row == 0 else "")
            axis.set_ylim(bottom=0, top=1.02 if quantity == "accuracy" else None)
            _ticks(axis, _abscissa(group, shift))
    return _png(figure, *grid[0, 0].get_legend_handles_labels())


def _attacks(group: TaskRecords) -> bytes:
    """Two rows a norm, accuracy and entropy; a column an attack, the worst case of them first; one line a method."""
    norms = group.norms()
    columns = [
        [f"robust/{norm}", *(f"attack/{name}" for name in group.attacks() if norms.get(name) == norm)]
        for norm in ("linf", "l2")
    ]
    figure = _figure(2.9 * max(map(len, columns)), 9)
    grid = figure.subplots(4, max(map(len, columns)), squeeze=False)
    for axis in grid.flat:
        axis.set_visible(False)
    methods = order(group)
    for block, names in enumerate(columns):
        for column, curve in enumerate(names):
            for row, quantity in enumerate(("accuracy", "entropy")):
                axis = grid[2 * block + row, column]
                for k, method in enumerate(methods):
                    style = {"color": LINES[k % len(LINES)], "linestyle": "--" if group.unsound(method) else "-"}
                    _line(axis, group.curves(curve, method), quantity, style, label=method)
                axis.set_visible(axis.has_data())
                title = WORST.get(curve, curve.removeprefix("attack/"))
                axis.set(title=title if row == 0 else "", xlabel="ε", ylabel=QUANTITIES[quantity])
                axis.set_ylim(bottom=-0.02, top=1.02 if quantity == "accuracy" else None)
    shown = next(axis for axis in grid.flat if axis.has_data())
    return _png(figure, *shown.get_legend_handles_labels())


def _line(axis: Any, curves: list[dict[str, list[float]]], quantity: str, style: dict[str, Any], label: str) -> None:
    held = [curve[quantity] for curve in curves if quantity in curve]
    if not held:
        return
    x = next(iter(curves[0].values()))
    mean = np.mean(held, axis=0)
    axis.plot(x, mean, **style, linewidth=1.5, marker="o" if len(x) == 1 else "", label=label)
    if len(held) > 1:
        error = np.std(held, axis=0, ddof=1) / len(held) ** 0.5
        axis.fill_between(x, mean - error, mean + error, color=style["color"], alpha=0.2, linewidth=0)
    elif f"{quantity}_low" in curves[0]:
        low, high = curves[0][f"{quantity}_low"], curves[0][f"{quantity}_high"]
        axis.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)


def _images(group: TaskRecords, shifts: list[str]) -> bytes:
    """A row a method, a column an image: the classes' mean probabilities and the entropy's share, from the lowest seed."""
    shown = _first_records(group)
    figure = _figure(3.4 * len(shifts), 1.6 * len(shown) + 0.8)
    grid = figure.subplots(len(shown), len(shifts), sharex="col", sharey=True, squeeze=False)
    for row, record in enumerate(shown):
        for column, shift in enumerate(shifts):
            curve = record.curves.get(f"shift/{shift}")
            if curve is not None:
                _image(grid[row, column], curve)
        grid[row, 0].set_ylabel(record.method["name"])
    for column, shift in enumerate(shifts):
        grid[0, column].set_title(shift)
        grid[-1, column].set_xlabel(_abscissa(group, shift))
        _ticks(grid[-1, column], _abscissa(group, shift))
    return _png(figure, *grid[0, 0].get_legend_handles_labels())


def _image(axis: Any, curve: dict[str, list[float]]) -> None:
    x = next(iter(curve.values()))
    probabilities = {label: values for label, values in curve.items() if label.startswith("p(")}
    for k, (label, values) in enumerate(probabilities.items()):
        axis.plot(x, values, color=LINES[k % len(LINES)], linewidth=1.2, label=label)
    share = np.array(curve["entropy"]) / np.log(len(probabilities))
    axis.plot(x, share, color="black", linewidth=1, linestyle="--", label="entropy / log K")
    axis.set_ylim(-0.03, 1.03)


def _ticks(axis: Any, label: str) -> None:
    """Where a reader of angles looks for them."""
    from matplotlib.ticker import MultipleLocator  # noqa: PLC0415

    if "degrees" in label:
        low, high = axis.get_xlim()
        axis.xaxis.set_major_locator(MultipleLocator(45 if high - low < 225 else 90))


def _abscissa(group: TaskRecords, shift: str) -> str:
    return next(iter(group.curves(f"shift/{shift}")[0]))


def _first_records(group: TaskRecords) -> list[Record]:
    """Of each method that of the lowest seed, in the board's order."""
    return [next(r for r in group.finished if r.method["name"] == method) for method in order(group)]


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (half a second, for boards with figures)
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any, handles: list[Any], labels: list[str]) -> bytes:
    """The picture with one legend below it."""
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 11), frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    return picture.getvalue()
