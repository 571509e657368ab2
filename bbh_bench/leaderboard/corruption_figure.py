"""The figure of corrupted test images: error, likelihood and calibration along the severity, and the accuracy of each kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bbh_bench.leaderboard.drawing import drawn_methods, line, new_figure, png
from bbh_bench.leaderboard.tables import TaskRecords

CURVE = "corrupted/severity"
MEANS = {"error": "error", "nll": "NLL, nats", "ece": "ECE"}
"""Quantities of the mean over all corruptions, with the titles of their axes."""
COLUMNS = 4


@dataclass(frozen=True)
class CorruptionPanel:
    """One panel: a quantity of a curve against severity."""

    title: str
    curve: str
    quantity: str
    label: str


def corruption_panels(group: TaskRecords) -> list[CorruptionPanel]:
    """Means over all corruptions first. Empty for a task without corruptions."""
    if CURVE not in group.curve_names("corrupted/"):
        return []
    means = [CorruptionPanel(f"all: {label.partition(',')[0]}", CURVE, name, label) for name, label in MEANS.items()]
    single = [CorruptionPanel(name, f"shift/{name}", "accuracy", "accuracy") for name in group.corruptions()]
    return [*means, *single]


def corruption_figure(group: TaskRecords, styles: Mapping[str, dict[str, Any]]) -> bytes:
    """A PNG file with a line for each method in each panel."""
    panels = corruption_panels(group)
    rows = -(-len(panels) // COLUMNS)
    figure = new_figure(3.3 * COLUMNS, 2.7 * rows + 0.4)
    axes = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axis, panel in zip(axes, panels, strict=False):
        for method in drawn_methods(group):
            line(axis, group.curves(panel.curve, method), panel.quantity, styles[method] | {"markersize": 3.5}, method)
        axis.set(title=panel.title, xlabel="severity", ylabel=panel.label)
        axis.set_ylim(bottom=0, top=1.02 if panel.quantity == "accuracy" else None)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    return png(figure, *axes[0].get_legend_handles_labels())
