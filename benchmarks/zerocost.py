"""Zero-cost proxies: what ranks networks before any training, from their first weights and a few images.

synflow   sum over all weights of |weight * gradient|, for an input of ones and weights made positive, without batch
          norm (Tanaka et al. 2020; as a score of architectures, Abdelfattah et al. 2021); here its logarithm
naswot    log-determinant of the kernel that counts the ReLUs on whose sign two images agree (Mellor et al. 2021)

For all sizes to be those of the table, networks have the published widths.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from correlation import Floats
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm import tqdm

from enas import spaces
from enas.kernels import plain_kernels
from enas.network import Network
from enas.runtime import generator
from enas.spaces import Architecture, SearchSpace

RELUS = (torch.ops.aten.relu.default, torch.ops.aten.relu_.default, torch.ops.aten.clamp_min.default)
NAMES = ("synflow", "naswot")


def zero_cost(space: SearchSpace, archs: Sequence[Architecture], images: Tensor, path: Path) -> dict[str, Floats]:
    """Both proxies of all architectures, in their order; kept in the file, so that a second call continues.

    images: [N, C, H, W], normalised.
    """
    known: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
    texts = [spaces.to_text(space, arch) for arch in archs]
    todo = [(text, arch) for text, arch in zip(texts, archs, strict=True) if text not in known]
    for done, (text, arch) in enumerate(tqdm(todo, desc="zero-cost proxies", disable=not todo), start=1):
        network = Network(space.graph(arch), generator(0, f"zero-cost/{text}"))
        known[text] = [naswot(network, images), synflow(network, images)][::-1]
        if done % 100 == 0 or done == len(todo):
            path.write_text(json.dumps(known))
    return {name: np.array([known[text][i] for text in texts]) for i, name in enumerate(NAMES)}


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


@torch.no_grad()
def naswot(network: Network, images: Tensor) -> float:
    """The log-determinant; minus infinity where two images have the same signs throughout."""
    network.train()  # batch statistics
    with plain_kernels(), _Signs(len(images)) as signs:
        network(images)
    return float(torch.linalg.slogdet(signs.kernel)[1])


class _Signs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up, over all ReLUs that run meanwhile, on how many of their outputs each two images agree: [N, N]."""

    def __init__(self, images: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernel = torch.zeros(images, images, dtype=torch.float64)

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        y = func(*args, **(kwargs or {}))
        if func in RELUS:
            on = (y > 0).flatten(1).float()
            self.kernel += (on @ on.T + (1 - on) @ (1 - on).T).double()
        return y
