"""Pictures of architectures and of what a search chose: files, pixels for TensorBoard, parts of a page."""

from enas.draw.canvas import check_path, pixels, svg
from enas.draw.curves import Line, curves_figure, scatter_figure
from enas.draw.fronts import NAMES, draw_fronts, fronts_figure
from enas.draw.picture import architecture_figure, check_drawing, draw_architecture
from enas.draw.shares import choice_history, choices_figure, draw_choices
from enas.draw.text import architecture_text

__all__ = [
    "Line",
    "NAMES",
    "architecture_figure",
    "architecture_text",
    "check_drawing",
    "check_path",
    "choice_history",
    "choices_figure",
    "curves_figure",
    "draw_architecture",
    "draw_choices",
    "draw_fronts",
    "fronts_figure",
    "pixels",
    "scatter_figure",
    "svg",
]
