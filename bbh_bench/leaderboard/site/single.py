"""Charts of one record: the fit of a regression on a line, and the class probabilities of a single image."""

import math
from collections.abc import Mapping

from bbh_bench.leaderboard.figures import Y_RANGE
from bbh_bench.leaderboard.site.panels import HEIGHT, Point, Spec, axis
from bbh_bench.leaderboard.tables import Curve

SIDES = (("low", -1), ("high", 1))
DRAWN = 100
"""Points of a line that are drawn, about."""


def fit_panel(curves: Mapping[str, Curve]) -> Spec:
    """Training data, true function, mean of the networks, and bands of 1, 2 and 3 standard deviations."""
    grid, data = curves["grid/prediction"], curves["train/data"]
    rows: list[Point] = []
    step = max(1, len(grid["x"]) // DRAWN)
    for x, mean, std, truth in list(zip(grid["x"], grid["mean"], grid["std"], grid["truth"], strict=True))[::step]:
        bands = {f"{side}{k}": mean + sign * k * std for k in (1, 2, 3) for side, sign in SIDES}
        rows.append({"x": x, "mean": mean, "truth": truth} | bands)
    scale = {"domain": list(Y_RANGE)}
    x_axis, y = axis("x", "x"), "y"
    areas = [
        {
            "mark": {"type": "area", "opacity": 0.2, "clip": True, "color": "palette:0"},
            "encoding": {"x": x_axis, "y": axis(f"low{k}", y, scale), "y2": {"field": f"high{k}"}},
        }
        for k in (3, 2, 1)
    ]
    layers = [
        *areas,
        _line(axis("truth", y, scale), x_axis, {"color": "theme:ink", "strokeDash": [5, 3]}),
        _line(axis("mean", y, scale), x_axis, {"color": "palette:0"}),
        {
            "data": {"values": [{"x": a, "y": b} for a, b in zip(data["x"], data["y"], strict=True)]},
            "mark": {"type": "point", "filled": True, "color": "palette:1", "size": 30, "opacity": 1},
            "encoding": {"x": x_axis, "y": axis("y", y, scale), "tooltip": [{"field": "x"}, {"field": "y"}]},
        },
    ]
    description = (
        "Training data, true function (dashed), mean of the networks and bands of 1, 2 and 3 standard deviations."
    )
    return _sized(description, rows, layers)


def image_panel(curve: Curve) -> Spec:
    """The probability of each class along a shift of one image, and the entropy divided by log K, dashed."""
    name = next(iter(curve))
    classes = [label for label in curve if label.startswith("p(")]
    rows: list[Point] = [
        {"x": x, "label": label, "y": value}
        for label in classes
        for x, value in zip(curve[name], curve[label], strict=True)
    ]
    entropy = [
        {"x": x, "y": value / math.log(len(classes))} for x, value in zip(curve[name], curve["entropy"], strict=True)
    ]
    scale = {"domain": [0, 1]}
    colours = [f"palette:{k % 10}" for k in range(len(classes))]
    colour = {
        "field": "label",
        "type": "nominal",
        "scale": {"domain": classes, "range": colours},
        "legend": {"title": None, "orient": "bottom", "columns": 5, "labelColor": "theme:ink"},
    }
    tooltip = [
        {"field": "label"},
        {"field": "x", "title": name},
        {"field": "y", "title": "probability", "format": ".3f"},
    ]
    encoding = {"x": axis("x", name), "y": axis("y", "probability", scale), "color": colour, "tooltip": tooltip}
    dashed = _line(axis("y", "probability", scale), axis("x", name), {"color": "theme:ink", "strokeDash": [5, 3]})
    layers: list[Spec] = [
        {"mark": {"type": "line", "strokeWidth": 1.4}, "encoding": encoding},
        {"data": {"values": entropy}} | dashed,
    ]
    return _sized("The probability of each class, and dashed the predictive entropy divided by log K.", rows, layers)


def _line(y: Spec, x: Spec, mark: Spec) -> Spec:
    return {"mark": {"type": "line", "strokeWidth": 1.4, "clip": True} | mark, "encoding": {"x": x, "y": y}}


def _sized(description: str, rows: list[Point], layers: list[Spec]) -> Spec:
    return {
        "description": description,
        "width": "container",
        "height": HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": rows},
        "layer": layers,
    }
