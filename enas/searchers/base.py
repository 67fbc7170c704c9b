"""The interface of searchers, and what they share: uniform architectures, small changes, no repetition."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from enas.spaces import Architecture, LimitedSpace, SearchSpace, active, allows, excess, settled

TRIES = 50  # times that a searcher draws, and as often uniformly, before a network is proposed again
SURPLUS = 100  # uniform architectures beyond those needed, so that the last ones of a small space are found
NAN = float("nan")

Network = Callable[[Architecture], Hashable]  # equal for architectures that are the same network


@dataclass(frozen=True)
class Proposal:
    """An architecture with its running number, log-probability and policy version when it was asked for.

    log_prob: NaN where the searcher knows none.
    """

    id: int
    arch: Architecture
    log_prob: float
    version: int


@dataclass(frozen=True)
class Told:
    """What an update saw: means over its architectures (NaN where a searcher has no such figure)."""

    reward: float  # without the entropy bonus
    baseline: float  # of the rewards with the bonus, as read before the update
    advantage: float  # mean absolute value
    grad_norm: float


@dataclass(frozen=True)
class Policy:
    """What a searcher would choose, along the way to some architectures.

    entropies: mean entropy in nats, by group of decisions.
    probabilities: for every decision, by name, its mean probabilities [K_d] where it is active.
    """

    entropies: dict[str, float]
    probabilities: dict[str, list[float]]


class Searcher(Protocol):
    """The interface of all searchers."""

    def sample(self, n: int, generator: torch.Generator) -> list[Architecture]:
        """n architectures to train shared weights on, or to choose from: what it would propose. No side effect."""

    def ask(self, n: int) -> list[Proposal]:
        """n architectures to evaluate."""

    def tell(self, proposals: Sequence[Proposal], rewards: Tensor) -> Told:
        """Learn from the rewards [n] of what was asked for (NaN: the evaluation failed)."""

    def policy(self, archs: Sequence[Architecture]) -> Policy:
        """What it would choose. archs: what `sample` gave just now."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values from which it goes on as if it had never stopped."""

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def uniform(space: SearchSpace, n: int, generator: torch.Generator) -> list[Architecture]:
    """n architectures, each active decision uniform over its choices; of those that the space allows."""
    return allowed(space, n, lambda k: anywhere(space, k, generator), generator)


def anywhere(space: SearchSpace, n: int, generator: torch.Generator) -> list[Architecture]:
    """n architectures, each active decision uniform over its choices, whatever the space's limits are."""
    return architectures(space, _draw(space, n, generator))


def allowed(
    space: SearchSpace,
    n: int,
    draw: Callable[[int], Sequence[Architecture]],
    generator: torch.Generator,
    surplus: int = SURPLUS,
) -> list[Architecture]:
    """n architectures of draw(k), which gives k, that stay within the space's limits: others are drawn instead.

    surplus: how many more than are missing are drawn at once after the first round: none where drawing is dear.

    Where TRIES rounds find too few, the last ones are some that do not, changed until they do. What is drawn has the
    distribution of `draw` under the condition that it is allowed: log-probabilities are too small by one number,
    which cancels where advantages of a batch have the mean 0.
    """
    if not isinstance(space, LimitedSpace):
        return list(draw(n))
    found: list[Architecture] = []
    for round in range(TRIES):
        missing = n - len(found)
        if not missing:
            break
        drawn = draw(missing if round == 0 else missing + surplus)
        kept = [arch for arch in drawn if allows(space, arch)]
        space.drawn, space.kept = space.drawn + len(drawn), space.kept + len(kept)
        found += kept[:missing]
    missing = n - len(found)
    return found + [shrunk(space, arch, generator) for arch in (draw(missing) if missing else ())]


def shrunk(space: LimitedSpace, arch: Architecture, generator: torch.Generator) -> Architecture:
    """`arch` with some choices changed at random, each so that it exceeds the limits by less, until they allow it."""
    while not allows(space, arch):
        options, least = alternatives(space, arch), excess(space, arch)
        order: list[int] = torch.randperm(len(options), generator=generator).tolist()
        nearby = (changed(space, arch, *options[i], generator) for i in order)
        arch = next((other for other in nearby if excess(space, other) < least), space.example)
    return arch


def fair(
    space: SearchSpace, steps: int, per_step: int, generator: torch.Generator, among: Sequence[Sequence[int]]
) -> list[Architecture]:
    """The architectures of so many steps, one step's after the other. Those of a step make all choices of each decision
    equally often, or some choices once more, chosen uniformly, where their number is no multiple of the choices'.
    Each architecture by itself is uniform (strict fairness; FairNAS, Chu et al. 2021). among: the choices of each
    decision that they make."""
    columns = []
    for choices in among:
        k = len(choices)
        rounds = -(-per_step // k)
        orders = torch.rand(steps, rounds, k, generator=generator, dtype=torch.float64).argsort(-1)
        columns.append(torch.tensor(choices)[orders.flatten(1)[:, :per_step].flatten()])
    return architectures(space, torch.stack(columns, 1))


def sandwich(largest: Sequence[Architecture], others: Sequence[Architecture], per_step: int) -> list[Architecture]:
    """The architectures of many steps, one step's after the other: the largest one, or in turn one of several, then
    some of the others, uniform ones (the sandwich rule, Yu & Huang 2019, without its smallest network)."""
    rest = per_step - 1
    steps = range(len(others) // rest)
    return [arch for i in steps for arch in (largest[i % len(largest)], *others[i * rest : (i + 1) * rest])]


def climbed(
    space: SearchSpace,
    start: Architecture,
    values: Callable[[Sequence[Architecture]], Sequence[float]],
    at_once: int = 1,
) -> Architecture:
    """The architecture to which the steepest changes of up to `at_once` choices lead from `start`, as long as the value
    rises and the space allows them. values: gives those of many architectures."""
    arch, least = start, values([start])[0]
    while True:
        nearby = list(dict.fromkeys(near(space, arch, at_once)))
        rising = sorted(zip(values(nearby), range(len(nearby)), strict=True), key=lambda pair: -pair[0])
        best = next(((v, i) for v, i in rising if v > least and allows(space, nearby[i])), None)
        if best is None:
            return arch
        least, arch = best[0], nearby[best[1]]


def near(space: SearchSpace, arch: Architecture, at_once: int) -> Iterator[Architecture]:
    """All architectures that differ from `arch` in 1 to `at_once` choices, and in what follows from those."""
    changes = alternatives(space, arch)
    for count in range(1, at_once + 1):
        for some in itertools.combinations(changes, count):
            if len({d for d, _ in some}) == count:
                choices = dict(enumerate(arch.choices)) | dict(some)
                yield settled(space, list(choices.values()))


def changed(space: SearchSpace, arch: Architecture, d: int, choice: int, generator: torch.Generator) -> Architecture:
    """`arch` with another choice of its active decision d. What begins to matter by that is chosen uniformly."""
    fresh = _draw(space, 1, generator)[0].tolist()
    choices = [
        old if on else new for old, new, on in zip(arch.choices, fresh, active(space, arch.choices), strict=True)
    ]
    choices[d] = choice
    return settled(space, choices)


def alternatives(space: SearchSpace, arch: Architecture) -> list[tuple[int, int]]:
    """All changes of one choice of `arch`: positions of active decisions, and choices that they did not make."""
    return [
        (d, choice)
        for d, on in enumerate(active(space, arch.choices))
        for choice in range(len(space.decisions[d].labels))
        if on and choice != arch.choices[d]
    ]


def mutated(space: SearchSpace, arch: Architecture, generator: torch.Generator) -> Architecture:
    """`arch` with another choice of one of its active decisions, both uniform."""
    options: dict[int, list[int]] = {}
    for d, choice in alternatives(space, arch):
        options.setdefault(d, []).append(choice)
    if not options:  # a space of one architecture
        return arch
    d = list(options)[below(len(options), generator)]
    return changed(space, arch, d, options[d][below(len(options[d]), generator)], generator)


def below(n: int, generator: torch.Generator) -> int:
    """A uniform whole number of 0..n-1."""
    return int(torch.randint(n, (), generator=generator))


def architectures(space: SearchSpace, choices: Tensor) -> list[Architecture]:
    """The architectures with these choices [n, D]."""
    return [settled(space, row) for row in choices.tolist()]


def restored(space: SearchSpace, choices: Sequence[int]) -> Architecture:
    """The architecture with these choices, which a state held."""
    return Architecture(space.name, tuple(choices))


def observed(space: SearchSpace, archs: Sequence[Architecture]) -> Policy:
    """The policy as far as some of its architectures show it: the shares of the choices where they matter.

    The entropies are those of each decision by itself, so they are too small for few architectures, and too
    large where decisions depend on each other.
    """
    counts = [[0] * len(decision.labels) for decision in space.decisions]
    for arch in archs:
        for d, on in enumerate(active(space, arch.choices)):
            counts[d][arch.choices[d]] += on
    entropies: dict[str, float] = {}
    probabilities: dict[str, list[float]] = {}
    for decision, count in zip(space.decisions, counts, strict=True):
        total = sum(count)
        shares = [c / max(1, total) for c in count]
        nats = total / len(archs) * -sum(share * math.log(share) for share in shares if share)
        entropies[decision.group] = entropies.get(decision.group, 0.0) + nats
        if total:
            probabilities[decision.name] = shares
    return Policy(entropies, probabilities)


def seen(rewards: Tensor) -> Told:
    """What a searcher without baseline and gradient tells of an update."""
    return Told(rewards.nanmean().item(), NAN, NAN, NAN)


class Unrepeated:
    """Keeps a searcher from proposing a network twice, where that would only give the same score again.

    network: equal for architectures that are the same network; None: repetition is welcome, because scores
        differ from time to time (shared weights).
    """

    def __init__(self, space: SearchSpace, network: Network | None) -> None:
        self.space = space
        self.network = None if network is None else functools.lru_cache(maxsize=2**16)(network)
        self._proposed: dict[Hashable, Architecture] = {}

    def is_new(self, arch: Architecture) -> bool:
        """Whether it may be proposed: it is within the space's limits, and no repetition."""
        return allows(self.space, arch) and (self.network is None or self.network(arch) not in self._proposed)

    def admit(self, arch: Architecture) -> bool:
        """Whether it may be proposed. Then it is, and not again."""
        new = self.is_new(arch)
        if new and self.network is not None:
            self._proposed[self.network(arch)] = arch
        return new

    def take(
        self, n: int, draw: Callable[[int], Sequence[Architecture]], generator: torch.Generator
    ) -> list[Architecture]:
        """n architectures: new ones of draw(k), which gives k or more that are allowed, then new ones from all over
        the space.

        Where that finds too few, as when the space is exhausted, the rest are repetitions.
        """
        found: list[Architecture] = []
        for source in (draw, lambda k: uniform(self.space, k + SURPLUS if k else 0, generator)):
            for _ in range(TRIES):
                if len(found) < n:
                    for arch in source(n - len(found)):
                        if len(found) < n and self.admit(arch):
                            found.append(arch)
        return found + list(draw(n - len(found)))[: n - len(found)]

    def state_dict(self) -> list[list[int]]:
        return [list(arch.choices) for arch in self._proposed.values()]

    def load_state_dict(self, state: list[list[int]]) -> None:
        self._proposed = {}
        for choices in state:
            self.admit(restored(self.space, choices))


def _draw(space: SearchSpace, n: int, generator: torch.Generator) -> Tensor:
    """Uniform choices [n, D] of all decisions, whether they matter or not."""
    sizes = torch.tensor([len(decision.labels) for decision in space.decisions])
    draws = torch.rand(n, len(sizes), generator=generator, dtype=torch.float64)
    return (draws * sizes).long()
