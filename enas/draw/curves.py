"""Learning curves: figures over epochs, or over the networks that were judged, one panel each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enas.draw import canvas, colours
from enas.draw.layout import SMALL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL = (3.6, 2.6)  # inches
PAINT = (colours.INK, "#0072b2", "#c96f00", "#009e73", "#8a4f7d", colours.GREY)  # the first lines; then over again
DASHES = ("-", "--", ":")  # for every round of them
MANY = 40  # points above which they are not marked
Number = float | None


@dataclass(frozen=True)
class Line:
    """One line of a panel. None where there is no figure: the line has a gap there.

    name: empty where the axis says it all. low, high: a band around it, such as an interval.
    """

    name: str
    x: Sequence[float]
    y: Sequence[Number]
    low: Sequence[Number] = ()
    high: Sequence[Number] = ()


def curves_figure(
    lines: Sequence[Line], along: str, what: str, *, zero: bool = False, percent: bool = False, shaded: float = 0.0
) -> Figure:
    """A panel with some lines. along, what: names of the axes.

    zero: with a line where nothing differs. percent: the figures are shares of one. shaded: up to where on the x axis
    the background is grey.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    with canvas.style():
        figure = Figure(figsize=PANEL, layout="constrained")
        panel = figure.subplots()
        if shaded > 0:
            panel.axvspan(0, shaded, color=colours.BAND, linewidth=0)
        if zero:
            panel.axhline(0, color=colours.FAINT, linewidth=0.8)
        for i, line in enumerate(lines):
            colour, dashes = PAINT[i % len(PAINT)], DASHES[i // len(PAINT) % len(DASHES)]
            marker = "" if len(line.x) > MANY else "o"
            if line.low:
                panel.fill_between(
                    line.x, _numbers(line.low), _numbers(line.high), color=colours.FAINT, alpha=0.5, lw=0
                )
            y, name = _numbers(line.y), line.name or None
            panel.plot(line.x, y, dashes, color=colour, lw=1.1, marker=marker, ms=2.2, label=name)
        if any(line.name for line in lines):
            panel.legend(fontsize=SMALL, frameon=False)
        if percent:
            panel.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        panel.set_xlabel(along)
        panel.set_ylabel(what)
        panel.set_xlim(left=0)
        panel.spines[["top", "right"]].set_visible(False)
    return figure


def scatter_figure(points: Sequence[tuple[float, float]], level: float | None, along: str, what: str) -> Figure:
    """Points (x, y), both shares of one. level: of a dashed horizontal line, the found architecture's."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    with canvas.style():
        figure = Figure(figsize=PANEL, layout="constrained")
        panel = figure.subplots()
        panel.scatter([x for x, _ in points], [y for _, y in points], s=16, color=colours.INK, label="uniform")
        if level is not None:
            panel.axhline(level, color=PAINT[1], linewidth=1.1, linestyle="--", label="found, mean")
        panel.legend(fontsize=SMALL, frameon=False)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        panel.set_xlabel(along)
        panel.set_ylabel(what)
        panel.spines[["top", "right"]].set_visible(False)
    return figure


def _numbers(values: Sequence[Number]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]
