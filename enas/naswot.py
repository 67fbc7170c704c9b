"""A score of a network that nobody has trained: how differently its ReLUs see different images.

Two images on whose signs many ReLUs agree are hard to tell apart. The score is the log-determinant of the kernel of
agreements (Mellor et al. 2021, "Neural Architecture Search without Training").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from enas.kernels import plain_kernels
from enas.network import Network

RELUS = (torch.ops.aten.relu.default, torch.ops.aten.relu_.default, torch.ops.aten.clamp_min.default)


@torch.no_grad()
def naswot(network: Network, images: Tensor) -> float:
    """The score of a network with its first weights, by batch statistics of images [N, C, H, W]; minus infinity where
    two images have the same signs throughout. Moves the network's running statistics."""
    network.train()
    with plain_kernels(), _Agreements(images) as agreements:
        network(images)
    sign, log_determinant = torch.linalg.slogdet(agreements.kernel.cpu())
    return float(log_determinant) if sign > 0 else float("-inf")


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
