"""An image folder as people have them: a few hundred JPEGs, odd sizes, grey and colour mixed, unbalanced classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = {"bolt": 90, "nut": 40, "washer": 12}


def photo(kind: str, number: int) -> Image.Image:
    """One image of a class, recognisable by its stripes: across, along or none; some are grey."""
    draws = np.random.default_rng([sorted(CLASSES).index(kind), number])
    height, width = draws.integers(18, 41, 2)
    waves = np.sin(np.arange(max(height, width)) * 1.6) * 70
    values = draws.normal(128, 12, (height, width))
    if kind == "bolt":
        values += waves[:height, None]
    elif kind == "nut":
        values += waves[None, :width]
    bytes = values.clip(0, 255).astype(np.uint8)
    if number % 3 == 0:
        return Image.fromarray(bytes)
    return Image.fromarray(np.stack([bytes, bytes // 2 + 40, 255 - bytes], -1))


def unbalanced_folder(root: Path, counts: dict[str, int] | None = None) -> Path:
    """A folder with train/<class>/* alone."""
    for kind, count in (counts or CLASSES).items():
        (root / "train" / kind).mkdir(parents=True)
        for number in range(count):
            photo(kind, number).save(root / "train" / kind / f"{number}.jpg", quality=95)
    return root
