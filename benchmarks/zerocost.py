"""The zero-cost proxies of enas/zero_cost.py for many architectures, kept in a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from correlation import Floats
from torch import Tensor
from tqdm import tqdm

from enas import spaces
from enas.checkpoint import read_json, write_json
from enas.network import Network
from enas.records import finite
from enas.runtime import generator
from enas.spaces import Architecture, SearchSpace
from enas.zero_cost import naswot, synflow

SAVE_EVERY = 50  # networks


def zero_cost(space: SearchSpace, archs: Sequence[Architecture], images: Tensor, path: Path) -> dict[str, Floats]:
    """Both proxies of all architectures, in their order; kept in the file, so that a second call continues.

    images: [N, C, H, W], normalised; the same in all calls with this file.
    """
    known: dict[str, dict[str, float | None]] = read_json(path) if path.exists() else {}
    texts = [spaces.to_text(space, arch) for arch in archs]
    todo = [(text, arch) for text, arch in zip(texts, archs, strict=True) if text not in known]
    for done, (text, arch) in enumerate(tqdm(todo, desc="zero-cost proxies", disable=not todo), start=1):
        network = Network(space.graph(arch), generator(0, f"zero-cost/{text}"))
        known[text] = finite({"synflow": synflow(network, images), "naswot": naswot(network, images)})
        if done % SAVE_EVERY == 0 or done == len(todo):
            write_json(path, known)
    rows = [known[text] for text in texts]
    return {
        name: np.array([-math.inf if row[name] is None else row[name] for row in rows], dtype=float)
        for name in ("naswot", "synflow")
    }
