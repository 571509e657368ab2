"""Figures of what predictions are worth, from the stored ones: calibration, selective prediction, entropies."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from bbh_bench.leaderboard.distributions import COVERAGES, POINTS, Distributions
from bbh_bench.leaderboard.site.panels import Panel, Point, Spec, Style, axis, figure, lines

RELIABILITY = (
    "Accuracy against confidence, in ten bins of confidence, all seeds together. On the diagonal a method is calibrated; below "
    "it, overconfident. Rules show where 95 % of the points of a calibrated method would lie, with the images of one seed; "
    "filled markers are outside."
)
RISK = (
    "Risk is the share of misclassified images among those with the highest confidence, and coverage is how many these are. A "
    "curve that stays low for long belongs to a method whose confidence finds its errors; left of the panel all are near zero."
)
VISIBLE = 0.02
"""Share of the highest risk below which a curve cannot be told from zero."""
ENTROPIES = (
    "The share of images whose predictive entropy, divided by log K, is at most the value on the axis. The curve of test "
    "images should rise early, that of OOD images late."
)


def prediction_figure(known: Mapping[str, Distributions], methods: Sequence[str], style: Style) -> Markup:
    """The reliability diagram, risk against coverage, and the distribution functions of the entropy on each set of images."""
    names = [name for name in methods if name in known]
    if not names:
        return Markup("")
    panels = [
        Panel("reliability diagram", reliability(known, names, style)),
        Panel("risk against coverage", risk(known, names, style)),
    ]
    titles = ("entropy / log K", "share of images")
    for images in known[names[0]].entropy:
        points = [
            point(name, k / (POINTS - 1), share)
            for name in names
            for k, share in enumerate(known[name].entropy.get(images, []))
        ]
        panels.append(
            Panel(f"entropy: {images}", _with_few_markers(lines(points, names, style, titles, (0, 1)), 1 / 8))
        )
    return figure(panels, f"{RELIABILITY} {RISK} {ENTROPIES}", style.legend(names))


def point(method: str, x: float, y: float) -> Point:
    """A row of the data of ``lines``."""
    return {"method": method, "x": x, "y": y, "dashed": False}


def reliability(known: Mapping[str, Distributions], names: Sequence[str], style: Style) -> Spec:
    """A marker for each bin of each method, hollow if it lies within its interval of consistency."""
    points = [
        point(name, each.confidence, each.accuracy)
        | {
            "images": each.images,
            "from": each.low,
            "to": each.high,
            "outside": not each.low <= each.accuracy <= each.high,
        }
        for name in names
        for each in known[name].reliability
    ]
    spec = lines(points, names, style, ("confidence", "accuracy"), (0, 1))
    return _with_diagonal(_with_consistency(spec, style.colour(names)))


def risk(known: Mapping[str, Distributions], names: Sequence[str], style: Style) -> Spec:
    """A curve for each method, in percent, from where the first one leaves zero."""
    risks = {name: np.array(known[name].risk) for name in names}
    highest = np.max(list(risks.values()), axis=0)
    start = max(0, int(np.argmax(highest > VISIBLE * highest.max())) - 1)
    points = [
        point(name, float(coverage), 100 * float(value))
        for name in names
        for coverage, value in zip(COVERAGES[start:], risks[name][start:], strict=True)
    ]
    every = max(1, (len(COVERAGES) - start) // 8) / len(COVERAGES)
    return _with_few_markers(lines(points, names, style, ("coverage", "risk, %")), every)


def _with_consistency(spec: Spec, colour: Spec) -> Spec:
    """Rules for the intervals, and markers of which only those outside are filled."""
    *others, markers = spec["layer"]
    rules = {
        "mark": {"type": "rule", "opacity": 0.5, "strokeWidth": 1.5},
        "encoding": {"y": axis("from", "accuracy", {"domain": [0, 1]}), "y2": {"field": "to"}},
    }
    filled = {"condition": {"test": "datum.outside", "value": 1}, "value": 0}
    shown = markers | {
        "mark": {"type": "point", "size": 45, "strokeWidth": 1.5, "opacity": 1},
        "encoding": {**markers["encoding"], "fill": colour, "fillOpacity": filled},
    }
    return spec | {"layer": [rules, *others, shown]}


def _with_diagonal(spec: Spec) -> Spec:
    diagonal = {
        "data": {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]},
        "mark": {"type": "line", "color": "theme:ink", "strokeDash": [2, 2], "strokeWidth": 1, "opacity": 0.6},
        "encoding": {"y": {"field": "y", "type": "quantitative"}, "color": {"value": "theme:ink"}},
    }
    x = {**spec["encoding"]["x"], "scale": {"domain": [0, 1]}}
    return spec | {"encoding": {**spec["encoding"], "x": x}, "layer": [diagonal, *spec["layer"]]}


def _with_few_markers(spec: Spec, every: float) -> Spec:
    """Markers at multiples of ``every`` below 1, which tell methods apart without colours: the curves have many points."""
    *others, markers = spec["layer"]
    chosen = {"transform": [{"filter": f"abs((1 - datum.x) / {every} - round((1 - datum.x) / {every})) < 1e-6"}]}
    return spec | {"layer": [*others, markers | chosen]}
