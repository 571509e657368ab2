"""What the figures share: a colour and a marker for each method, lines with bands, PNG files."""

import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np

from bbh_bench.leaderboard.comparison import half_width
from bbh_bench.leaderboard.statistics import method_order
from bbh_bench.leaderboard.tables import Curve, TaskRecords

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6f4e37", "#555555", "#8a6fd1", "#a3a500")
"""Safe for the colour-blind (Okabe and Ito 2008, without black and yellow, and four more)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
"""A second cue beside the colour."""
BUILT_IN = ("map", "ensemble", "dropout", "bbb", "mnf", "bbh", "bbh-sliced", "bbh-single")
"""These have the first colours on every board, in this order."""


def style_numbers(methods: Iterable[str]) -> dict[str, int]:
    """Which colour and marker each method has: fixed by name for the built-in ones, the others follow in alphabetical order."""
    others = sorted(set(methods) - set(BUILT_IN))
    return {name: k % len(COLOURS) for k, name in enumerate([*BUILT_IN, *others])}


def styles(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each method, for matplotlib."""
    return {name: {"color": COLOURS[k], "marker": MARKERS[k]} for name, k in style_numbers(methods).items()}


def drawn_methods(group: TaskRecords) -> list[str]:
    """The methods that figures with lines show: as many as there are colours, the best ones, in the order of the board."""
    return method_order(group)[: len(COLOURS)]


def line(axis: Any, curves: list[Curve], quantity: str, style: dict[str, Any], label: str) -> None:
    """The mean over seeds, with a band of its 95 % t interval; of one seed, its own 95 % interval if it has one.

    Seeds whose axis is not that of the first one are left out.
    """
    curves = [curve for curve in curves if quantity in curve]
    if not curves:
        return
    x = next(iter(curves[0].values()))
    values = [curve[quantity] for curve in curves if next(iter(curve.values())) == x]
    mean = np.mean(values, axis=0)
    axis.plot(x, mean, **style, linewidth=1.5, label=label)
    if len(values) > 1:
        error = np.array([half_width(column) for column in zip(*values, strict=True)])
        axis.fill_between(x, mean - error, mean + error, color=style["color"], alpha=0.12, linewidth=0)
    elif f"{quantity}_low" in curves[0]:
        low, high = curves[0][f"{quantity}_low"], curves[0][f"{quantity}_high"]
        axis.fill_between(x, low, high, color=style["color"], alpha=0.12, linewidth=0)


def new_figure(width: float, height: float) -> Any:
    """An empty figure; sizes in inches."""
    _import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def few_ticks(axis: Any) -> None:
    """Five ticks at most, so that small epsilons do not overlap."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(5))


def plain_logarithmic_ticks(axis: Any) -> None:
    """Labels 0.1, 0.2, 0.5, 1 in place of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _import_matplotlib() -> None:
    """Import it, which takes half a second, and which only boards need.

    That raises ``ValueError`` if $MPLBACKEND names an unknown backend. Figures here need none: it is imported without the
    variable, whose value is set afterwards, if it is valid, for others who need it.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", "")
    try:
        matplotlib = import_module("matplotlib")
    finally:
        if backend:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


def png(figure: Any, handles: list[Any], labels: list[str]) -> bytes:
    """The figure as a PNG file, with one legend below it."""
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 11), frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    return picture.getvalue()
