"""Progressive shrinking: while shared weights train on uniform architectures, decisions give up their worst choice now
and then, so that the training goes to what is left.

Which one is the worst the shared weights say themselves, by the effects of choices on the loss (enas/effects.py): it
goes where two halves of the architectures agree on it, so that what makes no difference stays. Two choices are left
at least. The searcher may propose what is gone all the same, and the shared weights judge it as they last were.
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

LEAST_KEPT = 2  # choices of a decision
MOST_NAMED = 20  # choices in a line
Kept = list[list[int]]  # for every decision the choices that are left, rising


def shrink_where_due(state: Search) -> str | None:
    """Give up choices as often as should have happened by the beginning of this epoch. Returns in words what went."""
    curriculum, gone = state.curriculum, []
    due = sum(epoch <= state.epoch for epoch in shrink_epochs(state.config))
    while curriculum.uniform and curriculum.shrunk < due and any(len(left) > LEAST_KEPT for left in curriculum.kept):
        gone += curriculum.give_up(without_worst(curriculum.kept, _effects(state)))
    if not gone:
        return None
    more = f" and {len(gone) - MOST_NAMED} more" if len(gone) > MOST_NAMED else ""
    return f"given up: {', '.join(gone[:MOST_NAMED])}{more}"


def whole(space: SearchSpace) -> Kept:
    """All choices of the space."""
    return [list(range(len(decision.labels))) for decision in space.decisions]


def without_worst(kept: Kept, effects: Sequence[Sequence[Sequence[float]]]) -> Kept:
    """What is left when every decision that has more than two choices gives up the one of the lowest effect, if all
    the effects, of each choice of each decision, agree on it."""
    left = []
    for d, choices in enumerate(kept):
        worst = {min(choices, key=found[d].__getitem__) for found in effects}
        goes = len(choices) > LEAST_KEPT and len(worst) == 1
        left.append([choice for choice in choices if choice not in worst] if goes else choices)
    return left


def within(
    space: SearchSpace, archs: Sequence[Architecture], kept: Kept, generator: torch.Generator
) -> list[Architecture]:
    """The architectures with a uniform one of the kept choices wherever they make another, or play no part so far."""
    draws = torch.rand(len(archs), len(kept), generator=generator, dtype=torch.float64).tolist()
    found = []
    for arch, numbers in zip(archs, draws, strict=True):
        rows = zip(arch.choices, spaces.active(space, arch.choices), kept, numbers, strict=True)
        choices = [
            choice if on and choice in left else left[int(number * len(left))] for choice, on, left, number in rows
        ]
        found.append(spaces.settled(space, choices))
    return found


def _effects(state: Search) -> list[list[list[float]]]:
    """The effect on minus the logarithm of the loss that every choice of every decision has, by each half of some
    architectures."""
    purpose = f"shrinking/{state.curriculum.shrunk}"
    archs = state.curriculum.independent(SHRINKING_ARCHITECTURES, state.draws(purpose))
    batch = state.validation_batch(state.config.derive.images_per_epoch, f"{purpose}/images")
    values = -state.evaluator.score(archs, [batch]).known_loss.log()
    state.report(Work(scoring=len(archs) * len(batch[0])))
    halves = (slice(None, None, 2), slice(1, None, 2))
    return [Effects(state.whole, archs[half], values[half]).of_choices() for half in halves]
