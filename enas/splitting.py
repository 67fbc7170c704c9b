"""Few-shot supernets (Zhao et al. 2021): from some epoch on the shared weights are several copies, one for each choice
of a decision, and every architecture trains and is judged by the copy of its own choice.

One set of weights is a compromise of all architectures. Splitting it lifts the compromise where it costs most: at the
decision whose choices pull the weights that they share furthest apart, which the angles between their gradients show
(Hu et al. 2022). Until then all images train one set of weights, so copies start from weights that know the task.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from enas import searchers, spaces
from enas.data import random_batch
from enas.errors import UserError
from enas.plan import SPLITTING_PASSES, TRAINING_COST, Work, split_epoch
from enas.spaces import Architecture
from enas.training import Batch

if TYPE_CHECKING:
    from enas.phases import Search

MOST_COPIES = 64  # of the shared weights
Gradient = list[Tensor | None]  # of every shared weight; None where the architecture does not use it


def split_where_due(state: Search) -> str | None:
    """Split the shared weights at the beginning of the epoch that `weights.split_after` says; before it, and when they
    are split already, do nothing. Returns in words what was done.

    Raises UserError where the device's memory is not enough for it.
    """
    due = split_epoch(state.config)
    if due is None or state.epoch < due or state.supernet.splits is not None:
        return None
    if state.runtime.attempt(lambda: _split(state)) is None:
        raise UserError(
            "the device must have memory for the copies of split shared weights, but it ran out; the last checkpoint "
            "is intact; start a new run with fewer --splits, or a smaller --batch-size or --width"
        )
    splits: Sequence[int] = state.supernet.splits or ()
    names = [state.whole.decisions[d].name for d in splits]
    if not names:
        return "shared weights are not split: no decision's choices share any"
    return f"shared weights split on {' and '.join(names)}"


def _split(state: Search) -> bool:
    """Split the shared weights where it is most needed. True, once that is done."""
    state.split(most_harmful(state, state.config.weights.splits))
    return True


def most_harmful(state: Search, count: int) -> list[int]:
    """Positions of `count` decisions, in order: those whose choices' gradients agree least. Fewer where there are no
    more, or where that would make more than MOST_COPIES of the shared weights."""
    found = agreement(state)
    chosen: list[int] = []
    copies = 1
    for d in sorted(found, key=found.__getitem__):
        choices = len(state.whole.decisions[d].labels)
        if len(chosen) < count and copies * choices <= MOST_COPIES:
            chosen.append(d)
            copies *= choices
    return sorted(chosen)


def agreement(state: Search) -> dict[int, float]:
    """For the positions of decisions the mean cosine between the gradients that its choices have at the weights they
    share, on the same training images and with the same other choices, those of uniform architectures. One that does
    not activate the decision counts as full agreement: a copy for what is rare would be of little use.

    A decision is left out if none of those few architectures activates it, or if its choices share no weight.
    """
    space, kept = state.whole, state.curriculum.kept
    count = max(1, SPLITTING_PASSES // (1 + sum(len(choices) - 1 for choices in kept)))
    found: dict[int, list[Tensor]] = {}
    images = macs = 0
    for i, base in enumerate(state.curriculum.independent(count, state.draws("splitting"))):
        size, draws = state.config.weights.batch_size, state.draws(f"splitting images/{i}")
        batch = random_batch(state.seen.train, size, state.data.mean, state.data.std, draws)
        archs = [base]
        own = _gradient(state, base, batch)
        for d, changes in itertools.groupby(searchers.alternatives(space, base), key=operator.itemgetter(0)):
            others = (choice for _, choice in changes if choice in kept[d])
            variants = [spaces.settled(space, (*base.choices[:d], other, *base.choices[d + 1 :])) for other in others]
            gradients = [own, *(_gradient(state, arch, batch) for arch in variants)]
            cosines = [_cosine(a, b) for j, a in enumerate(gradients) for b in gradients[:j]]
            known = [cosine for cosine in cosines if cosine is not None]
            if known:
                found.setdefault(d, []).append(torch.stack(known).mean())
            archs += variants
            state.keeper.tick()
        images += len(archs) * len(batch[0])
        macs += sum(map(state.macs, archs)) * len(batch[0])
    # counted at the end: a search that is stopped on the way begins this anew
    state.training_macs += TRAINING_COST * macs
    state.report(Work(training=images))
    means = {d: (torch.stack(of).sum().item() + count - len(of)) / count for d, of in found.items()}
    return {d: value for d, value in means.items() if math.isfinite(value)}


def _gradient(state: Search, arch: Architecture, batch: Batch) -> Gradient:
    """Of the loss of one architecture, without dropout."""
    images, labels = batch
    with state.runtime.autocast():
        logits = state.supernet(images, [state.evaluator.graph(arch)])[0]
    loss = F.cross_entropy(logits.float(), labels)
    return list(torch.autograd.grad(loss, list(state.supernet.parameters()), allow_unused=True))


def _cosine(a: Gradient, b: Gradient) -> Tensor | None:
    """Between two gradients, of the weights that both architectures use; None where there are none."""
    both = [(x.flatten(), y.flatten()) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not both:
        return None
    product = torch.stack([x @ y for x, y in both]).sum()
    lengths = [torch.stack([part[side].square().sum() for part in both]).sum().sqrt() for side in (0, 1)]
    return product / (lengths[0] * lengths[1])
