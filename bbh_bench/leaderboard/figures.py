"""The figures of the board, drawn from records only."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bbh_bench.leaderboard.columns import NORMS
from bbh_bench.leaderboard.corruption_figure import corruption_figure, corruption_panels
from bbh_bench.leaderboard.drawing import COLOURS, drawn_methods, line, new_figure, png, styles
from bbh_bench.leaderboard.fidelity_figure import fidelity_figure, fidelity_sets
from bbh_bench.leaderboard.summary_figure import has_summary, summary_figure
from bbh_bench.leaderboard.tables import ATTACKED_SETS, Curve, TaskRecords
from bbh_bench.records.record import Record

COLUMNS = 3
Styles = Mapping[str, dict[str, Any]]
"""Keyword arguments of a line of each method: colour and marker."""
Y_RANGE = (-100, 100)
"""Of the regression figure; as in the first figure of the paper."""
QUANTITIES = {"entropy": "entropy, nats", "mutual_information": "mutual information, nats", "accuracy": "accuracy"}


def file_name(group: TaskRecords, figure: str = "") -> str:
    """File name of a figure of a task, beside the board."""
    return f"{group.stem}{figure and '-'}{figure}.png"


def draw(groups: Sequence[TaskRecords], methods: Iterable[str]) -> dict[str, bytes]:
    """PNG files by name. A regression on a line has its fits; a classification its attacks and shifts.

    A task with a reference predictive has the distances from it.
    A method has the same colour and marker in all of them; ``methods`` are those of the whole board.
    """
    style = styles(methods)
    pictures = {}
    for group in groups:
        if has_fits(group):
            pictures[file_name(group)] = _fits(group)
        if fidelity_sets(group):
            pictures[file_name(group, "fidelity")] = fidelity_figure(group, style)
        if group.task.kind != "classification":
            continue
        if has_summary(group):
            pictures[file_name(group, "summary")] = summary_figure(group, style)
        if any(group.has(f"robust/{norm}") for norm in NORMS):
            pictures[file_name(group, "attacks")] = _attacks(group, style)
        if group.uncertainty_sets():
            pictures[file_name(group, "uncertainty")] = _uncertainty(group, style)
        if corruption_panels(group):
            pictures[file_name(group, "corruptions")] = corruption_figure(group, style)
        many_images, single_image = group.shifts()
        if many_images:
            pictures[file_name(group, "shifts")] = _shifts(group, many_images, style)
        if single_image:
            pictures[file_name(group, "images")] = _single_images(group, single_image)
    return pictures


def has_fits(group: TaskRecords) -> bool:
    """Whether the fits of a regression can be drawn: every record must have its training data and its predictions on a line."""
    curves = [record.curves for record in group.finished]
    drawable = all("grid/prediction" in each and "train/data" in each for each in curves)
    return group.task.kind == "regression" and bool(curves) and drawable


def _fits(group: TaskRecords) -> bytes:
    """One panel for each method, from its lowest seed: data, true function, mean, and bands of standard deviations."""
    records = _first_records(group)
    rows = -(-len(records) // COLUMNS)
    figure = new_figure(4 * COLUMNS, 3 * rows)
    axes = list(figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flat)
    for axis, record in zip(axes, records, strict=False):
        _fit(axis, record)
    for axis in axes[len(records) :]:
        axis.set_visible(False)
    for axis in axes[max(0, len(records) - COLUMNS) : len(records)]:
        axis.tick_params(labelbottom=True)  # the lowest visible panel of each column
    for axis in axes[COLUMNS * (rows - 1) : len(records)]:
        axis.set_xlabel("x")
    for axis in axes[::COLUMNS]:
        axis.set_ylabel("y")
    return png(figure, *axes[0].get_legend_handles_labels())


def _fit(axis: Any, record: Record) -> None:
    curve, data = record.curves["grid/prediction"], record.curves["train/data"]
    x, mean, std = curve["x"], curve["mean"], curve["std"]
    for k in (3, 2, 1):
        low = [m - k * s for m, s in zip(mean, std, strict=True)]
        high = [m + k * s for m, s in zip(mean, std, strict=True)]
        label = "mean ± 1, 2, 3 standard deviations over networks" if k == 1 else None
        axis.fill_between(x, low, high, color="#4c78a8", alpha=0.18, linewidth=0, label=label)
    axis.plot(x, curve["truth"], color="black", linewidth=1, linestyle="--", label="true function")
    axis.plot(x, mean, color="#1f4e79", linewidth=1.5, label="mean of the networks")
    axis.plot(data["x"], data["y"], "o", color="#d1495b", markersize=4, label="training data")
    axis.set(title=record.method.name, xlim=(min(x), max(x)), ylim=Y_RANGE)


def _shifts(group: TaskRecords, shifts: list[str], style: Styles) -> bytes:
    """A row for each quantity and a column for each shift; one line for each method."""
    figure = new_figure(4.2 * len(shifts), 2.6 * len(QUANTITIES))
    grid = figure.subplots(len(QUANTITIES), len(shifts), squeeze=False)
    for column, shift in enumerate(shifts):
        for row, (quantity, label) in enumerate(QUANTITIES.items()):
            axis = grid[row, column]
            for method in drawn_methods(group):
                line(axis, group.curves(f"shift/{shift}", method), quantity, {"color": style[method]["color"]}, method)
            axis.set_visible(axis.has_data())
            axis.set(xlabel=_shift_axis(group, shift), ylabel=label, title=shift if row == 0 else "")
            axis.set_ylim(bottom=0, top=1.02 if quantity == "accuracy" else None)
            _angle_ticks(axis, _shift_axis(group, shift))
    return png(figure, *grid[0, 0].get_legend_handles_labels())


def _attacks(group: TaskRecords, style: Styles) -> bytes:
    """Two rows for each norm, accuracy and entropy; a column for the worst case and for each attack; a line for each method."""
    attack_norms = group.attack_norms()
    curves_by_norm = {
        norm: [f"robust/{norm}", *(f"attack/{name}" for name in group.attacks() if attack_norms.get(name) == norm)]
        for norm in NORMS
        if group.has(f"robust/{norm}")
    }
    columns = max(map(len, curves_by_norm.values()))
    figure = new_figure(2.9 * columns, 4.6 * len(curves_by_norm))
    grid = figure.subplots(2 * len(curves_by_norm), columns, squeeze=False)
    for axis in grid.flat:
        axis.set_visible(False)
    for block, (norm, names) in enumerate(curves_by_norm.items()):
        for column, name in enumerate(names):
            largest = max(epsilon for curve in group.curves(name) for epsilon in curve["epsilon"])
            for row, quantity in enumerate(("accuracy", "entropy")):
                axis = grid[2 * block + row, column]
                _attack_panel(axis, group, name, quantity, style)
                title = f"worst case, {NORMS[norm]}" if column == 0 else name.removeprefix("attack/")
                axis.set(
                    title=title if row == 0 else "", xlabel=f"ε ({NORMS[norm]})", xlim=(-0.04 * largest, 1.04 * largest)
                )
    visible = next(axis for axis in grid.flat if axis.has_data())
    handles, labels = visible.get_legend_handles_labels()
    return png(figure, handles, [f"{name} (audit failed)" if group.failed_checks(name) else name for name in labels])


def _attack_panel(axis: Any, group: TaskRecords, name: str, quantity: str, style: Styles) -> None:
    for method in drawn_methods(group):
        own = style[method] | {"linestyle": "--" if group.failed_checks(method) else "-"}
        line(axis, group.curves(name, method), quantity, own | {"markersize": 3.5}, method)
    axis.set_visible(axis.has_data())
    axis.set_ylabel(QUANTITIES[quantity])
    axis.set_ylim(bottom=-0.02, top=1.02 if quantity == "accuracy" else None)


def _uncertainty(group: TaskRecords, style: Styles) -> bytes:
    """A row for each OOD set; a column for each choice of images that are attacked; a line for each method."""
    sets = group.uncertainty_sets()
    figure = new_figure(3.6 * len(ATTACKED_SETS), 3.2 * len(sets) + 0.4)
    grid = figure.subplots(len(sets), len(ATTACKED_SETS), sharex=True, sharey=True, squeeze=False)
    for row, name in enumerate(sets):
        for column, (which, words) in enumerate(ATTACKED_SETS.items()):
            axis = grid[row, column]
            for method in drawn_methods(group):
                own = style[method] | {"linestyle": "--" if group.failed_checks(method) else "-"}
                curves = group.curves(f"uncertainty/{name}", method)
                line(axis, curves, f"auroc_{which}", own | {"markersize": 3.5}, method)
            axis.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
            axis.set(xlabel="ε (L∞)", title=f"{name}: {words} attacked", ylim=(-0.02, 1.02))
        grid[row, 0].set_ylabel("AUROC of OOD detection")
    return png(figure, *grid[0, 0].get_legend_handles_labels())


def _single_images(group: TaskRecords, shifts: list[str]) -> bytes:
    """A row for each method, from its lowest seed, and a column for each image: class probabilities and relative entropy."""
    records = _first_records(group)
    figure = new_figure(3.4 * len(shifts), 1.6 * len(records) + 0.8)
    grid = figure.subplots(len(records), len(shifts), sharex="col", sharey=True, squeeze=False)
    for row, record in enumerate(records):
        for column, shift in enumerate(shifts):
            curve = record.curves.get(f"shift/{shift}")
            if curve is not None and "p(0)" in curve:
                _single_image(grid[row, column], curve)
        grid[row, 0].set_ylabel(record.method.name)
    for column, shift in enumerate(shifts):
        grid[0, column].set_title(shift)
        grid[-1, column].set_xlabel(_shift_axis(group, shift))
        _angle_ticks(grid[-1, column], _shift_axis(group, shift))
    return png(figure, *grid[0, 0].get_legend_handles_labels())


def _single_image(axis: Any, curve: Curve) -> None:
    x = next(iter(curve.values()))
    probabilities = {label: values for label, values in curve.items() if label.startswith("p(")}
    for k, (label, values) in enumerate(probabilities.items()):
        axis.plot(x, values, color=COLOURS[k % len(COLOURS)], linewidth=1.2, label=label)
    relative_entropy = np.array(curve["entropy"]) / np.log(len(probabilities))
    axis.plot(x, relative_entropy, color="black", linewidth=1, linestyle="--", label="entropy / log K")
    axis.set_ylim(-0.03, 1.03)


def _angle_ticks(axis: Any, label: str) -> None:
    """Ticks at multiples of 45 or 90 if the axis is an angle."""
    from matplotlib.ticker import MultipleLocator

    if "degrees" in label:
        low, high = axis.get_xlim()
        axis.xaxis.set_major_locator(MultipleLocator(45 if high - low < 225 else 90))


def _shift_axis(group: TaskRecords, shift: str) -> str:
    """Name of the horizontal axis of a shift, with its unit."""
    return next(iter(group.curves(f"shift/{shift}")[0]))


def _first_records(group: TaskRecords) -> list[Record]:
    """The record of the lowest seed of each method, in the order of the board."""
    return [group.by_method[method][0] for method in drawn_methods(group)]
