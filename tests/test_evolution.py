"""Regularised evolution: what a mutation is, tournaments, and a population that ages."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from enas import spaces
from enas.config import EvolutionConfig
from enas.searchers import Evolution
from enas.searchers.base import alternatives, changed, mutated
from enas.spaces import Architecture, SearchSpace
from tests.toys import Branching, Toy, all_archs, macro, random_archs, seeded

SMALL = EvolutionConfig(population=4, tournament=3)


def reward(arch: Architecture) -> float:
    return float(sum(arch.choices))


def told(searcher: Evolution, n: int) -> list[Architecture]:
    """Ask for n architectures and tell their rewards."""
    proposals = searcher.ask(n)
    searcher.tell(proposals, torch.tensor([reward(p.arch) for p in proposals]))
    return [p.arch for p in proposals]


@pytest.mark.parametrize("space", [Toy(), Branching(), macro(3)], ids=["toy", "branching", "macro"])
def test_a_mutation_changes_one_active_decision_and_settles(space: SearchSpace) -> None:
    for i, arch in enumerate(random_archs(space, 60)):
        child = mutated(space, arch, seeded(i))
        spaces.validate(space, child)
        before, after = spaces.active(space, arch.choices), spaces.active(space, child.choices)
        both = [d for d in range(len(before)) if before[d] and after[d]]
        assert sum(arch.choices[d] != child.choices[d] for d in both) == 1  # all others: no longer or not yet active


def test_a_mutation_takes_every_decision_and_every_other_choice_as_often() -> None:
    space, n = macro(3), 5000
    arch = random_archs(space, 1)[0]
    draws = seeded()
    found = [mutated(space, arch, draws).choices for _ in range(n)]
    changes = [next((d, c) for d, (c, old) in enumerate(zip(f, arch.choices, strict=True)) if c != old) for f in found]
    for d, decision in enumerate(space.decisions):
        others = set(range(len(decision.labels))) - {arch.choices[d]}
        for choice in others:
            expected = n / len(space.decisions) / len(others)
            assert abs(changes.count((d, choice)) - expected) < 5 * expected**0.5


def test_what_begins_to_matter_is_drawn() -> None:
    space, draws = Branching(), seeded()
    arch = Architecture("toy", (0, 0, 0, 1, 0, 0, 0))
    children = {changed(space, arch, 0, 2, draws).choices for _ in range(200)}
    assert {child[1:3] for child in children} == {(0, 0), (1, 0), (1, 1), (1, 2)}  # mode, and detail under its second
    assert {child[3] for child in children} == {1}  # mattered before
    assert changed(space, arch, 0, 1, draws).choices[3] == 0  # does not matter any more


def test_alternatives_are_the_neighbours() -> None:
    for arch in all_archs(Branching()):
        changes = alternatives(Branching(), arch)
        assert len(set(changes)) == len(changes)
        on = spaces.active(Branching(), arch.choices)
        decisions = Branching().decisions
        assert len(changes) == sum(len(decisions[d].labels) - 1 for d in range(len(on)) if on[d])


@pytest.mark.parametrize("batch", [1, 3])
def test_the_population_ages(batch: int) -> None:
    searcher = Evolution(macro(3), SMALL, seeded())
    history: list[Architecture] = []
    for _ in range(7):
        history += told(searcher, batch)
        assert [arch for arch, _ in searcher.population] == history[-4:]  # the oldest leave, however good


def test_the_first_ones_are_uniform_and_the_next_ones_children_of_the_best() -> None:
    space = macro(3)
    searcher = Evolution(space, dataclasses.replace(SMALL, tournament=200), seeded())
    first = told(searcher, 3)
    last = searcher.ask(2)  # the fourth one and, in the same batch, the first child
    assert first + [last[0].arch] == random_archs(space, 4)  # of the same generator
    best = max(first, key=reward)
    child, sampled = last[1].arch, searcher.sample(5, seeded(1))
    for arch in [child, *sampled]:  # a tournament of 200 out of three never misses the best
        assert sum(a != b for a, b in zip(arch.choices, best.choices, strict=True)) == 1


def test_before_the_population_is_full_samples_are_uniform() -> None:
    searcher = Evolution(macro(3), SMALL, seeded())
    told(searcher, 3)
    assert searcher.sample(6, seeded(8)) == random_archs(macro(3), 6, seed=8)


def test_tournaments_prefer_the_better() -> None:
    """Of two members, the better one wins a tournament of k with probability 1 - 2 ** -k."""
    space, n = macro(3), 2000
    for k in (1, 3):
        searcher = Evolution(space, EvolutionConfig(population=2, tournament=k), seeded())
        archs = [Architecture("macro", (0,) * 6), Architecture("macro", (5, 5, 1, 5, 1, 1))]
        proposals = [dataclasses.replace(p, arch=arch) for p, arch in zip(searcher.ask(2), archs, strict=True)]
        searcher.tell(proposals, torch.tensor([0.1, 0.2]))
        high = sum(sum(arch.choices) > 8 for arch in searcher.sample(n, seeded()))
        expected = n * (1 - 2.0**-k)
        assert abs(high - expected) < 5 * (expected * 2.0**-k) ** 0.5


def test_failed_architectures_do_not_join() -> None:
    searcher = Evolution(macro(3), SMALL, seeded())
    proposals = searcher.ask(4)
    told = searcher.tell(proposals, torch.tensor([1.0, float("nan"), 3.0, float("nan")]))
    assert [arch for arch, _ in searcher.population] == [proposals[0].arch, proposals[2].arch]
    assert told.reward == 2
    lost = Evolution(macro(3), SMALL, seeded())
    lost.tell(lost.ask(6), torch.full((6,), float("nan")))
    assert lost.sample(3, seeded(1)) == random_archs(macro(3), 3, seed=1)  # there is nobody to descend from
    assert len(lost.ask(3)) == 3


def test_some_proposals_are_random_on_request() -> None:
    space = macro(6)
    config = EvolutionConfig(population=1, tournament=1, random_share=0.25)
    searcher = Evolution(space, config, seeded())
    parent = told(searcher, 1)[0]
    children = searcher.sample(2000, seeded(3))
    far = sum(sum(a != b for a, b in zip(arch.choices, parent.choices, strict=True)) > 2 for arch in children)
    assert far == pytest.approx(500, abs=100)
