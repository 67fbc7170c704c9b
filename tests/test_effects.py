"""Effects of choices: found where there are none but them, and what they leave out."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import kendalltau

from enas import searchers, spaces
from enas.config import ChainOptions, NasBenchMacroOptions
from enas.effects import Effects, choices_made
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

    effects = Effects(space, seen, value(seen), low=1.0)
    assert effects.count == 3000
    assert (effects.predict(others) - value(others)).abs().max() < 0.05 * value(others).std()


def test_what_belongs_to_one_architecture_is_left_out() -> None:
    archs = searchers.uniform(BENCH, 2000, draws("seen"))
    truth = choices_made(BENCH, archs) @ torch.arange(24, dtype=torch.float64)
    noise = 10 * torch.randn(len(archs), generator=draws("noise"), dtype=torch.float64)
    predicted = Effects(BENCH, archs, truth + noise, low=1.0).predict(archs)
    assert (predicted - truth).std() < 0.2 * noise.std()


def test_scores_near_a_bound_do_not_hide_the_effects() -> None:
    """All good ones score about the same, and in an order of chance: what the worst ones say ranks them."""
    archs = searchers.uniform(BENCH, 2000, draws("seen"))
    truth = choices_made(BENCH, archs) @ torch.rand(24, generator=draws("weights"), dtype=torch.float64)
    truth = (truth - truth.mean()) / truth.std()
    scores = -torch.exp(-1.5 * truth) + 0.15 * torch.randn(2000, generator=draws("noise"), dtype=torch.float64)
    good = truth > truth.quantile(0.8)

    def tau(values: torch.Tensor) -> float:
        return float(kendalltau(values[good], truth[good]).statistic)

    from_low = tau(Effects(BENCH, archs, scores).predict(archs))
    assert from_low > 0.7 > tau(scores) + 0.2


def test_few_architectures_are_all_taken() -> None:
    archs = searchers.uniform(BENCH, 40, draws("seen"))
    assert Effects(BENCH, archs, torch.arange(40.0)).count == 40
    archs = searchers.uniform(BENCH, 300, draws("seen"))
    assert Effects(BENCH, archs, torch.arange(300.0)).count == 48


def test_failed_scores_say_nothing() -> None:
    archs = searchers.uniform(BENCH, 300, draws("seen"))
    values = torch.tensor([float(sum(arch.choices)) for arch in archs])
    whole = Effects(BENCH, archs[10:], values[10:]).predict(archs)
    values[:5], values[5:10] = torch.nan, -torch.inf
    assert torch.equal(Effects(BENCH, archs, values).predict(archs), whole)
    nothing = Effects(BENCH, archs[:10], values[:10]).predict(archs)
    assert nothing.unique().tolist() == [0.0]
