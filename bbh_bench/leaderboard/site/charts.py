"""The figures of a task's page: which panels they have, and from which records."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from markupsafe import Markup

from bbh_bench.leaderboard.comparison import half_width
from bbh_bench.leaderboard.corruption import FIGURE as CORRUPTIONS
from bbh_bench.leaderboard.corruption_figure import corruption_panels
from bbh_bench.leaderboard.drawing import drawn_methods
from bbh_bench.leaderboard.fidelity import FIGURE as FIDELITY
from bbh_bench.leaderboard.fidelity_figure import distances, fidelity_sets, floor, set_title
from bbh_bench.leaderboard.figures import QUANTITIES, has_fits
from bbh_bench.leaderboard.robustness import FIGURE as ATTACKS_CAPTION
from bbh_bench.leaderboard.site.panels import Panel, Point, Style, figure, intervals, lines, with_rule
from bbh_bench.leaderboard.site.single import fit_panel, image_panel
from bbh_bench.leaderboard.tables import ATTACKED_SETS, Curve, TaskRecords
from bbh_bench.leaderboard.task_page import FITS, SHIFTS, SINGLE_IMAGES
from bbh_bench.leaderboard.uncertainty import FIGURE as UNCERTAINTY_CAPTION
from bbh_bench.records.record import Record


def task_figures(group: TaskRecords, style: Style) -> dict[str, Markup]:
    """The figures that the markdown page has as pictures, by their key."""
    return {
        "fits": _fits(group),
        "attacks": _attacks(group, style),
        "uncertainty": _uncertainty(group, style),
        "shifts": _shifts(group, style),
        "images": _single_images(group),
        "fidelity": _fidelity(group, style),
        "corruptions": _corruptions(group, style),
    }


def curve_points(group: TaskRecords, name: str, quantity: str) -> list[Point]:
    """A point for each method and value on the horizontal axis: mean over seeds, and the band of its interval."""
    return [
        point | {"method": method, "dashed": bool(group.failed_checks(method))}
        for method in drawn_methods(group)
        for point in _points(group.curves(name, method), quantity)
    ]


def _points(curves: list[Curve], quantity: str) -> Iterator[Point]:
    """Seeds whose axis is not that of the first one are left out. One seed has the band that its curve gives it, if any."""
    curves = [curve for curve in curves if quantity in curve]
    if not curves:
        return
    x = next(iter(curves[0].values()))
    values = np.array([curve[quantity] for curve in curves if next(iter(curve.values())) == x])
    for k, position in enumerate(x):
        mean, half = float(values[:, k].mean()), half_width(values[:, k].tolist())
        point = {"x": position, "y": mean}
        if len(values) > 1 and not math.isnan(half):
            point |= {"low": mean - half, "high": mean + half}
        elif f"{quantity}_low" in curves[0]:
            point |= {"low": curves[0][f"{quantity}_low"][k], "high": curves[0][f"{quantity}_high"][k]}
        yield point


def _methods(points: Sequence[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(str(point["method"]) for point in points))


def _line_figure(
    group: TaskRecords,
    style: Style,
    chosen: Sequence[tuple[str, str, str, tuple[str, str], tuple[float, float] | None]],
    caption: str,
) -> Markup:
    """``chosen``: heading, name of the curve, quantity, titles of the axes and range of the values of each panel."""
    panels = []
    for title, name, quantity, titles, domain in chosen:
        points = curve_points(group, name, quantity)
        if points:
            panels.append(Panel(title, lines(points, _methods(points), style, titles, domain)))
    methods = drawn_methods(group)
    return figure(panels, caption, style.legend(methods, filter(group.failed_checks, methods)))


def _attacks(group: TaskRecords, style: Style) -> Markup:
    norms = group.attack_norms()
    axes = {"linf": "ε (L∞)", "l2": "ε (L2)"}
    chosen: list[tuple[str, str, str, tuple[str, str], tuple[float, float] | None]] = []
    for norm, axis in axes.items():
        chosen.append((f"worst case, {axis}", f"robust/{norm}", "accuracy", (axis, "accuracy"), (0, 1)))
    for attack in group.attacks():
        axis = axes.get(norms.get(attack, ""), "ε")
        chosen.append((attack, f"attack/{attack}", "accuracy", (axis, "accuracy"), (0, 1)))
        chosen.append((f"{attack}: entropy", f"attack/{attack}", "entropy", (axis, "predictive entropy, nats"), None))
    return _line_figure(group, style, chosen, ATTACKS_CAPTION)


def _uncertainty(group: TaskRecords, style: Style) -> Markup:
    chosen = [
        (f"{name}: {words} attacked", f"uncertainty/{name}", f"auroc_{which}", ("ε (L∞)", "AUROC"), (0.0, 1.0))
        for name in group.uncertainty_sets()
        for which, words in ATTACKED_SETS.items()
    ]
    return _line_figure(group, style, chosen, UNCERTAINTY_CAPTION)


def _shifts(group: TaskRecords, style: Style) -> Markup:
    chosen = []
    for name in group.shifts()[0]:
        axis = next(iter(group.curves(f"shift/{name}")[0]))
        for quantity, label in QUANTITIES.items():
            domain = (0.0, 1.0) if quantity == "accuracy" else None
            chosen.append((f"{name}: {label.partition(',')[0]}", f"shift/{name}", quantity, (axis, label), domain))
    return _line_figure(group, style, chosen, SHIFTS)


def _fidelity(group: TaskRecords, style: Style) -> Markup:
    panels = []
    for name in fidelity_sets(group):
        values, lowest = distances(group, name), floor(group, name)
        points: list[Point] = []
        for method, value in values.items():
            half = min(value.half or 0.0, 0.9 * value.mean)  # the axis is logarithmic
            points.append({"method": method, "x": value.mean, "low": value.mean - half, "high": value.mean + half})
        spec = intervals(points, list(values), style, "total variation", logarithmic=True)
        panels.append(Panel(set_title(name), spec if lowest is None else with_rule(spec, lowest)))
    return figure(panels, FIDELITY)


def _fits(group: TaskRecords) -> Markup:
    records = _first_records(group) if has_fits(group) else []
    return figure([Panel(record.method.name, fit_panel(record.curves)) for record in records], FITS)


def _corruptions(group: TaskRecords, style: Style) -> Markup:
    chosen: list[tuple[str, str, str, tuple[str, str], tuple[float, float] | None]] = [
        (
            panel.title,
            panel.curve,
            panel.quantity,
            ("severity", panel.label),
            (0, 1) if panel.quantity == "accuracy" else None,
        )
        for panel in corruption_panels(group)
    ]
    return _line_figure(group, style, chosen, CORRUPTIONS)


def _single_images(group: TaskRecords) -> Markup:
    panels = [
        Panel(f"{record.method.name}: {name}", image_panel(record.curves[f"shift/{name}"]))
        for name in group.shifts()[1]
        for record in _first_records(group)
        if "p(0)" in record.curves.get(f"shift/{name}", {})
    ]
    return figure(panels, SINGLE_IMAGES)


def _first_records(group: TaskRecords) -> list[Record]:
    """The record of the lowest seed of each method."""
    return [group.by_method[method][0] for method in drawn_methods(group)]
