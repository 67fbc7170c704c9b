"""Local search: neighbours, climbs and restarts, in batches of any size."""

from __future__ import annotations

import pytest
import torch

from enas.config import LocalSearchConfig
from enas.searchers import LocalSearch
from enas.searchers.base import Network, alternatives, changed
from enas.spaces import Architecture, SearchSpace
from tests.toys import Branching, all_archs, as_tensor, macro, seeded

BEST, FIRST = LocalSearchConfig(move="best"), LocalSearchConfig(move="first")
each_move = pytest.mark.parametrize("config", [BEST, FIRST], ids=["best", "first"])
each_batch = pytest.mark.parametrize("batch", [1, 4, 30])


def identity(arch: Architecture) -> tuple[int, ...]:
    return arch.choices


def neighbours(space: SearchSpace, arch: Architecture) -> set[Architecture]:
    """Of a space in which everything always matters."""
    return {changed(space, arch, d, choice, seeded()) for d, choice in alternatives(space, arch)}


def rough(arch: Architecture) -> float:
    """A reward with many local optima, without ties."""
    return torch.rand((), generator=seeded(hash(arch.choices) % 2**31)).item() + sum(arch.choices) / 10


def step(searcher: LocalSearch, n: int) -> list[Architecture]:
    proposals = searcher.ask(n)
    searcher.tell(proposals, torch.tensor([rough(p.arch) for p in proposals], dtype=torch.float64))
    return [p.arch for p in proposals]


@each_move
@each_batch
def test_it_climbs_to_local_optima_and_starts_anew(config: LocalSearchConfig, batch: int) -> None:
    space = macro(2)
    searcher = LocalSearch(space, config, seeded(), identity)
    centres: list[Architecture] = []
    seen: list[Architecture] = []
    while len(seen) < 60:  # of 72
        seen += step(searcher, min(batch, 60 - len(seen)))
        centre = searcher.centre.arch if searcher.centre else None
        if centre and (not centres or centre != centres[-1]):
            centres.append(centre)
    assert len(set(seen)) == len(seen)
    optima = [arch for arch in all_archs(space) if rough(arch) > max(map(rough, neighbours(space, arch)))]
    assert len(optima) > 2
    assert max(map(rough, seen)) == max(map(rough, optima))
    # whoever is left for a worse one was a local optimum, and there were several
    left = [old for old, new in zip(centres, centres[1:], strict=False) if rough(new) < rough(old)]
    assert set(left) <= set(optima)
    if batch == 1:
        assert len(left) > 1


def test_the_best_neighbour_is_taken_after_all_were_evaluated_and_the_first_better_one_at_once() -> None:
    space = macro(3)
    for config in (BEST, FIRST):
        searcher = LocalSearch(space, config, seeded(), identity)
        start = step(searcher, 1)[0]
        around = neighbours(space, start)
        asked: list[Architecture] = []
        while searcher.centre and searcher.centre.arch == start:
            asked += step(searcher, 1)
        assert searcher.centre and searcher.centre.arch in around
        if config is BEST:
            assert set(asked) == around and searcher.centre.arch == max(around, key=rough)
        else:
            assert set(asked) <= around and searcher.centre.arch == asked[-1]
            assert all(rough(arch) < rough(start) for arch in asked[:-1])


def test_neighbours_come_in_random_order() -> None:
    orders = set()
    for seed in range(4):
        searcher = LocalSearch(macro(2), BEST, seeded(seed), identity)
        proposals = searcher.ask(1)
        searcher.tell([proposals[0]], torch.tensor([1.0]))
        orders.add(tuple(arch.choices for arch in searcher.untried))
    assert len(orders) == 4


def test_places_left_in_a_batch_find_the_next_start() -> None:
    space = macro(2)
    searcher = LocalSearch(space, BEST, seeded(), identity)
    first = step(searcher, 5)
    assert searcher.centre and searcher.centre.arch == max(first, key=rough)
    assert sorted(start.reward for start in searcher.starts) == pytest.approx(sorted(map(rough, first))[:4])


@pytest.mark.parametrize("network", [None, identity], ids=["repeats", "unrepeated"])
def test_the_centre_is_judged_again_with_its_neighbours_where_scores_differ(network: Network | None) -> None:
    searcher = LocalSearch(macro(3), FIRST, seeded(), network)
    first = searcher.ask(1)
    searcher.tell(first, torch.tensor([0.9]))  # on easy images
    second = searcher.ask(4)
    assert (second[0].arch == first[0].arch) == (network is None)
    searcher.tell(second, torch.tensor([0.3, 0.2, 0.4, 0.25]))  # on hard ones: the third is better than the centre
    assert searcher.centre
    assert searcher.centre.arch == (second[2].arch if network is None else first[0].arch)


def test_failures_are_no_neighbours_to_move_to() -> None:
    searcher = LocalSearch(macro(2), BEST, seeded(), identity)
    searcher.tell(searcher.ask(1), torch.tensor([float("nan")]))
    assert searcher.centre is None
    start = searcher.ask(1)
    searcher.tell(start, torch.tensor([0.5]))
    while searcher.centre and searcher.centre.arch == start[0].arch:
        proposals = searcher.ask(3)
        searcher.tell(proposals, torch.full((len(proposals),), float("nan")))
    assert searcher.centre is None  # a local optimum, as far as anybody knows
    assert len(searcher.ask(2)) == 2


def test_samples_are_the_centre_and_its_neighbours() -> None:
    searcher = LocalSearch(macro(2), BEST, seeded(), identity)
    assert len(set(searcher.sample(300, seeded()))) > 60
    start = step(searcher, 1)[0]
    assert set(searcher.sample(300, seeded())) == {start} | neighbours(macro(2), start)


@each_move
def test_with_conditional_decisions_it_finds_the_best_of_all(config: LocalSearchConfig) -> None:
    target = torch.tensor((2, 1, 2, 1, 1, 1, 1))
    searcher = LocalSearch(Branching(), config, seeded(), identity)
    for _ in range(20):
        proposals = searcher.ask(3)
        searcher.tell(proposals, (as_tensor([p.arch for p in proposals]) == target).float().mean(1))
    assert max(found.reward for found in searcher.known.values()) == 1
