"""Mixup (Zhang et al. 2018): training on mixtures of two images and of their labels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Batch = tuple[Tensor, Tensor]


def mixup(batch: Batch, num_classes: int, alpha: float, seed: int) -> Batch:
    """Images [N, C, H, W] and labels int64 [N] -> mixed images and class probabilities [N, K].

    Every image is mixed with another one of the batch, all in the same proportion, which is drawn from
    Beta(alpha, alpha). Equal seeds give equal mixtures.
    """
    images, labels = batch
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    partner = order.to(images.device, non_blocking=True)
    targets = F.one_hot(labels, num_classes).float()
    return torch.lerp(images[partner], images, share), torch.lerp(targets[partner], targets, share)
