"""The images on which an export is compared with its network."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from enas import config
from enas.config import DataConfig
from enas.data import evaluation_batches, load
from enas.errors import UserError
from enas.retraining import as_trained
from enas.runtime import generator

COUNT = 64  # images, at most


def real_images(header: dict[str, Any], data_config: DataConfig) -> tuple[Tensor, str]:
    """Some test images, normalised for the model with this header [N, C, H, W], and what they are.

    Raises UserError where they cannot be read, or are not the model's.
    """
    data = as_trained(header, load(config.update(data_config, header["split"]), torch.device("cpu")))
    images = next(evaluation_batches(data.test, COUNT, data.mean, data.std))[0]
    return images, f"{len(images)} test images of {data.name}"


def random_images(header: dict[str, Any]) -> tuple[Tensor, str]:
    """The same of seeded noise."""
    pixels = torch.rand(COUNT, *header["input_shape"], generator=generator(0, "export"))
    mean, std = (torch.tensor(header[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    return (pixels - mean) / std, f"{COUNT} random images"


def images_at_hand(header: dict[str, Any], data_config: DataConfig) -> tuple[Tensor, str]:
    """Real images where they can be read, else random ones and the reason why."""
    if data_config.name is None:
        images, what = random_images(header)
        return images, f"{what} (nobody says which ones it was trained on; give --data)"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return real_images(header, data_config)
    except UserError as error:
        images, what = random_images(header)
        return images, f"{what} (no real ones: {str(error)[:200]})"
