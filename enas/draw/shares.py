"""How often the controller makes each choice, epoch by epoch, as a heat map: one panel a group of decisions."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from enas.draw import canvas, colours
from enas.draw.layout import SMALL, TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN, PANEL_WIDTH, ROW, TITLE_HEIGHT, BETWEEN = 0.25, 5.6, 0.25, 0.26, 0.22  # inches
TICK, AXIS_HEIGHT, MOST_TICKS = 0.05, 0.30, 12
KEY_WIDTH, KEY_HEIGHT = 1.4, 0.12
SWATCH, SPACE, LAST_WIDTH = 0.13, 0.08, 0.55
LEVELS = "Blues"  # one hue, lightness alone: safe for colour-blind readers and in print
MEANING = "share of the sampled choices"

Shares = Mapping[str, Mapping[str, float]]  # group -> choice -> share, as in the records


def choice_history(records: Iterable[Mapping[str, Any]]) -> list[Shares]:
    """The shares in a search's records, one after the other. Raises ValueError, KeyError, TypeError or AttributeError
    where the records are damaged."""
    epochs = [record for record in records if record["kind"] in ("epoch", "generation")]
    history = [
        {
            group: {choice: float(share) for choice, share in choices.items()}
            for group, choices in record["choice_shares"].items()
        }
        for record in epochs
    ]
    names = [{group: list(choices) for group, choices in shares.items()} for shares in history]
    if not all(shares == names[0] and shares and all(shares.values()) for shares in names):
        raise ValueError("epochs differ in their choices")
    return list(history)


def draw_choices(history: Sequence[Shares], path: Path) -> None:
    """Write the heat map as SVG or PNG, by the file's ending. Raises UserError where that cannot be."""
    canvas.check_path(path)
    canvas.save(choices_figure(history), path)


def choices_figure(history: Sequence[Shares], meaning: str = MEANING, along: str = "epoch") -> Figure:
    """The heat map of the shares after each epoch, at least one of them, all with the same groups and choices.

    meaning: what the shares are. along: what stands for an epoch.
    """
    with canvas.style():
        last = history[-1]
        names = max(canvas.text_width(choice, SMALL) for choices in last.values() for choice in choices)
        left = MARGIN + SWATCH + SPACE + names + SPACE
        right = left + PANEL_WIDTH + LAST_WIDTH
        heights = [TITLE_HEIGHT + ROW * len(choices) for choices in last.values()]
        bottom = MARGIN + sum(heights) + BETWEEN * (len(heights) - 1)
        figure, axes = canvas.page(right + MARGIN, bottom + AXIS_HEIGHT + KEY_HEIGHT + MARGIN)
        axes.text(right, MARGIN, f"last {along}", size=SMALL, color=colours.GREY, ha="right", va="top")
        top = MARGIN
        for (group, choices), height in zip(last.items(), heights, strict=True):
            axes.text(MARGIN, top, group, size=TEXT, weight="bold", color=colours.INK, va="top", parse_math=False)
            values = np.array([[shares[group][choice] for shares in history] for choice in choices])  # [K, epochs]
            _draw_panel(axes, values, left, top + TITLE_HEIGHT, top + height)
            for row, choice in enumerate(choices):
                _draw_names(axes, choice, values[row, -1], left, right, top + TITLE_HEIGHT + ROW * (row + 0.5))
            top += height + BETWEEN
        _draw_epochs(axes, len(history), along, left, bottom)
        _draw_key(axes, meaning, left + PANEL_WIDTH, bottom + AXIS_HEIGHT)
    return figure


def _draw_panel(
    axes: Axes, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], left: float, top: float, bottom: float
) -> None:
    """One group's shares [K, epochs]."""
    right = left + PANEL_WIDTH
    _draw_levels(axes, values, left, right, top, bottom)
    borders = np.linspace(top, bottom, len(values) + 1)[1:-1]
    axes.hlines(borders, left, right, color="white", linewidth=1.2)


def _draw_levels(
    axes: Axes,
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    left: float,
    right: float,
    top: float,
    bottom: float,
) -> None:
    from matplotlib.patches import Rectangle

    # in an SVG too the values themselves: no smoothing, no resampling
    extent = (left, right, bottom, top)
    axes.imshow(values, cmap=LEVELS, vmin=0.0, vmax=1.0, aspect="auto", interpolation="none", extent=extent)
    border = Rectangle(
        (left, top), right - left, bottom - top, facecolor="none", edgecolor=colours.FAINT, linewidth=0.8
    )
    axes.add_patch(border)


def _draw_names(axes: Axes, choice: str, last: float, left: float, right: float, y: float) -> None:
    """A row's name with its operation's colour before the panel, its last share after it."""
    from matplotlib.patches import Rectangle

    if choice in colours.OPERATIONS:
        corner = (MARGIN, y - SWATCH / 2)
        axes.add_patch(Rectangle(corner, SWATCH, SWATCH, facecolor=colours.fill(choice), edgecolor="none"))
    canvas.write(axes, left - SPACE, y, choice, SMALL, colours.INK, "right")
    canvas.write(axes, right, y, f"{100 * last:.0f} %", SMALL, colours.INK, "right")


def _draw_epochs(axes: Axes, epochs: int, along: str, left: float, top: float) -> None:
    """The numbers of the epochs, from 1, below the lowest panel."""
    step = next(s * 10**power for power in itertools.count() for s in (1, 2, 5) if epochs <= MOST_TICKS * s * 10**power)
    for epoch in range(step, epochs + 1, step):
        x = left + PANEL_WIDTH * (epoch - 0.5) / epochs
        axes.vlines(x, top, top + TICK, color=colours.FAINT, linewidth=0.8)
        canvas.write(axes, x, top + TICK + 0.08, str(epoch), SMALL, colours.GREY)
    canvas.write(axes, left - SPACE, top + TICK + 0.08, along, SMALL, colours.GREY, "right")


def _draw_key(axes: Axes, meaning: str, right: float, top: float) -> None:
    """What the levels mean."""
    left, middle = right - KEY_WIDTH, top + KEY_HEIGHT / 2
    _draw_levels(axes, np.linspace(0, 1, 64)[None], left, right, top, top + KEY_HEIGHT)
    canvas.write(axes, left - SPACE, middle, f"{meaning}: 0 %", SMALL, colours.GREY, "right")
    canvas.write(axes, right + SPACE, middle, "100 %", SMALL, colours.GREY, "left")
