"""Few-shot supernets (Zhao et al. 2021): from some epoch on the shared weights are several copies, one for each choice
of a decision, and every architecture trains and is judged by the copy of its own choice.

One set of weights is a compromise of all architectures. Splitting it lifts the compromise where it costs most: at the
decision whose choices pull the weights that they share furthest apart, which the angles between their gradients show
(Hu et al. 2022). Until then all images train one set of weights, so copies start from weights that know the task.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from enas import searchers, spaces
from enas.data import random_batch
from enas.plan import SPLITTING_PASSES, TRAINING_COST, Work, split_epoch
from enas.spaces import Architecture
from enas.training import Batch

if TYPE_CHECKING:
    from enas.phases import Search

Gradient = list[Tensor | None]  # of every shared weight; None where the architecture does not use it


def split_where_due(state: Search) -> list[str]:
    """Split the shared weights at the beginning of the epoch that `weights.split_after` says; before it, and when they
    are split already, do nothing. Returns what was done, in words."""
    due = split_epoch(state.config)
    if due is None or state.epoch < due or state.supernet.splits:
        return []
    state.split(most_harmful(state, state.config.weights.splits))
    names = [state.whole.decisions[d].name for d in state.supernet.splits]
    return [f"shared weights split on {' and '.join(names)}"]


def most_harmful(state: Search, count: int) -> list[int]:
    """Positions of `count` decisions, or of all where those are fewer, in order: those whose choices' gradients agree
    least."""
    found = agreement(state)
    return sorted(sorted(range(len(found)), key=found.__getitem__)[:count])


def agreement(state: Search) -> list[float]:
    """For every decision the mean cosine between the gradients that its choices have at the weights they share, on the
    same training images and with the same other choices, those of uniform architectures. 1 where it is never active."""
    space, weights = state.whole, state.config.weights
    numbers = sum(len(decision.labels) - 1 for decision in space.decisions)
    bases = searchers.uniform(space, max(1, SPLITTING_PASSES // (1 + numbers)), state.draws("splitting"))
    sums = torch.zeros(len(space.decisions), device=state.runtime.device)
    counts = [0] * len(space.decisions)
    for i, base in enumerate(bases):
        draws = state.draws(f"splitting images/{i}")
        data = state.data
        batch = random_batch(state.seen.train, weights.batch_size, data.mean, data.std, draws)
        own = _gradient(state, base, batch)
        for d, changes in itertools.groupby(searchers.alternatives(space, base), key=operator.itemgetter(0)):
            choices = [(*base.choices[:d], choice, *base.choices[d + 1 :]) for _, choice in changes]
            gradients = [own, *(_gradient(state, spaces.settled(space, other), batch) for other in choices)]
            pairs = [_cosine(a, b) for j, a in enumerate(gradients) for b in gradients[:j]]
            sums[d] += torch.stack(pairs).mean()
            counts[d] += 1
    return [total / n if n else 1.0 for total, n in zip(sums.tolist(), counts, strict=True)]


def _gradient(state: Search, arch: Architecture, batch: Batch) -> Gradient:
    """Of the loss of one architecture, without dropout."""
    images, labels = batch
    with state.runtime.autocast():
        logits = state.supernet(images, [state.evaluator.graph(arch)])[0]
    loss = F.cross_entropy(logits.float(), labels)
    state.training_macs += TRAINING_COST * len(images) * state.macs(arch)
    state.report(Work(training=len(images)))
    return list(torch.autograd.grad(loss, list(state.supernet.parameters()), allow_unused=True))


def _cosine(a: Sequence[Tensor | None], b: Sequence[Tensor | None]) -> Tensor:
    """Between two gradients, of the weights that both architectures use."""
    both = [(x.flatten(), y.flatten()) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    product = torch.stack([x @ y for x, y in both]).sum()
    lengths = [torch.stack([part[side].square().sum() for part in both]).sum().sqrt() for side in (0, 1)]
    return product / (lengths[0] * lengths[1]).clamp(min=torch.finfo(product.dtype).tiny)
