"""Everything that a search scored, over its costs: what nothing cheaper reaches stands out from the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enas.draw import canvas, colours
from enas.draw.layout import SMALL
from enas.pareto import front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = (3.6, 3.0)  # inches
NAMES = {
    "params": "parameters",
    "macs": "MACs",
    "latency_ms": "predicted latency, ms",
    "proxy_accuracy": "proxy accuracy",
    "accuracy": "validation accuracy",
}


def draw_fronts(rows: Sequence[Mapping[str, Any]], found: Collection[str], path: Path) -> None:
    """Write the picture as SVG or PNG, by the file's ending. Raises UserError where that cannot be."""
    canvas.check_path(path)
    canvas.save(fronts_figure(rows, found), path)


def fronts_figure(rows: Sequence[Mapping[str, Any]], found: Collection[str]) -> Figure:
    """A panel for each cost of the rows of results' archives. found: the texts of what was chosen."""
    from matplotlib.figure import Figure

    value = "proxy_accuracy" if "proxy_accuracy" in rows[0] else "accuracy"
    costs = list(rows[0]["costs"])
    with canvas.style():
        figure = Figure(figsize=(PANEL[0] * len(costs), PANEL[1]), layout="constrained")
        panels = figure.subplots(1, len(costs), squeeze=False, sharey=True)[0]
        for panel, cost in zip(panels, costs, strict=True):
            _draw_panel(panel, rows, cost, value, found)
        panels[0].set_ylabel(NAMES[value])
        entries, names = panels[0].get_legend_handles_labels()
        figure.legend(entries, names, fontsize=SMALL, frameon=False, loc="outside lower center", ncols=2 * len(costs))
    return figure


def _draw_panel(panel: Axes, rows: Sequence[Mapping[str, Any]], cost: str, value: str, found: Collection[str]) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

    best = front(rows, cost, value)
    rest = sorted(set(range(len(rows))) - set(best))
    for name, random, marker in (("searched", False, "o"), ("uniform", True, "x")):
        places = [i for i in rest if rows[i].get("random", False) is random]
        if places:
            x, y = [rows[i]["costs"][cost] for i in places], [rows[i][value] for i in places]
            panel.scatter(x, y, s=9, marker=marker, color=colours.FAINT, linewidths=0.8, label=f"{name}, dominated")
    x, y = [rows[i]["costs"][cost] for i in best], [rows[i][value] for i in best]
    panel.step(x, y, where="post", color=colours.INK, linewidth=0.8)
    panel.scatter(x, y, s=16, color=colours.INK, label="front")
    chosen = [row for row in rows if row["text"] in found]
    if chosen:
        x, y = [row["costs"][cost] for row in chosen], [row[value] for row in chosen]
        panel.scatter(x, y, s=90, facecolors="none", edgecolors=colours.INK, label="found")
    panel.xaxis.set_major_locator(MaxNLocator(nbins=5))
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    panel.set_xlabel(NAMES.get(cost, cost))
    panel.spines[["top", "right"]].set_visible(False)
