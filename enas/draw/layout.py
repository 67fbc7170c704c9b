"""Where everything in a sketch stands: ranks from top to bottom, curves that pass through no box.

The usual steps for layered graphs. A box's rank is its longest path; an edge's label is an item of
its own just above the edge's target, so that no text can meet another; an edge that passes ranks has a
place in each of them, shared by all edges from the same box. Order and positions come from `ordering`.
Skip edges of a chain are arcs beside it instead, to the right of everything that they pass.

Lengths are inches, x to the right, y downwards. No matplotlib here: who draws says how wide a text is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from enas.draw import ordering
from enas.spaces.sketch import SKIP, Box, Edge, Sketch

TEXT, SMALL = 8.5, 7.5  # points: labels of boxes; tags, second lines, labels of edges, names of stages
PAD = 0.10  # between a text and the border of its box
LINE, SECOND_LINE, LABEL = 0.29, 0.14, 0.22  # heights: of a box, of its second line, of the label of an edge
GAP = 0.16  # between neighbours in a rank
RANK_GAP, STAGE_GAP = 0.17, 0.24  # between ranks; more of it where a stage begins
SLANT, MOST_SLANT = 0.10, 0.40  # more of it per inch that a curve must go to the side, and the most
PORT = 0.16  # between edges that begin or end at the same side of a box
BAND = 0.10  # a stage's band around its boxes
ARC, ARC_POWER = 0.22, 0.85  # how far an arc over n ranks reaches: ARC * n ** ARC_POWER

Point = tuple[float, float]
Measure = Callable[[str, float], float]  # (text, points) -> width in inches


@dataclass(frozen=True, slots=True)
class Rect:
    left: float
    top: float
    right: float
    bottom: float

    @property
    def x(self) -> float:
        return (self.left + self.right) / 2

    @property
    def y(self) -> float:
        return (self.top + self.bottom) / 2


@dataclass(frozen=True, slots=True)
class Curve:
    """An edge's course, ending at its target: Bezier points, the start and then three for each cubic."""

    edge: Edge
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A sketch with places. A band is a stage, from the left of its name to the right of all arcs."""

    boxes: tuple[tuple[Box, Rect], ...]
    labels: tuple[tuple[Edge, Rect], ...]
    curves: tuple[Curve, ...]
    bands: tuple[tuple[str, Rect], ...]
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class _Item:
    """What has a place in a rank: a box, the label of an edge, or neither where an edge passes by."""

    rank: int
    width: float = 0.0
    height: float = 0.0
    box: Box | None = None
    edge: Edge | None = None


def layout(sketch: Sketch, measure: Measure) -> Layout:
    """Places for all boxes and labels, none of which overlap, and the curves of all edges."""
    return _Layout(sketch, measure).finished()


def reach(ranks: int) -> float:
    """How far to the side an arc over so many ranks goes."""
    return ARC * float(ranks**ARC_POWER)


class _Layout:
    def __init__(self, sketch: Sketch, measure: Measure) -> None:
        self.measure = measure
        self.items: list[_Item] = []
        self.ranks: ordering.Ranks = []
        self.links: dict[tuple[int, int], float] = {}  # (upper item, lower item) -> how straight it should be
        self.passing: dict[tuple[int, int], int] = {}  # (box, rank) -> where its long edges pass that rank
        ranks = _longest_paths(sketch)
        width = max(map(self._box_width, sketch.boxes))
        self.item_of: dict[str, int] = {}
        for box in sketch.boxes:
            height = LINE + (SECOND_LINE if box.detail else 0.0)
            self.item_of[box.name] = self._add(_Item(ranks[box.name], width, height, box=box))
        skips = [edge for edge in sketch.edges if edge.kind == SKIP]
        self.routes = [(edge, self._route(edge)) for edge in sketch.edges if edge.kind != SKIP]
        # arcs leave and arrive at the side of a box, so nothing else may stand in its rank
        chain = all(len(items) == 1 for items in self.ranks)
        self.arcs = skips if chain else []
        self.routes += [] if chain else [(edge, self._route(edge)) for edge in skips]
        self.gutter = max(measure(line, SMALL) for box in sketch.boxes for line in box.stage.split("\n"))
        self.rects: list[Rect] = []

    def finished(self) -> Layout:
        links, weights = list(self.links), list(self.links.values())
        self.ranks = ordering.order(self.ranks, links)
        widths = [item.width for item in self.items]
        x = ordering.positions(self.ranks, links, widths, weights, GAP)
        chains: dict[int, list[int]] = {}  # of each box: where its long edges pass
        for (box, _), item in self.passing.items():
            chains.setdefault(box, []).append(item)
        ordering.straighten(x, self.ranks, list(chains.values()), widths, GAP)
        margin = self.gutter + 3 * BAND if self.gutter else 0.0
        self._stack([centre + margin for centre in x])
        curves = [self._curve(edge, route) for edge, route in self.routes] + [self._arc(edge) for edge in self.arcs]
        right = max(rect.right for rect in self.rects)
        right = max([right] + [self._arc_base(edge) + reach(self._span(edge)) for edge in self.arcs])
        placed = list(zip(self.items, self.rects, strict=True))
        bands = self._bands(right + BAND)
        return Layout(
            boxes=tuple((item.box, rect) for item, rect in placed if item.box is not None),
            labels=tuple((item.edge, rect) for item, rect in placed if item.edge is not None),
            curves=tuple(curves),
            bands=bands,
            width=right + (BAND if bands else 0.0),
            height=max(rect.bottom for rect in [*self.rects, *(band for _, band in bands)]),
        )

    def _box_width(self, box: Box) -> float:
        tag = self.measure(box.tag, SMALL) + PAD if box.tag else 0.0
        return 2 * PAD + max(self.measure(box.label, TEXT) + 2 * tag, self.measure(box.detail, SMALL))

    def _add(self, item: _Item) -> int:
        self.items.append(item)
        self.ranks += [[] for _ in range(item.rank + 1 - len(self.ranks))]
        self.ranks[item.rank].append(len(self.items) - 1)
        return len(self.items) - 1

    def _route(self, edge: Edge) -> list[int]:
        """The items that an edge goes through, one in each rank; makes those that are still missing."""
        source, target = self.item_of[edge.source], self.item_of[edge.target]
        end = self.items[target].rank - (1 if edge.label else 0)
        route = [source]
        for r in range(self.items[source].rank + 1, end):
            if (source, r) not in self.passing:
                self.passing[source, r] = self._add(_Item(r))
            route.append(self.passing[source, r])
        if edge.label:
            route.append(self._add(_Item(end, self.measure(edge.label, SMALL) + 2 * PAD, LABEL, edge=edge)))
        route.append(target)
        for a, b in zip(route, route[1:], strict=False):
            bends = (self.items[a].width == 0) + (self.items[b].width == 0)
            self.links[a, b] = (1.0, 2.0, 8.0)[bends]
        return route

    def _stack(self, x: list[float]) -> None:
        """Place the ranks below each other: further apart where curves go far to the side or a stage begins."""
        tops, heights = [0.0], [max(self.items[i].height for i in rank) for rank in self.ranks]
        stages = [self._stage(rank) for rank in self.ranks]
        for r in range(1, len(self.ranks)):
            sideways = max((abs(x[a] - x[b]) for a, b in self.links if self.items[b].rank == r), default=0.0)
            gap = RANK_GAP + min(MOST_SLANT, SLANT * sideways) + (STAGE_GAP if stages[r] != stages[r - 1] else 0.0)
            tops.append(tops[-1] + heights[r - 1] + gap)
        first = BAND if stages[0] else 0.0
        for item, centre in zip(self.items, x, strict=True):
            middle, half = first + tops[item.rank] + heights[item.rank] / 2, (item.width / 2, item.height / 2)
            if item.box is None and item.edge is None:  # passes the whole height of its rank
                half = (0.0, heights[item.rank] / 2)
            self.rects.append(Rect(centre - half[0], middle - half[1], centre + half[0], middle + half[1]))
        self.extent = [(first + top, first + top + height) for top, height in zip(tops, heights, strict=True)]

    def _stage(self, rank: list[int]) -> str:
        return next((item.box.stage for item in map(self.items.__getitem__, rank) if item.box is not None), "")

    def _bands(self, right: float) -> tuple[tuple[str, Rect], ...]:
        bands: list[tuple[str, Rect]] = []
        for rank, (top, bottom) in zip(self.ranks, self.extent, strict=True):
            stage = self._stage(rank)
            if bands and bands[-1][0] == stage:
                top = bands.pop()[1].top + BAND
            bands.append((stage, Rect(0.0, top - BAND, right, bottom + BAND)))
        return tuple(band for band in bands if band[0])

    def _port(self, item: int, other: int, below: bool) -> float:
        """The x where the link with `other` leaves or enters an item: side by side, in the order of the others."""
        others = {b if below else a for a, b in self.links if (a if below else b) == item}
        ordered = sorted(others, key=lambda o: (self.rects[o].x, o))
        rect = self.rects[item]
        step = min(PORT, 0.8 * (rect.right - rect.left) / len(ordered))
        return rect.x + step * (ordered.index(other) - (len(ordered) - 1) / 2)

    def _curve(self, edge: Edge, route: list[int]) -> Curve:
        """Straight down within a rank, from side to side between ranks only: so it meets no other item."""
        points: list[Point] = []
        for a, b in zip(route, route[1:], strict=False):
            upper, lower = self._port(a, b, below=True), self._port(b, a, below=False)
            leave, arrive = self.extent[self.items[a].rank][1], self.extent[self.items[b].rank][0]
            start, end = self.rects[a].bottom, self.rects[b].top
            if not points:
                points.append((upper, start))
            else:  # through the item above
                points += _line(points[-1], (upper, start))
            points += _line((upper, start), (upper, leave))
            middle = (leave + arrive) / 2
            points += [(upper, middle), (lower, middle), (lower, arrive)]
            points += _line((lower, arrive), (lower, end))
        return Curve(edge, tuple(points))

    def _span(self, edge: Edge) -> int:
        return self.items[self.item_of[edge.target]].rank - self.items[self.item_of[edge.source]].rank

    def _arc_base(self, edge: Edge) -> float:
        """The right end of everything in the ranks that an arc passes."""
        first = self.items[self.item_of[edge.source]].rank
        passed = self.ranks[first : first + self._span(edge) + 1]
        return max(self.rects[i].right for rank in passed for i in rank)

    def _arc(self, edge: Edge) -> Curve:
        """To the right and back: from the lower half of its source to the upper half of its target."""
        source, target = (self.rects[self.item_of[name]] for name in (edge.source, edge.target))
        base = self._arc_base(edge)
        far = base + reach(self._span(edge)) * 4 / 3  # a cubic goes 3/4 of the way to its middle points
        y0, y1 = source.y + (source.bottom - source.top) / 5, target.y - (target.bottom - target.top) / 5
        points = [(source.right, y0), *_line((source.right, y0), (base, y0)), (far, y0), (far, y1), (base, y1)]
        return Curve(edge, (*points, *_line((base, y1), (target.right, y1))))


def _line(a: Point, b: Point) -> list[Point]:
    """A straight cubic, without its start; nothing where it would have no length."""
    if a == b:
        return []
    return [(a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t) for t in (1 / 3, 2 / 3)] + [b]


def _longest_paths(sketch: Sketch) -> dict[str, int]:
    """The rank of every box: its longest path from a box without incoming edges; labels have ranks of their own."""
    ranks: dict[str, int] = {}
    for box in sketch.boxes:  # edges come from earlier boxes
        steps = [ranks[e.source] + (2 if e.label else 1) for e in sketch.edges if e.target == box.name]
        ranks[box.name] = max(steps, default=0)
    return ranks
