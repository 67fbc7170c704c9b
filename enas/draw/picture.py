"""An architecture as a picture: its sketches side by side, and what the colours mean below them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enas import checkpoint
from enas.draw import canvas, colours
from enas.draw.canvas import BANDS, BOXES, LINES, TEXTS
from enas.draw.layout import SECOND_LINE, SMALL, TEXT, Curve, Layout, Point, Rect, layout
from enas.draw.text import TEXT_ENDING, architecture_text
from enas.spaces.sketch import SKIP, STRUCTURE, Sketch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path as Outline

MARGIN, BETWEEN, BELOW = 0.22, 0.5, 0.3  # inches around the page, between sketches beside and below each other
TITLE, TITLE_HEIGHT = 10.0, 0.38
LEGEND_LINE, SWATCH, AFTER_SWATCH, AFTER_ENTRY = 0.23, 0.15, 0.08, 0.24
RADIUS = 0.05  # of corners
ARROW, ARROW_HALF = 0.08, 0.033  # length and half the width of an arrow's head
THICK, THIN, THINNEST, MANY_ARCS = 1.1, 0.9, 0.6, 60  # points: edges, arcs, arcs where there are many

Entry = tuple[str, str]  # of the legend: kind, text


def draw_architecture(sketches: Sequence[Sketch], path: Path) -> None:
    """Write the picture as SVG, PNG or plain text, by the file's ending. Raises UserError where that cannot be."""
    check_drawing(path)
    if path.suffix.lower() == TEXT_ENDING:
        checkpoint.write(path, lambda file: file.write(architecture_text(sketches).encode()))
    else:
        canvas.save(architecture_figure(sketches), path)


def check_drawing(path: Path) -> None:
    """Raise UserError unless the picture of an architecture can be written there; meant for before the work."""
    canvas.check_path(path, (*canvas.ENDINGS, TEXT_ENDING))


def architecture_figure(sketches: Sequence[Sketch]) -> Figure:
    """The picture of an architecture; its size follows from what is in it."""
    with canvas.style():
        layouts = [layout(sketch, canvas.text_width) for sketch in sketches]
        sizes = [
            (max(placed.width, 1.1 * canvas.text_width(sketch.title, TITLE)), placed.height)  # bold is wider
            for sketch, placed in zip(sketches, layouts, strict=True)
        ]
        corners, width, height = arranged(sizes)
        entries = _entries(sketches)
        width = max([width, *map(_entry_width, entries)])
        rows = _wrapped(entries, width)
        bottom = MARGIN + height + (MARGIN if rows else 0.0)
        figure, axes = canvas.page(width + 2 * MARGIN, bottom + LEGEND_LINE * len(rows) + MARGIN)
        for sketch, placed, (x, y) in zip(sketches, layouts, corners, strict=True):
            left, top = MARGIN + x, MARGIN + y
            axes.text(left, top, sketch.title, size=TITLE, weight="bold", color=colours.INK, va="top")
            _draw(axes, placed, (left, top + TITLE_HEIGHT))
        _draw_legend(axes, rows, bottom)
    return figure


def arranged(sizes: Sequence[tuple[float, float]]) -> tuple[list[Point], float, float]:
    """Upper left corners of sketches with their titles, and width and height of all: in columns, nearly a square."""
    full = [(width, height + TITLE_HEIGHT) for width, height in sizes]
    runs = [full[i:j] for i in range(len(full)) for j in range(i + 1, len(full) + 1)]
    limits = {sum(height for _, height in run) + BELOW * (len(run) - 1) for run in runs}
    highest = max(height for _, height in full)
    options = [_columns(full, limit) for limit in sorted(limits) if limit >= highest]
    return min(options, key=lambda option: max(option[1], option[2]))


def _columns(sizes: Sequence[tuple[float, float]], limit: float) -> tuple[list[Point], float, float]:
    """One below the other as long as a column is not higher than the limit."""
    corners: list[Point] = []
    left = right = down = bottom = 0.0
    for width, height in sizes:
        if corners and down + height > limit + 1e-9:
            left, down = right + BETWEEN, 0.0
        corners.append((left, down))
        right, bottom = max(right, left + width), max(bottom, down + height)
        down += height + BELOW
    return corners, right, bottom


def _draw(axes: Axes, placed: Layout, at: Point) -> None:
    """One sketch, its upper left corner at a point of the page."""
    arcs = [curve for curve in placed.curves if curve.edge.kind == SKIP]
    others = [curve for curve in placed.curves if curve.edge.kind != SKIP]
    kind_of = {box.name: box.kind for box, _ in placed.boxes}
    for stage, rect in placed.bands:
        y = at[1] + rect.top + 0.07
        axes.text(at[0] + rect.left + 0.09, y, stage, size=SMALL, color=colours.GREY, va="top", zorder=TEXTS)
    _fill(axes, [rect for _, rect in placed.bands], at, [colours.BAND] * len(placed.bands), None, BANDS)
    _lines(
        axes,
        arcs,
        at,
        [colours.line(kind_of[curve.edge.source]) for curve in arcs],
        THINNEST if len(arcs) > MANY_ARCS else THIN,
    )
    _lines(axes, others, at, [colours.GREY] * len(others), THICK)
    rects = [rect for _, rect in placed.boxes] + [rect for _, rect in placed.labels]
    kinds = [box.kind for box, _ in placed.boxes] + [edge.kind for edge, _ in placed.labels]
    fills = [colours.fill(kind) for kind in kinds]
    borders = [colours.GREY if kind in STRUCTURE else colour for kind, colour in zip(kinds, fills, strict=True)]
    _fill(axes, rects, at, fills, borders, BOXES)
    for box, rect in placed.boxes:
        colour, x, y = colours.ink(colours.fill(box.kind)), at[0] + rect.x, at[1] + rect.y
        half = SECOND_LINE / 2 if box.detail else 0.0
        canvas.write(axes, x, y - half, box.label, TEXT, colour)
        if box.detail:
            canvas.write(axes, x, y + half, box.detail, SMALL, colour)
        if box.tag:
            canvas.write(axes, at[0] + rect.left + 0.07, y - half, box.tag, SMALL, colour, "left")
    for edge, rect in placed.labels:
        canvas.write(axes, at[0] + rect.x, at[1] + rect.y, edge.label, SMALL, colours.ink(colours.fill(edge.kind)))


def _fill(axes: Axes, rects: list[Rect], at: Point, fills: list[str], borders: list[str] | None, layer: int) -> None:
    """Filled rectangles with round corners."""
    from matplotlib.collections import PathCollection

    if rects:
        outlines = [_rounded(rect, at) for rect in rects]
        drawn = PathCollection(outlines, facecolors=fills, edgecolors=borders or "none", linewidths=0.8, zorder=layer)
        axes.add_collection(drawn, autolim=False)


def _lines(axes: Axes, curves: list[Curve], at: Point, paint: list[str], width: float) -> None:
    """Curves with arrow heads at their ends."""
    from matplotlib.collections import PathCollection, PolyCollection
    from matplotlib.path import Path as Outline

    if not curves:
        return
    cubics: dict[tuple[Point, ...], str] = {}  # edges from one box share a part of their way: it is drawn once
    heads = []
    for curve, colour in zip(curves, paint, strict=True):
        points = [(at[0] + x, at[1] + y) for x, y in curve.points]
        tip, before = points[-1], next(p for p in reversed(points[:-1]) if p != points[-1])
        length = ((tip[0] - before[0]) ** 2 + (tip[1] - before[1]) ** 2) ** 0.5
        dx, dy = (tip[0] - before[0]) / length, (tip[1] - before[1]) / length
        base = (tip[0] - ARROW * dx, tip[1] - ARROW * dy)
        heads.append(
            [
                tip,
                (base[0] - ARROW_HALF * dy, base[1] + ARROW_HALF * dx),
                (base[0] + ARROW_HALF * dy, base[1] - ARROW_HALF * dx),
            ]
        )
        points[-1] = (tip[0] - 0.7 * ARROW * dx, tip[1] - 0.7 * ARROW * dy)
        cubics.update((tuple(points[i : i + 4]), colour) for i in range(0, len(points) - 1, 3))
    codes = [Outline.MOVETO] + [Outline.CURVE4] * 3
    outlines = [Outline(points, codes) for points in cubics]
    drawn = PathCollection(
        outlines, facecolors="none", edgecolors=list(cubics.values()), linewidths=width, zorder=LINES
    )
    axes.add_collection(drawn, autolim=False)
    axes.add_collection(PolyCollection(heads, facecolors=paint, edgecolors="none", zorder=LINES), autolim=False)


def _rounded(rect: Rect, at: Point) -> Outline:
    from matplotlib.path import Path as Outline

    left, right, top, bottom = at[0] + rect.left, at[0] + rect.right, at[1] + rect.top, at[1] + rect.bottom
    r = RADIUS
    points = [(left + r, top), (right - r, top), (right, top), (right, top + r), (right, bottom - r)]
    points += [(right, bottom), (right - r, bottom), (left + r, bottom), (left, bottom), (left, bottom - r)]
    points += [(left, top + r), (left, top), (left + r, top), (left + r, top)]
    side, corner = [Outline.LINETO], [Outline.CURVE3] * 2
    return Outline(
        points, [Outline.MOVETO, *side, *corner, *side, *corner, *side, *corner, *side, *corner, Outline.CLOSEPOLY]
    )


def _entries(sketches: Iterable[Sketch]) -> list[Entry]:
    """The legend: operations in the table's order, then skip connections."""
    used = dict.fromkeys(kind for sketch in sketches for kind in sketch.operations())
    table = list(colours.OPERATIONS)
    entries = [(kind, kind) for kind in sorted(used, key=lambda k: (table.index(k) if k in table else len(table), k))]
    if any(edge.kind == SKIP for sketch in sketches for edge in sketch.edges):
        entries.append((SKIP, "skip connection"))
    return entries


def _entry_width(entry: Entry) -> float:
    return SWATCH + AFTER_SWATCH + canvas.text_width(entry[1], SMALL) + AFTER_ENTRY


def _wrapped(entries: Iterable[Entry], width: float) -> list[list[Entry]]:
    """The entries in rows that are not wider than the page."""
    rows: list[list[Entry]] = []
    for entry in entries:
        if rows and sum(map(_entry_width, [*rows[-1], entry])) - AFTER_ENTRY <= width:
            rows[-1].append(entry)
        else:
            rows.append([entry])
    return rows


def _draw_legend(axes: Axes, rows: list[list[Entry]], top: float) -> None:
    for r, row in enumerate(rows):
        x, y = MARGIN, top + LEGEND_LINE * (r + 0.5)
        for kind, text in row:
            if kind == SKIP:
                axes.plot([x, x + SWATCH], [y, y], color=colours.GREY, linewidth=THIN, zorder=LINES)
            else:
                swatch = Rect(x, y - SWATCH / 2, x + SWATCH, y + SWATCH / 2)
                _fill(axes, [swatch], (0, 0), [colours.fill(kind)], None, BOXES)
            canvas.write(axes, x + SWATCH + AFTER_SWATCH, y, text, SMALL, colours.INK, "left")
            x += _entry_width((kind, text))
