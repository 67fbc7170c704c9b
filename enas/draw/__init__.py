"""Pictures of architectures and of what a search chose: files, and pixels for TensorBoard."""

from enas.draw.canvas import check_path, pixels
from enas.draw.fronts import draw_fronts, fronts_figure
from enas.draw.picture import architecture_figure, draw_architecture
from enas.draw.shares import choices_figure, draw_choices

__all__ = [
    "architecture_figure",
    "check_path",
    "choices_figure",
    "draw_architecture",
    "draw_choices",
    "draw_fronts",
    "fronts_figure",
    "pixels",
]
