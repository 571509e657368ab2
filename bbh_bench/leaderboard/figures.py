"""The board's figures, from records alone."""

import io
from typing import Any

from bbh_bench.leaderboard.tables import TaskRecords, order
from bbh_bench.record import Record

COLUMNS = 3
Y_RANGE = (-100, 100)  # as in the paper's first figure


def name(group: TaskRecords) -> str:
    """The file of a task's figure, beside the board."""
    task = group.head.task
    return f"{task['name']}-v{task['version']}-{task['fingerprint'][:6]}.png"


def draw(groups: list[TaskRecords]) -> dict[str, bytes]:
    """PNG files by name: so far one for each regression on a line."""
    return {name(group): _panels(group) for group in groups if group.has("grid/prediction")}


def _panels(group: TaskRecords) -> bytes:
    """One panel a method: data, truth, mean and bands of 1, 2 and 3 standard deviations, from the lowest seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (half a second, for boards with figures)
    from matplotlib.figure import Figure  # noqa: PLC0415

    shown = [next(r for r in group.finished if r.method["name"] == method) for method in order(group)]
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flat)
    for axis, record in zip(axes, shown, strict=False):
        _panel(axis, record)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    return picture.getvalue()


def _panel(axis: Any, record: Record) -> None:
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
