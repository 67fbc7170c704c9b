"""One colour an operation, the same in every picture, told apart by colour-blind readers too.

Hues are those of Okabe and Ito (2008): blue convolutions, green separable ones, orange pooling; the larger
kernel is the darker one, so that lightness alone separates the members of a family.
"""

from __future__ import annotations

import zlib

from enas.spaces.sketch import CELL, INPUT, NODE, OUTPUT, REDUCTION, STEM

INK, GREY, FAINT = "#1f2933", "#6b7680", "#c3cad1"
BAND = "#f4f6f8"

OPERATIONS = {
    "conv_3x3": "#8fcdf2",
    "conv_5x5": "#0072b2",
    "sep_conv_3x3": "#4dbd93",
    "sep_conv_5x5": "#005a43",
    "avg_pool_3x3": "#f7d488",
    "max_pool_3x3": "#e08a00",
    "identity": "#e1e4e8",
}
# Operations of the benchmark spaces, which no picture shows beside the ones above: the same families and sizes.
ALIKE = {
    "nor_conv_1x1": "conv_3x3",
    "nor_conv_3x3": "conv_5x5",
    "skip_connect": "identity",
    "mbconv_3x3_e3": "sep_conv_3x3",
    "mbconv_5x5_e6": "sep_conv_5x5",
}
STRUCTURE = {
    INPUT: "#ffffff",
    STEM: "#ffffff",
    NODE: "#ffffff",
    OUTPUT: "#ffffff",
    CELL: "#e3e8ee",
    REDUCTION: "#c9bfe0",
}
# of operations that are not in the table, by their name
SPARE = ("#e29ac0", "#f0e442", "#b34e00", "#b39ddb", "#7d5a46", "#bab0ac", "#7f3b6b", "#f1a7a9")


def fill(kind: str) -> str:
    """The colour of a kind of box or edge."""
    known = OPERATIONS.get(ALIKE.get(kind, kind)) or STRUCTURE.get(kind)
    return known or SPARE[zlib.crc32(kind.encode()) % len(SPARE)]


def ink(colour: str) -> str:
    """Black or white: the text's colour that is easier to read on a colour."""
    return "#ffffff" if luminance(colour) < 0.2 else INK


def line(kind: str) -> str:
    """The colour of a kind for lines on white: darkened until it stands out."""
    red, green, blue = _channels(fill(kind))
    while luminance(_text(red, green, blue)) > 0.32:
        red, green, blue = red * 0.93, green * 0.93, blue * 0.93
    return _text(red, green, blue)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG): 0 black, 1 white."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _text(*channels: float) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in channels)
