"""What a drawing of an architecture needs: boxes, the edges between them, and what each of them is.

Pure data: where a box stands on the page and which colour it has is decided by `enas.draw`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from enas.graph import Shape

# Kinds of boxes that are no operations. Every other kind is an operation's name and has that operation's colour.
INPUT, STEM, NODE, CELL, REDUCTION, OUTPUT = "input", "stem", "node", "cell", "reduction", "output"
STRUCTURE = (INPUT, STEM, NODE, CELL, REDUCTION, OUTPUT)

# Kinds of edges without a label. An edge with a label has the kind of the operation that it applies.
MAIN, SKIP = "main", "skip"


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the network.

    name: unique in its sketch.
    label: what stands in the box.
    kind: an operation's name, or one of `STRUCTURE`.
    tag: a short text before the label, such as the layer's number.
    detail: a second line.
    stage: what consecutive boxes have in common, such as a resolution; it is written beside them.
    """

    name: str
    label: str
    kind: str
    tag: str = ""
    detail: str = ""
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """From box `source` to box `target`. With a label it applies an operation, the one called `kind`."""

    source: str
    target: str
    kind: str = MAIN
    label: str = ""


@dataclass(frozen=True, slots=True)
class Sketch:
    """One drawing. Edges go from earlier to later boxes; several may join the same two."""

    title: str
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]

    def __post_init__(self) -> None:
        place = {box.name: position for position, box in enumerate(self.boxes)}
        if len(place) != len(self.boxes):
            raise ValueError(f"names of boxes must be unique, but got {[box.name for box in self.boxes]}")
        for edge in self.edges:
            if edge.source not in place or edge.target not in place:
                raise ValueError(f"edges must join boxes of the sketch, but got {edge}")
            if place[edge.source] >= place[edge.target]:
                raise ValueError(f"edges must go from an earlier to a later box, but got {edge}")

    def operations(self) -> tuple[str, ...]:
        """The operations of its boxes and edges, each once, in order of appearance."""
        kinds = [box.kind for box in self.boxes] + [edge.kind for edge in self.edges if edge.label]
        return tuple(kind for kind in dict.fromkeys(kinds) if kind not in STRUCTURE)


def chain(
    title: str, parts: Sequence[Box], skips: Iterable[tuple[int, int]], input_shape: Shape, stem: Shape, classes: int
) -> Sketch:
    """The stem, the parts one after another, the classifier.

    skips: pairs of parts, counted from 1; 0 is the stem. stem: the shape of its output.
    """
    channels, height, width = input_shape
    first = Box("stem", "stem", STEM, detail=f"images {height}x{width}x{channels}", stage=stage_of(stem))
    boxes = (first, *parts, Box("classifier", "classifier", OUTPUT, detail=f"{classes} classes"))
    edges = [Edge(a.name, b.name) for a, b in zip(boxes, boxes[1:], strict=False)]
    edges += [Edge(boxes[a].name, boxes[b].name, SKIP) for a, b in skips]
    return Sketch(title, boxes, tuple(edges))


def stage_of(shape: Shape) -> str:
    """What boxes with outputs of this shape have in common."""
    channels, height, width = shape
    return f"{height}x{width}\n{channels} channels"
