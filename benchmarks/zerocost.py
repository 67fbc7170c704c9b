"""Zero-cost proxies: what ranks networks before any training, from their first weights and a few images.

naswot    enas/naswot.py
synflow   sum over all weights of |weight * gradient|, for an input of ones and weights made positive, without batch
          norm (Tanaka et al. 2020; as a score of architectures, Abdelfattah et al. 2021); here its logarithm
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from correlation import Floats
from torch import Tensor
from tqdm import tqdm

from enas import spaces
from enas.checkpoint import read_json, write_json
from enas.kernels import plain_kernels
from enas.naswot import naswot
from enas.network import Network
from enas.records import finite
from enas.runtime import generator
from enas.spaces import Architecture, SearchSpace

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
        before = naswot(network, images)  # the other one changes the weights
        known[text] = finite({"naswot": before, "synflow": synflow(network, images)})
        if done % SAVE_EVERY == 0 or done == len(todo):
            write_json(path, known)
    rows = [known[text] for text in texts]
    return {
        name: np.array([-math.inf if row[name] is None else row[name] for row in rows], dtype=float)
        for name in ("naswot", "synflow")
    }


def synflow(network: Network, images: Tensor) -> float:
    """Logarithm of the score; minus infinity where nothing gets through. Changes the network's weights."""
    network.eval()  # batch norm by its first running statistics: it leaves its input as it is
    with torch.no_grad():
        for weight in network.parameters():
            weight.abs_()
    network.double().zero_grad()
    with plain_kernels():
        network(torch.ones_like(images[:1], dtype=torch.float64)).sum().backward()
    score = sum((w.detach() * w.grad).abs().sum().item() for w in network.parameters() if w.grad is not None)
    return math.log(score) if score > 0 else -math.inf
