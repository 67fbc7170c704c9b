"""Progressive shrinking: while shared weights train on uniform architectures, every decision gives up its worst choice
now and then, so that the training goes to what is left.

Which one is the worst the shared weights say themselves, by the effects of choices on the loss (enas/effects.py). The
searcher may propose it all the same, and the shared weights judge it as they last were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from enas import spaces
from enas.effects import Effects
from enas.plan import SHRINKING_ARCHITECTURES, Work, shrink_epochs
from enas.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    from enas.phases import Search

Kept = list[list[int]]  # for every decision the choices that are left, rising


def shrink_where_due(state: Search) -> list[str]:
    """Give up choices as often as should have happened by the beginning of this epoch. Returns them, in words."""
    curriculum, changes = state.curriculum, []
    while curriculum.shrunk < sum(epoch <= state.epoch for epoch in shrink_epochs(state.config)):
        before = curriculum.kept or whole(state.whole)
        curriculum.kept = without_worst(before, _effects(state))
        curriculum.shrunk += 1
        changes.append(f"given up: {', '.join(_gone(state.whole, before, curriculum.kept))}")
    return changes


def whole(space: SearchSpace) -> Kept:
    """All choices of the space."""
    return [list(range(len(decision.labels))) for decision in space.decisions]


def without_worst(kept: Kept, effects: Sequence[Sequence[float]]) -> Kept:
    """What is left when every decision that has several choices gives up that of the lowest effect."""
    return [
        [choice for choice in choices if choice != min(choices, key=of.__getitem__)] if len(choices) > 1 else choices
        for choices, of in zip(kept, effects, strict=True)
    ]


def within(
    space: SearchSpace, archs: Sequence[Architecture], kept: Kept, generator: torch.Generator
) -> list[Architecture]:
    """The architectures with a uniform one of the kept choices wherever they make another."""
    draws = torch.rand(len(archs), len(kept), generator=generator, dtype=torch.float64).tolist()
    found = []
    for arch, numbers in zip(archs, draws, strict=True):
        rows = zip(arch.choices, kept, numbers, strict=True)
        choices = [choice if choice in left else left[int(number * len(left))] for choice, left, number in rows]
        found.append(spaces.settled(space, choices))
    return found


def _gone(space: SearchSpace, before: Kept, after: Kept) -> list[str]:
    """What was there before and is not after, as decision and choice."""
    rows = zip(space.decisions, before, after, strict=True)
    return [f"{d.name} {d.labels[choice]}" for d, then, now in rows for choice in then if choice not in now]


def _effects(state: Search) -> list[list[float]]:
    """The effect on minus the logarithm of the loss that every choice of every decision has."""
    draws = state.draws(f"shrinking/{state.curriculum.shrunk}")
    archs = state.curriculum.independent(SHRINKING_ARCHITECTURES, draws)
    batch = state.validation_batch(state.config.derive.images_per_epoch, f"shrinking images/{state.curriculum.shrunk}")
    loss = state.evaluator.score(archs, [batch]).known_loss
    state.report(Work(scoring=len(archs) * len(batch[0])))
    return Effects(state.whole, archs, -loss.log()).of_choices()
