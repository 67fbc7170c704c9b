"""The data set that ships with the package: 1,797 real 8x8 images of handwritten digits.

`digits.safetensors` holds train_images uint8 [1197, 8, 8], train_labels uint8 [1197], train_rows
int64 [1197] (the rows in scikit-learn's copy) and the same for the 600 test images, so the split
can never change. tests/test_data_digits.py makes the file again and compares. Source and licence:
DIGITS_LICENSE.txt.
"""

from __future__ import annotations

from importlib import resources

import safetensors.torch

from enas.data.resize import resize
from enas.data.sets import ImageSet, check_memory

CLASSES = tuple("0123456789")
SIZE = 8


def load_digits(image_size: int | None, memory_limit_gib: float) -> tuple[ImageSet, ImageSet]:
    """(train, test) on the CPU, as they are or resized. Raises UserError above the memory limit."""
    tensors = safetensors.torch.load((resources.files("enas.data") / "digits.safetensors").read_bytes())
    size = image_size or SIZE
    check_memory(len(tensors["train_images"]) + len(tensors["test_images"]), size, 1, memory_limit_gib)
    train, test = (
        ImageSet(resize(tensors[f"{part}_images"][..., None], size), tensors[f"{part}_labels"].long())
        for part in ("train", "test")
    )
    return train, test
