"""An architecture as plain text, for a terminal: one line a box, and beside the boxes a lane for every box whose output
is also read further down.

A lane begins below its box, and a corner or a crossing with `┤` or `┼` is where it is read; a bare crossing of two
lines is none. An edge that applies an operation has a line of its own with the operation's name, below the box that it
leads to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enas.spaces.sketch import MAIN, Box, Edge, Sketch

TEXT_ENDING = ".txt"
INDENT, AFTER, STEP = 2, 2, 2  # columns before a box, before the first lane, from one lane to the next
READ, ON, ASIDE = "◄", "├", "└"  # into a box; out of one, to the next box too or only to others


@dataclass(frozen=True)
class _Line:
    """One line of a drawing. read: boxes whose lanes end or pass on here. begins: the box whose lane starts here."""

    text: str
    read: tuple[str, ...] = ()
    begins: str | None = None


def architecture_text(sketches: Sequence[Sketch]) -> str:
    """The drawings below each other; ends with a line break."""
    return "\n\n".join(_drawing(sketch) for sketch in sketches) + "\n"


def _drawing(sketch: Sketch) -> str:
    following = dict(zip([box.name for box in sketch.boxes], [box.name for box in sketch.boxes][1:], strict=False))
    lanes = [edge for edge in sketch.edges if edge.kind != MAIN or following[edge.source] != edge.target]
    lines = _lines(sketch, lanes)
    last = {name: number for number, line in enumerate(lines) for name in line.read}
    columns: dict[str, int] = {}  # of the lanes that are open
    width = INDENT + max(len(line.text) for line in lines) + AFTER
    drawn = [sketch.title, ""]
    for number, line in enumerate(lines):
        if line.begins is not None:
            columns[line.begins] = next(c for c in range(len(lanes)) if c not in columns.values())
        drawn.append(_drawn(line, columns, width, {name for name in line.read if last[name] == number}))
        for name in line.read:
            if last[name] == number:
                del columns[name]
    return "\n".join(drawn)


def _lines(sketch: Sketch, lanes: Sequence[Edge]) -> list[_Line]:
    """Every box, what leads to it, and what leads away from it."""
    sources = {edge.source for edge in lanes}
    straight = {edge.target for edge in sketch.edges if edge not in lanes}
    onwards = {edge.source for edge in sketch.edges if edge not in lanes}
    lines: list[_Line] = []
    stage = ""
    for box in sketch.boxes:
        coming = [edge for edge in lanes if edge.target == box.name]
        if box.name in straight and lines and lines[-1].begins is None:
            lines.append(_Line("│"))
        plain = tuple(dict.fromkeys(edge.source for edge in coming if not edge.label))
        lines.append(_Line(_label(box, stage), plain))
        stage = box.stage or stage
        lines += [_Line(f"  {edge.label}", (edge.source,)) for edge in coming if edge.label]
        if box.name in sources:
            lines.append(_Line(ON if box.name in onwards else ASIDE, begins=box.name))
    return lines


def _label(box: Box, stage: str) -> str:
    """A box in words, with its stage where that is a new one."""
    parts = [box.tag, box.label, f"({box.detail})" if box.detail else ""]
    text = " ".join(filter(None, parts))
    return text + (f"  [{', '.join(box.stage.splitlines())}]" if box.stage not in ("", stage) else "")


def _drawn(line: _Line, columns: dict[str, int], width: int, ending: set[str]) -> str:
    """A line with the lanes that pass it. columns: of these, by their box. ending: those that are read for the last
    time."""
    cells = {width + STEP * column: "│" for column in columns.values()}
    joined = [name for name in (*line.read, line.begins) if name is not None]
    text = " " * INDENT + line.text
    if joined:
        end = width + STEP * max(columns[name] for name in joined)
        reach = text + (f" {READ}" if line.read else "")
        cells |= {place: "─" for place in range(len(reach), end) if place not in cells}
        for name in joined:
            place = width + STEP * columns[name]
            last = place == end
            if name == line.begins:
                cells[place] = "┐" if last else "┬"
            elif name in ending:
                cells[place] = "┘" if last else "┴"
            else:
                cells[place] = "┤" if last else "┼"
        text = reach
    end = max(cells, default=0)
    padded = text.ljust(end + 1)
    return "".join(cells.get(place, character) for place, character in enumerate(padded)).rstrip()
