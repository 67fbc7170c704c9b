"""Zero-cost proxies: scores of a network that nobody has trained, and their vote with the loss under shared weights.

naswot    how differently its ReLUs see different images. Two images on whose signs many ReLUs agree are hard to tell
          apart; the score is the log-determinant of the kernel of agreements (Mellor et al. 2021, "Neural Architecture
          Search without Training")
synflow   sum over all weights of |weight * gradient|, for an input of ones and weights made positive (Tanaka et al.
          2020; as a score of architectures without batch norm, Abdelfattah et al. 2021); here its logarithm, with batch
          norm by the statistics of the images that naswot sees
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from enas.kernels import plain_kernels
from enas.network import Network

RELUS = (torch.ops.aten.relu.default, torch.ops.aten.relu_.default, torch.ops.aten.clamp_min.default)
# Of those that vote. Synflow tells large networks from small ones, which shared weights underrate, and little else: on
# one of two tables that helps, and the more the more it counts; on the other more than a quarter of a vote ranks worse,
# and what it puts first within a limit of cost is a little worse (docs/results.md).
VOTES = {"loss": 1.0, "naswot": 1.0, "synflow": 0.25}


def untrained(network: Network, images: Tensor) -> dict[str, float]:
    """Both scores of a network with its first weights. Its running statistics become those of images [N, C, H, W]."""
    for module in network.modules():
        if getattr(module, "running_mean", None) is not None:
            module.momentum = 1.0  # type: ignore[assignment]
    return {"naswot": naswot(network, images), "synflow": synflow(network, images)}


@torch.no_grad()
def naswot(network: Network, images: Tensor) -> float:
    """The score of a network with its first weights, by batch statistics of images [N, C, H, W]; minus infinity where
    two images have the same signs throughout. Moves the network's running statistics."""
    network.train()
    with plain_kernels(), _Agreements(images) as agreements:
        network(images)
    sign, log_determinant = torch.linalg.slogdet(agreements.kernel.cpu())
    return float(log_determinant) if sign > 0 else float("-inf")


def synflow(network: Network, images: Tensor) -> float:
    """The score of a network, by its running statistics; minus infinity where nothing gets through. Of images
    [N, C, H, W] only the shape counts. Changes neither weights nor statistics."""
    network.eval()
    weights = {name: w.detach().double().abs().requires_grad_() for name, w in network.named_parameters()}
    rest = {name: b.double() if b.is_floating_point() else b for name, b in network.named_buffers()}
    with plain_kernels(), torch.enable_grad():
        out = functional_call(network, {**weights, **rest}, (torch.ones_like(images[:1], dtype=torch.float64),))
        slopes = torch.autograd.grad(out.sum(), list(weights.values()), allow_unused=True)
    pairs = zip(weights.values(), slopes, strict=True)
    flow = torch.stack([(w.detach() * d).abs().sum() for w, d in pairs if d is not None]).sum().item()
    return math.log(flow) if flow > 0 else -math.inf


def vote(
    loss: ArrayLike, naswot: ArrayLike, synflow: ArrayLike, votes: Mapping[str, float] = VOTES
) -> NDArray[np.float64]:
    """Weighted mean of the ranks of N architectures, 1 the best: [N]. 0 for one whose loss is no number. votes: the
    weights."""
    from scipy.stats import rankdata  # takes half a second to import

    scores = {"loss": -np.asarray(loss), "naswot": np.asarray(naswot), "synflow": np.asarray(synflow)}
    total = sum(votes[name] * rankdata(values, nan_policy="omit") for name, values in scores.items())
    return np.nan_to_num(np.asarray(total) / (sum(votes.values()) * len(scores["loss"])))


class _Agreements(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up, over all ReLUs that run meanwhile, on how many of their outputs each two images agree: [N, N]."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernel = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        y = func(*args, **(kwargs or {}))
        if func in RELUS:
            on = (y > 0).flatten(1).float()
            off = 1 - on
            self.kernel += (on @ on.T + off @ off.T).double()
        return y
