"""What holds for every searcher, whatever it does: on spaces with and without conditional decisions."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import math
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from enas import checkpoint, config, spaces
from enas.config import SEARCHERS, SearchConfig
from enas.errors import UserError
from enas.searchers import Network, Proposal, Searcher, build, observed, uniform
from enas.spaces import Architecture, SearchSpace
from tests.toys import Branching, Toy, all_archs, macro, random_archs, seeded

LEARNING = tuple(name for name in SEARCHERS if SearchConfig(searcher=name).learns)
each = pytest.mark.parametrize("name", SEARCHERS)
each_space = pytest.mark.parametrize("space", [macro(3), Branching()], ids=["macro", "branching"])
SETTINGS: dict[str, Any] = {  # small ones, so that a few batches reach everything
    "controller": {
        "hidden": 8,
        "lr": 0.02,
        "adam_eps": 1e-8,
        "skip_weight": 0.0,
        "advantage_scale": "running",
        "passes": 2,
        "replay": 0.5,
        "replay_size": 4,
        "entropy_decay": 0.1,
    },
    "evolution": {"population": 10, "tournament": 10, "random_share": 0.1},
    "tpe": {"startup": 8},
}


def identity(arch: Architecture) -> tuple[int, ...]:
    return arch.choices


def start(name: str, space: SearchSpace, seed: int = 0, network: Network | None = None) -> Searcher:
    return build(space, config.update(SearchConfig(searcher=name), SETTINGS), seeded(seed), network)


def truth(arch: Architecture) -> float:
    """A reward without much of a pattern; some architectures fail."""
    value = torch.rand((), generator=seeded(1 + hash(arch.choices) % 2**31)).item()
    return math.nan if value < 0.1 else value


def told(searcher: Searcher, proposals: list[Proposal]) -> str:
    """Tell the truth; everything that is returned, as text because of the NaNs."""
    result = searcher.tell(proposals, torch.tensor([truth(p.arch) for p in proposals], dtype=torch.float64))
    return str(dataclasses.astuple(result))


def go_on(searcher: Searcher, batches: int, size: int = 4) -> list[Any]:
    """Some batches, and all that can be seen of them."""
    log: list[Any] = []
    for _ in range(batches):
        proposals = searcher.ask(size)
        log += [str(proposals), told(searcher, proposals)]
        log.append(searcher.policy(searcher.sample(3, seeded(proposals[0].id))))
    return log


@each
@each_space
@pytest.mark.parametrize("network", [None, identity], ids=["repeats", "unrepeated"])
@pytest.mark.parametrize("stop", [0, 1, 7])
def test_continued_equals_uninterrupted(
    name: str, space: SearchSpace, network: Network | None, stop: int, tmp_path: Path
) -> None:
    whole = go_on(start(name, space, 1, network), 9)
    interrupted = start(name, space, 1, network)
    begun = go_on(interrupted, stop)
    checkpoint.save(tmp_path / "state", interrupted.state_dict())
    resumed = start(name, space, 2, network)
    go_on(resumed, 1)  # what it did before is forgotten
    resumed.load_state_dict(checkpoint.load(tmp_path / "state"))
    assert begun + go_on(resumed, 9 - stop) == whole


@each
@each_space
def test_continued_between_ask_and_tell(name: str, space: SearchSpace, tmp_path: Path) -> None:
    searcher = start(name, space, 1, identity)
    go_on(searcher, 4)
    asked = searcher.ask(5)
    checkpoint.save(tmp_path / "state", searcher.state_dict())
    expected = [told(searcher, asked), *go_on(searcher, 4)]
    resumed = start(name, space, 2, identity)
    resumed.load_state_dict(checkpoint.load(tmp_path / "state"))
    assert [told(resumed, asked), *go_on(resumed, 4)] == expected


@each
@each_space
def test_proposals_are_valid_and_numbered(name: str, space: SearchSpace) -> None:
    searcher = start(name, space)
    number = 0
    for size in (1, 5, 12, 3, 7):
        proposals = searcher.ask(size)
        assert [p.id for p in proposals] == list(range(number, number + size))
        number += size
        for arch in [p.arch for p in proposals] + searcher.sample(5, seeded(number)):
            spaces.validate(space, arch)
        told(searcher, proposals)


@each
def test_sampling_leaves_what_is_asked_alone(name: str) -> None:
    def asked(sampling: bool) -> str:
        searcher = start(name, macro(3))
        log: list[Proposal] = []
        for _ in range(4):
            proposals = searcher.ask(5)
            log += proposals
            told(searcher, proposals)
            if sampling:
                assert searcher.sample(3, seeded(6)) == searcher.sample(3, seeded(6))
                searcher.policy(searcher.sample(4, seeded(7)))
        return str(log)

    assert asked(sampling=True) == asked(sampling=False)


@each
def test_a_copy_goes_its_own_way(name: str) -> None:
    """The measurement before a search with a budget tells a copy made-up rewards."""
    searcher, untouched = start(name, macro(3), 3), start(name, macro(3), 3)
    go_on(searcher, 3)
    go_on(untouched, 3)
    go_on(copy.deepcopy(searcher), 2)
    assert go_on(searcher, 2) == go_on(untouched, 2)


@each
def test_no_network_is_proposed_twice_before_the_space_is_exhausted(name: str) -> None:
    # Branching has 92 architectures; networks are equal here unless kind, mode or link/kind differ
    def network(arch: Architecture) -> tuple[int, ...]:
        return arch.choices[0], arch.choices[1], arch.choices[4]

    for key, count in ((identity, 92), (network, len({network(arch) for arch in all_archs(Branching())}))):
        searcher = start(name, Branching(), 0, key)
        proposals: list[Proposal] = []
        while len(proposals) < count:
            batch = searcher.ask(min(4, count - len(proposals)))
            told(searcher, batch)
            proposals += batch
        assert len({key(p.arch) for p in proposals}) == count
        again = searcher.ask(3)  # there are no others
        told(searcher, again)
        assert len(again) == 3


@each
def test_failures_only(name: str) -> None:
    searcher = start(name, macro(3), 0, identity)
    for _ in range(4):
        proposals = searcher.ask(6)
        assert math.isnan(searcher.tell(proposals, torch.full((6,), math.nan)).reward)
    assert len(searcher.sample(4, seeded())) == 4


@each
@each_space
def test_the_policy_speaks_of_all_groups_and_of_decisions_that_matter(name: str, space: SearchSpace) -> None:
    searcher = start(name, space)
    go_on(searcher, 5)
    archs = searcher.sample(10, seeded())
    policy, uniform_nats = searcher.policy(archs), spaces.uniform_entropies(space)
    assert set(policy.entropies) == set(uniform_nats)
    for group, nats in policy.entropies.items():
        most = sum(math.log(len(d.labels)) for d in space.decisions if d.group == group)
        assert -1e-6 <= nats <= most + 1e-6
    matters = torch.tensor([spaces.active(space, arch.choices) for arch in archs]).any(0).tolist()
    for decision, on in zip(space.decisions, matters, strict=True):
        assert name == "random" or (decision.name in policy.probabilities) == on
        assert sum(policy.probabilities.get(decision.name, [1.0])) == pytest.approx(1)


def test_observed_shares_by_hand() -> None:
    archs = [Architecture("toy", choices) for choices in ((0, 0, 0, 2, 1, 0, 1), (2, 1, 2, 0, 0, 1, 1))]
    policy = observed(Branching(), archs)
    assert policy.probabilities == {
        "kind": [0.5, 0, 0.5],
        "mode": [0, 1],
        "detail": [0, 0, 1],
        "from": [0.5, 0, 0.5],
        "link/kind": [0.5, 0.5],
        "link/mode": [0, 1],
        "end": [0, 1],
    }
    two = math.log(2)
    assert policy.entropies == pytest.approx(
        {"kind": two, "mode": 0, "detail": 0, "from": two, "link": two, "end": 0}, abs=1e-12
    )
    many = observed(Branching(), random_archs(Branching(), 20000))
    assert many.entropies == pytest.approx(spaces.uniform_entropies(Branching()), abs=0.02)


def best_found(name: str, space: SearchSpace, target: tuple[int, ...], seed: int, evaluations: int) -> bool:
    """Whether the searcher meets the best architecture, towards which each right choice leads, within so many."""
    searcher = start(name, space, seed, identity)
    for _ in range(evaluations // 5):
        proposals = searcher.ask(5)
        if any(p.arch.choices == target for p in proposals):
            return True
        hits = [sum(a == b for a, b in zip(p.arch.choices, target, strict=True)) / len(target) for p in proposals]
        searcher.tell(proposals, torch.tensor(hits))
    return False


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize(
    ("space", "target", "evaluations"),
    [(Branching(), (2, 1, 2, 1, 1, 1, 1), 35), (macro(3), (3, 1, 1, 4, 0, 1), 250)],
    ids=["branching", "macro"],
)
def test_learning_finds_the_best_more_often_than_chance(
    name: str, space: SearchSpace, target: tuple[int, ...], evaluations: int
) -> None:
    seeds = 6
    chance = seeds * evaluations / spaces.size(space)  # random choice without repetition, on average
    found = sum(best_found(name, space, target, seed, evaluations) for seed in range(seeds))
    assert found >= 5 > 2 * chance


@pytest.mark.parametrize("name", LEARNING)
def test_a_trap_does_not_hold_them_for_ever(name: str) -> None:
    """All single steps lead away from the best architecture: only who does not stop searching finds it."""
    space = Toy()
    searcher = start(name, space, 0, identity)
    best = Architecture("toy", (1, 1))
    values = {(0, 0): 0.9, (0, 1): 0.5, (1, 0): 0.5, (1, 1): 1.0}
    found = []
    for _ in range(4):
        proposals = searcher.ask(1)
        found.append(proposals[0].arch)
        searcher.tell(proposals, torch.tensor([values[proposals[0].arch.choices]]))
    assert best in found


def test_tpe_without_optuna_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.import_module

    def missing(name: str, package: str | None = None) -> types.ModuleType:
        if name == "optuna":
            raise ModuleNotFoundError("No module named 'optuna'")
        return original(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"optuna.*pip install 'enas\[optuna\]'"):
        build(Toy(), SearchConfig(searcher="tpe"), seeded())
    build(Toy(), SearchConfig(searcher="evolution"), seeded())  # nobody else needs it


def test_tpe_starts_with_uniform_architectures_and_leaves_them() -> None:
    settings = config.update(SearchConfig(searcher="tpe"), {"tpe": {"startup": 20}})
    searcher = build(macro(3), settings, seeded())
    hits: list[bool] = []
    for size in (20, *[2] * 15):
        proposals = searcher.ask(size)
        found = [p.arch.choices[0] == 2 for p in proposals]
        searcher.tell(proposals, torch.tensor(found, dtype=torch.float32))
        hits += found
    assert sum(hits[:20]) < 8 and sum(hits[20:]) > 14


def test_uniform_is_what_random_proposes() -> None:
    searcher = build(macro(3), SearchConfig(searcher="random"), seeded(4))
    assert [p.arch for p in searcher.ask(7)] == uniform(macro(3), 7, seeded(4))
