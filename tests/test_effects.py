"""Main effects: found where there are none but them, and what they leave out."""

from __future__ import annotations

import pytest
import torch

from enas import searchers, spaces
from enas.config import ChainOptions, NasBenchMacroOptions
from enas.effects import MainEffects, choices_made
from enas.runtime import generator
from enas.spaces import SearchSpace

BENCH = spaces.build(NasBenchMacroOptions(), (3, 32, 32), 10)
CHAIN = spaces.build(ChainOptions(min_layers=2, max_layers=4), (3, 32, 32), 10)  # not all decisions matter


def draws(purpose: str) -> torch.Generator:
    return generator(0, purpose)


@pytest.mark.parametrize("space", [BENCH, CHAIN], ids=lambda space: space.name)
def test_each_active_decision_makes_one_choice(space: SearchSpace) -> None:
    archs = searchers.uniform(space, 50, draws("archs"))
    made = choices_made(space, archs)
    assert made.shape == (50, sum(len(decision.labels) for decision in space.decisions))
    assert made.sum(1).tolist() == [sum(spaces.active(space, arch.choices)) for arch in archs]


@pytest.mark.parametrize("space", [BENCH, CHAIN], ids=lambda space: space.name)
def test_sums_of_effects_are_found_and_hold_for_others(space: SearchSpace) -> None:
    seen, others = searchers.uniform(space, 3000, draws("seen")), searchers.uniform(space, 200, draws("others"))
    weights = torch.randn(choices_made(space, seen).shape[1], generator=draws("weights"), dtype=torch.float64)

    def value(archs: list[spaces.Architecture]) -> torch.Tensor:
        return 7 + choices_made(space, archs) @ weights

    predicted = MainEffects(space, seen, value(seen)).predict(others)
    assert (predicted - value(others)).abs().max() < 0.05 * value(others).std()


def test_what_belongs_to_one_architecture_is_left_out() -> None:
    archs = searchers.uniform(BENCH, 2000, draws("seen"))
    truth = choices_made(BENCH, archs) @ torch.arange(24, dtype=torch.float64)
    noise = 10 * torch.randn(len(archs), generator=draws("noise"), dtype=torch.float64)
    predicted = MainEffects(BENCH, archs, truth + noise).predict(archs)
    assert (predicted - truth).std() < 0.2 * noise.std()


def test_failed_scores_say_nothing() -> None:
    archs = searchers.uniform(BENCH, 300, draws("seen"))
    values = torch.tensor([float(sum(arch.choices)) for arch in archs])
    whole = MainEffects(BENCH, archs[10:], values[10:]).predict(archs)
    values[:5], values[5:10] = torch.nan, torch.inf
    assert torch.equal(MainEffects(BENCH, archs, values).predict(archs), whole)
    nothing = MainEffects(BENCH, archs[:10], values[:10]).predict(archs)
    assert nothing.unique().tolist() == [0.0]
