"""What a pass tells its operations: how many architectures are stacked, and the noise of training."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

from enas.graph import Node


@dataclass(frozen=True)
class Noise:
    """Dropout and drop-path for one pass. Masks depend on (seed, weight key, image) alone, so they are
    the same whether an architecture runs alone or merged with others.

    dropout: rate before the classifier. drop_path: largest rate at which a node's output is dropped
    for an image (each node's is its `drop` share of it).
    """

    seed: int
    dropout: float = 0.0
    drop_path: float = 0.0

    def mask(self, key: str, rate: float, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """0 or 1 / (1 - rate), of the given shape."""
        # one number below 2^32: torch's CPU generator ignores all higher bits of its seed
        generator = torch.Generator(device).manual_seed(zlib.crc32(f"{self.seed}/{key}".encode()))
        kept = torch.rand(shape, generator=generator, device=device) >= rate
        return kept.to(torch.float32) / (1 - rate)


@dataclass(frozen=True)
class Context:
    """What a pass tells an operation: G stacked architectures, noise (None: off), and its node's key."""

    groups: int = 1
    noise: Noise | None = None
    key: str = ""


def drop_path(x: Tensor, node: Node, context: Context) -> Tensor:
    """A node's output [G*N, C, H, W], dropped for some images and scaled up for the others (Larsson et al. 2017)."""
    rate = node.drop * context.noise.drop_path if context.noise is not None else 0.0
    if not rate:
        return x
    assert context.noise is not None
    mask = context.noise.mask(node.key, rate, (x.shape[0] // context.groups, 1, 1, 1), x.device)
    return x * mask.to(x.dtype).repeat(context.groups, 1, 1, 1)
