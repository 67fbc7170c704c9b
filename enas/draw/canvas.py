"""Figures to files and pixels, the same on every machine: no display, no pyplot, no user's style.

matplotlib is imported where something is drawn and not before.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from enas import checkpoint
from enas.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = (".svg", ".png")
BANDS, LINES, BOXES, TEXTS = 0, 1, 2, 3  # what lies above what on a page
PNG_DPI, PIXELS_DPI = 160, 90
READABLE = 0.75  # of its own size: below it a picture on a page is not scaled down
UNPRINTABLE = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # which no XML may hold
_lock = threading.Lock()  # matplotlib's settings are the process's


def check_path(path: Path, endings: Sequence[str] = ENDINGS) -> None:
    """Raise UserError unless a picture can be written there; meant for before the work."""
    if path.suffix.lower() not in endings:
        raise UserError(f"the picture's name must end in {' or '.join(endings)}, but got {str(path)!r}")
    if path.is_dir():
        raise UserError(f"the picture must be a file, but {path} is a folder; give another name")
    if not path.parent.is_dir():
        raise UserError(f"the picture's folder must exist, but {path.parent} does not; make it or give another name")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"the picture's folder must be writable, but {path.parent} is not; give another name")


@contextlib.contextmanager
def style() -> Iterator[None]:
    """matplotlib's own defaults, whatever the user's file says, and files without chance or time in them.

    Everything that makes or renders a figure must run in here; one thread at a time does.
    """
    import matplotlib

    with _lock, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": "enas", "svg.fonttype": "none", "text.parse_math": False})
        yield


def save(figure: Figure, path: Path) -> None:
    """Create or replace the file: SVG or PNG by its ending. Raises UserError where it cannot be written."""
    check_path(path)
    if path.suffix.lower() == ".svg":
        settings: dict[str, Any] = {"format": "svg", "metadata": {"Date": None, "Creator": "enas"}}
    else:
        settings = {"format": "png", "dpi": PNG_DPI, "metadata": {"Software": None}}
    with style():
        checkpoint.write(path, lambda file: figure.savefig(file, **settings))


def pixels(figure: Figure) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The figure as RGB [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with style():
        figure.set_dpi(PIXELS_DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an element of an HTML page: as wide as the page lets it be, at most its own size, and never so
    narrow that its texts could not be read.

    name: before every id in it, different for every picture of a page. label: what it shows, for those who cannot see.
    """
    file = io.BytesIO()
    with style():
        figure.savefig(file, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(UNPRINTABLE.sub(b"", file.getvalue()))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # HTML knows which elements are SVG's
    # a style within a picture would be one of the whole page
    for parent, child in [(above, below) for above in root.iter() for below in above]:
        if child.tag in ("metadata", "style"):
            parent.remove(child)
    ids: set[str] = set()
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            plain = key.rpartition("}")[2]
            if plain == "id" and value in ids:
                continue  # matplotlib names marks by what they are, so a second one is the same
            ids |= {value} if plain == "id" else set()
            value = name + value if plain == "id" else value.replace("url(#", f"url(#{name}")
            element.set(plain, re.sub("^#", f"#{name}", value) if plain == "href" else value)
    for key in ("width", "height", "version"):
        del root.attrib[key]
    width = float(root.attrib["viewBox"].split()[2]) * 4 / 3  # from points
    size = f"max-width:{width:.0f}px;min-width:{READABLE * width:.0f}px"
    root.attrib |= {"role": "img", "aria-label": label, "style": size}
    root.attrib |= {"stroke-linejoin": "round", "stroke-linecap": "butt"}  # what the style says
    return ElementTree.tostring(root, encoding="unicode")


def page(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty white page of so many inches, and axes whose unit is the inch: x to the right, y downwards."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return figure, axes


def write(axes: Axes, x: float, y: float, text: str, points: float, colour: str, align: str = "center") -> None:
    """A line of text whose small letters are centred on y, so that letters below the line do not lift a word."""
    baseline = y + 0.36 * points / 72
    axes.text(x, baseline, text, size=points, color=colour, ha=align, va="baseline", zorder=TEXTS, parse_math=False)


@functools.lru_cache(maxsize=4096)
def text_width(text: str, points: float) -> float:
    """How wide a line of text is, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=points), ismath=False)
    return float(width) / 72
