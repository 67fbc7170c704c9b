"""Successive halving (Jamieson & Talwalkar 2016): all of a batch train to the first rung, the best to the next one.

Rungs are epochs after which those still in training are compared; one in `eta` of them goes on. eta 0: nobody stops.
"""

from __future__ import annotations

from collections.abc import Sequence

from enas.errors import UserError


def check_eta(eta: int, who: str) -> None:
    """Raise UserError for an eta that would stop nobody. who: what is trained, in one word."""
    if eta == 1:
        raise UserError(f"halving_eta must be 0 (off) or at least 2, but got 1, which would stop no {who}")


def rungs(epochs: int, eta: int, first: int) -> tuple[int, ...]:
    """The rungs, the last one being the end: epochs / eta^k, rounded down, none before epoch `first` (at least 1)."""
    found = [epochs]
    while eta and found[-1] // eta >= first:
        found.append(found[-1] // eta)
    return tuple(reversed(found))


def spans(rungs: Sequence[int]) -> list[int]:
    """Epochs from each rung's predecessor to it."""
    return [end - start for start, end in zip((0, *rungs), rungs, strict=False)]


def counts(count: int, rungs: Sequence[int], eta: int) -> list[int]:
    """How many of `count` train to each rung, where none fails."""
    found = [count]
    for _ in rungs[1:]:
        found.append(_going_on(found[-1], eta))
    return found


def promoted(scores: Sequence[float | None], eta: int) -> list[int]:
    """The positions of those that go on, in order: the best, and of equals the first; never one that failed (None)."""
    well = {i: score for i, score in enumerate(scores) if score is not None}
    ranked = sorted(well, key=well.__getitem__, reverse=True)  # stable, reversed or not
    return sorted(ranked[: _going_on(len(scores), eta)])


def _going_on(count: int, eta: int) -> int:
    return max(1, count // eta)
