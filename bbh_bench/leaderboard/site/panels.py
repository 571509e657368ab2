"""Charts as Vega-Lite specifications, one panel each, and their legend. ``site.js`` draws them in the colours of the theme."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bbh_bench.leaderboard.site.markup import as_script

Spec = dict[str, Any]
"""A Vega-Lite specification. ``palette:<k>`` and ``theme:ink`` stand for colours of the theme."""
Point = dict[str, Any]
"""A row of a chart's data."""

SHAPES = (
    "M0,-1A1,1,0,1,1,0,1A1,1,0,1,1,0,-1Z",
    "M-0.85,-0.85L0.85,-0.85L0.85,0.85L-0.85,0.85Z",
    "M0,-1.1L1,0.75L-1,0.75Z",
    "M0,-1.2L0.9,0L0,1.2L-0.9,0Z",
    "M0,1.1L1,-0.75L-1,-0.75Z",
    "M-0.35,-1L0.35,-1L0.35,-0.35L1,-0.35L1,0.35L0.35,0.35L0.35,1L-0.35,1L-0.35,0.35L-1,0.35L-1,-0.35L-0.35,-0.35Z",
    "M-1,-0.55L-0.55,-1L0,-0.45L0.55,-1L1,-0.55L0.45,0L1,0.55L0.55,1L0,0.45L-0.55,1L-1,0.55L-0.45,0Z",
    "M0,-1.15L0.27,-0.37L1.09,-0.36L0.44,0.14L0.68,0.93L0,0.46L-0.68,0.93L-0.44,0.14L-1.09,-0.36L-0.27,-0.37Z",
    "M-1.1,0L0.75,-1L0.75,1Z",
    "M1.1,0L-0.75,-1L-0.75,1Z",
)
"""SVG paths of the markers, in the order of ``drawing.MARKERS``."""
HEIGHT = 220


@dataclass(frozen=True)
class Panel:
    """One chart with a heading."""

    title: str
    spec: Spec


class Style:
    """Colour and marker of each method, by ``drawing.style_numbers``."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self.numbers = numbers

    def colour(self, methods: Sequence[str]) -> Spec:
        """The encoding of the field ``method`` as a colour."""
        colours = [f"palette:{self.numbers[name]}" for name in methods]
        return {"field": "method", "type": "nominal", "scale": {"domain": methods, "range": colours}, "legend": None}

    def shape(self, methods: Sequence[str]) -> Spec:
        """The encoding of the field ``method`` as a marker."""
        shapes = [SHAPES[self.numbers[name]] for name in methods]
        return {"field": "method", "type": "nominal", "scale": {"domain": methods, "range": shapes}, "legend": None}

    def legend(self, methods: Iterable[str], failed: Iterable[str] = ()) -> Markup:
        """A list of markers and names. ``failed``: methods that failed the audit, whose lines are dashed."""
        failed = set(failed)
        item = Markup(
            "<li><svg width='14' height='14' viewBox='-1.4 -1.4 2.8 2.8' aria-hidden='true'><path d='{}' fill='var(--c{})'/>"
            "</svg>{}{}</li>"
        )
        numbers = self.numbers
        items = (
            item.format(SHAPES[numbers[name]], numbers[name], name, " (dashed: audit failed)" if name in failed else "")
            for name in methods
        )
        return Markup("<ul class='legend'>{}</ul>").format(Markup("").join(items))


def figure(panels: Sequence[Panel], caption: str, legend: Markup = Markup("")) -> Markup:  # noqa: B008  (immutable)
    """Panels side by side, as many as the screen has room for. Empty without panels."""
    if not panels:
        return Markup("")
    inner = Markup("\n").join(map(_panel, panels))
    kind = " one" if len(panels) == 1 else ""
    whole = Markup("<figure>{}<div class='panels{}'>{}</div><figcaption>{}</figcaption></figure>")
    return whole.format(legend, kind, inner, caption)


def _panel(panel: Panel) -> Markup:
    return Markup(
        "<div class='panel'><h3>{}</h3><div class='chart'></div><script type='application/json'>{}</script></div>"
    ).format(panel.title, as_script(_rounded(panel.spec)))


def _rounded(value: Any) -> Any:
    """Numbers with as many digits as can be seen."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def axis(field: str, title: str, scale: Mapping[str, Any] | None = None) -> Spec:
    """A quantitative encoding of a field of the data."""
    chosen = dict(scale or {"zero": False})
    ticks = {"tickCount": 4} if chosen.get("type") == "log" else {}
    return {"field": field, "type": "quantitative", "title": title, "scale": chosen, "axis": ticks}


def lines(
    points: list[Point],
    methods: Sequence[str],
    style: Style,
    titles: tuple[str, str],
    domain: Sequence[float] | None = None,
) -> Spec:
    """A line with markers for each method: ``points`` have ``method``, ``x``, ``y``, and ``low`` and ``high`` of its band.

    ``titles`` of the two axes. Points with ``dashed`` are those of methods that failed the audit.
    """
    x, y = titles
    scale = {"domain": list(domain)} if domain else {"zero": False}
    band = {"y": axis("low", y, scale), "y2": {"field": "high"}}
    tooltip = [
        {"field": "method"},
        {"field": "x", "title": x, "format": ".4~g"},
        {"field": "y", "title": y, "format": ".4~g"},
    ]
    interval = [{"field": "low", "format": ".4~g"}, {"field": "high", "format": ".4~g"}]
    dash = {
        "field": "dashed",
        "type": "nominal",
        "scale": {"domain": [False, True], "range": [[1, 0], [5, 3]]},
        "legend": None,
    }
    with_band = any("low" in point for point in points)
    markers = {
        "y": axis("y", y, scale),
        "shape": style.shape(methods),
        "tooltip": tooltip + (interval if with_band else []),
    }
    layers: list[Spec] = (
        [{"mark": {"type": "area", "opacity": 0.09, "clip": True}, "encoding": band}] if with_band else []
    )
    layers += [
        {
            "mark": {"type": "line", "strokeWidth": 1.6, "clip": True},
            "encoding": {"y": axis("y", y, scale), "strokeDash": dash},
        },
        {"mark": {"type": "point", "filled": True, "size": 45, "opacity": 1}, "encoding": markers},
    ]
    encoding = {"x": axis("x", x), "color": style.colour(methods)}
    return _sized(f"{y} against {x}, a line for each method.", points, encoding, layers)


def scatter(
    points: list[Point], methods: Sequence[str], style: Style, titles: tuple[str, str], logarithmic: tuple[bool, bool]
) -> Spec:
    """A marker for each method, with rules for its intervals: ``x``, ``x_low``, ``x_high`` and the same of ``y``.

    Points with ``front`` false are hollow.
    """
    scales: list[Spec] = [
        {"type": "log", "nice": False, "padding": 25} if log else {"zero": False, "padding": 12} for log in logarithmic
    ]
    x, y = (axis(name, title, scale) for name, title, scale in zip("xy", titles, scales, strict=True))
    tooltip = [
        {"field": "method"},
        *({"field": name, "title": t, "format": ".4~g"} for name, t in zip("xy", titles, strict=True)),
    ]
    opacity = {"condition": {"test": "datum.front", "value": 1}, "value": 0}
    mark = {"type": "point", "size": 90, "strokeWidth": 2, "opacity": 1}
    fill = style.colour(methods)
    layers = [
        {
            "mark": {"type": "rule", "opacity": 0.6},
            "encoding": {"x": x, "y": axis("y_low", titles[1], scales[1]), "y2": {"field": "y_high"}},
        },
        {
            "mark": {"type": "rule", "opacity": 0.6},
            "encoding": {"y": y, "x": axis("x_low", titles[0], scales[0]), "x2": {"field": "x_high"}},
        },
        {
            "mark": mark,
            "encoding": {
                "x": x,
                "y": y,
                "shape": style.shape(methods),
                "tooltip": tooltip,
                "fill": fill,
                "fillOpacity": opacity,
            },
        },
    ]
    description = f"{titles[1]} against {titles[0]}, a marker for each method."
    return _sized(description, points, {"color": style.colour(methods)}, layers)


def intervals(points: list[Point], methods: Sequence[str], style: Style, title: str, logarithmic: bool = False) -> Spec:
    """A row for each method: its mean ``x``, the rule from ``low`` to ``high``, and the text ``label`` at the left, if any."""
    y = {"field": "method", "type": "nominal", "sort": list(methods), "title": None, "axis": {"labelLimit": 220}}
    scale = {"type": "log", "nice": False, "padding": 12} if logarithmic else None
    x = axis("x", title, scale)
    labels = any("label" in point for point in points)
    tooltip = [
        {"field": "method"},
        {"field": "x", "title": title, "format": ".4~g"},
        *([{"field": "label", "title": "rank"}] if labels else []),
    ]
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {"x": axis("low", title, scale), "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
            "encoding": {"x": x, "shape": style.shape(methods), "tooltip": tooltip},
        },
    ]
    if labels:
        text = {"type": "text", "align": "left", "dx": 5, "fontSize": 11}
        high = axis("high", title, scale)
        layers.append(
            {"mark": text, "encoding": {"x": high, "text": {"field": "label"}, "color": {"value": "theme:ink"}}}
        )
    spec = _sized(
        f"{title}: mean and interval of each method.", points, {"y": y, "color": style.colour(methods)}, layers
    )
    return spec | {"height": 30 * len(methods)}


def with_rule(spec: Spec, x: float) -> Spec:
    """The chart with a dashed vertical line at ``x``."""
    rule = {
        "data": {"values": [{"x": x}]},
        "mark": {"type": "rule", "strokeDash": [4, 3], "strokeWidth": 1.5, "color": "theme:ink"},
        "encoding": {"y": None, "x": {"field": "x", "type": "quantitative"}, "color": {"value": "theme:ink"}},
    }
    return spec | {"layer": [rule, *spec["layer"]]}


def _sized(description: str, points: list[Point], encoding: Spec, layers: list[Spec]) -> Spec:
    return {
        "description": description,
        "width": "container",
        "height": HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": points},
        "encoding": encoding,
        "layer": layers,
    }
