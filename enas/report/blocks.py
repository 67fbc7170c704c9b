"""What a page is made of. The template says how each of them looks; texts are plain and escaped there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Text:
    """A paragraph. strong: set off from the others, as a warning."""

    kind: ClassVar[str] = "text"
    text: str
    strong: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell of a table. href: where it leads, relative to the page."""

    text: str
    href: str | None = None
    code: bool = False


Row = Sequence[str | Cell]


@dataclass(frozen=True)
class Table:
    """Rows of cells: texts or `Cell`s. The first column is to the left, the others to the right, but for codes."""

    kind: ClassVar[str] = "table"
    head: Sequence[str]
    rows: Sequence[Row]
    caption: str = ""

    @property
    def cells(self) -> list[list[Cell]]:
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]

    @property
    def codes(self) -> list[bool]:
        """Which columns hold codes."""
        return [any(row[column].code for row in self.cells) for column in range(len(self.head))]


@dataclass(frozen=True)
class Picture:
    """An SVG element, made by `enas.draw.svg`, with a sentence on what one sees."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Pictures beside each other where there is room."""

    kind: ClassVar[str] = "pictures"
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Lines:
    """A list of short lines."""

    kind: ClassVar[str] = "lines"
    lines: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Text to copy. title: folded away behind it. file: the name to save it under. wrapped: its lines may be broken."""

    kind: ClassVar[str] = "code"
    code: str
    title: str = ""
    file: str = ""
    wrapped: bool = False


Block = Text | Table | Pictures | Lines | Code


@dataclass(frozen=True)
class Section:
    """A part of the page, left out where it has no blocks."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """All of it. status: what is to be said before anything else, such as that a run is not finished."""

    title: str
    subtitle: str
    answer: Sequence[str]
    sections: Sequence[Section]
    status: str = ""
