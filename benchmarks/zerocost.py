"""The zero-cost proxies of enas/zero_cost.py for many architectures, kept in a file."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from correlation import Floats
from torch import Tensor
from tqdm import tqdm

from enas import spaces
from enas.checkpoint import read_json, write_json
from enas.config import SpaceOptions
from enas.network import Network
from enas.records import finite
from enas.runtime import generator
from enas.spaces import SearchSpace
from enas.zero_cost import untrained

SAVE_EVERY = 50  # networks
Scores = dict[str, float | None]
_space: SearchSpace  # of a process that scores
_images: Tensor


def zero_cost(space: SearchSpace, texts: Sequence[str], images: Tensor, path: Path) -> dict[str, Floats]:
    """Both proxies of all architectures, in their order; kept in the file, so that a second call continues.

    images: [N, C, H, W], normalised; the same in all calls with this file, as is the space.
    """
    known: dict[str, Scores] = read_json(path) if path.exists() else {}
    todo = [text for text in texts if text not in known]
    sizes = space.options, space.input_shape, space.num_classes
    workers = max(1, min(os.cpu_count() or 1, len(todo) // SAVE_EVERY))
    spawning = multiprocessing.get_context("spawn")
    found: Iterator[Scores]
    with contextlib.ExitStack() as stack:
        if workers == 1:
            _begin(*sizes, images.numpy(), torch.get_num_threads())
            found = map(_scores, todo)
        else:
            pool = ProcessPoolExecutor(workers, spawning, _begin, (*sizes, images.numpy(), 1))
            found = stack.enter_context(pool).map(_scores, todo, chunksize=4)
        bar = tqdm(found, "zero-cost proxies", len(todo), disable=not todo)
        for done, (text, scores) in enumerate(zip(todo, bar, strict=True), start=1):
            known[text] = scores
            if done % SAVE_EVERY == 0 or done == len(todo):
                write_json(path, known)
    rows = [known[text] for text in texts]
    return {
        name: np.array([-math.inf if row[name] is None else row[name] for row in rows], dtype=float)
        for name in ("naswot", "synflow")
    }


def _begin(options: SpaceOptions, shape: tuple[int, int, int], classes: int, images: Floats, threads: int) -> None:
    """What a process needs for all of its networks."""
    global _space, _images
    torch.set_num_threads(threads)
    _space, _images = spaces.build(options, shape, classes), torch.from_numpy(images)


def _scores(text: str) -> Scores:
    graph = _space.graph(spaces.from_text(text))
    found: Scores = finite(untrained(Network(graph, generator(0, f"zero-cost/{text}")), _images))
    return found
