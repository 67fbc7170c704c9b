"""REINFORCE against exact enumeration, the baseline by hand, and a bandit that it has to solve."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor

from enas import spaces
from enas.config import ControllerConfig, ObjectiveConfig
from enas.controller import Controller, Rollout
from enas.cost import cost
from enas.limits import limited
from enas.objective import Objective
from enas.searchers import (
    Reinforce,
    advantages,
    climbed,
    fair,
    reinforce_loss,
    sandwich,
    skip_penalty,
    uniform,
)
from enas.shrinking import whole
from enas.spaces import Architecture, SearchSpace, uniform_entropies
from tests.toys import Toy, all_archs, as_tensor, macro, seeded

NAN = float("nan")
PLAIN = ControllerConfig(hidden=8, entropy_weight=0.0, skip_weight=0.0, grad_clip=1e9, lr=0.01, tanh_constant=2.5)
MOVING = dataclasses.replace(PLAIN, advantage="moving-average")


def policy(space: SearchSpace, config: ControllerConfig = PLAIN) -> Controller:
    """A controller far from uniform, in float64."""
    controller = Controller(space, config, seeded(1)).double()
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter *= 8
    return controller


def gradient(controller: torch.nn.Module, loss: Tensor) -> Tensor:
    """The gradient of all parameters as one vector; 0 where a parameter takes no part."""
    grads = torch.autograd.grad(loss, list(controller.parameters()), retain_graph=True, allow_unused=True)
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for p, g in zip(controller.parameters(), grads, strict=True)
        ]
    )


def part_of(rollout: Rollout, rows: list[int]) -> Rollout:
    return Rollout(
        rollout.choices[rows],
        rollout.log_probs[rows],
        rollout.entropies[rows],
        rollout.skip_rates[rows],
        (),
        rollout.active[rows],
    )


def expected_gradient(controller: Controller, space: SearchSpace, values: Tensor, n: int, baseline: float) -> Tensor:
    """Minus the gradient of reinforce_loss, averaged exactly over all batches of n architectures."""
    rollout = controller.read(as_tensor(all_archs(space)))
    p = rollout.log_probs.detach().exp()
    total = torch.zeros((), dtype=torch.float64)
    for rows in map(list, itertools.product(range(len(values)), repeat=n)):
        advantage, _ = advantages(values[rows], baseline, controller.config)
        batch = part_of(rollout, rows)
        loss = reinforce_loss(batch, batch.log_probs.detach(), advantage, controller.config)
        total = total + p[rows].prod() * loss
    return -gradient(controller, total)


def exact_gradient(controller: Controller, space: SearchSpace, values: Tensor) -> Tensor:
    """d/d theta of sum_a p(a) R(a)."""
    return gradient(controller, (controller.read(as_tensor(all_archs(space))).log_probs.exp() * values).sum())


@pytest.mark.parametrize("n", [2, 3])
def test_mean_leave_one_out_gradient_is_exact(n: int) -> None:
    values = torch.tensor([0.1, 0.9, 0.4, 0.25], dtype=torch.float64)
    controller = policy(Toy())
    exact = exact_gradient(controller, Toy(), values)
    assert exact.norm() > 0.01
    torch.testing.assert_close(expected_gradient(controller, Toy(), values, n, 0.0), exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize("baseline", [0.0, 0.6])
@pytest.mark.parametrize("space", [Toy(), macro(2)], ids=["toy", "macro"])
def test_mean_moving_average_gradient_is_exact_with_any_baseline(space: SearchSpace, baseline: float) -> None:
    values = torch.rand(len(all_archs(space)), generator=seeded(2), dtype=torch.float64)
    controller = policy(space, MOVING)
    exact = exact_gradient(controller, space, values)
    assert exact.norm() > 0.01
    torch.testing.assert_close(expected_gradient(controller, space, values, 1, baseline), exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize("config", [PLAIN, MOVING], ids=["leave-one-out", "moving-average"])
@pytest.mark.parametrize("entropy_weight", [0.0, 0.3])
def test_tell_follows_this_gradient_with_the_entropy_as_plain_reward(
    config: ControllerConfig, entropy_weight: float
) -> None:
    searcher = Reinforce(macro(2), dataclasses.replace(config, entropy_weight=entropy_weight), seeded())
    searcher.controller.load_state_dict({k: 8 * v for k, v in searcher.controller.state_dict().items()})
    searcher.baseline = 0.4
    proposals = searcher.ask(6)
    values = torch.tensor([0.1, 0.2, 0.9, 0.4, 0.0, 0.5])
    rollout = searcher.controller.read(as_tensor([p.arch for p in proposals]))
    reward = values + entropy_weight * rollout.entropies.sum(1).detach()
    against = 0.4 if config is MOVING else (reward.sum() - reward) / 5  # the mean of the others
    expected = gradient(searcher.controller, -((reward - against) * rollout.log_probs).mean())
    told = searcher.tell(proposals, values)
    grads = torch.cat(
        [
            torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
            for p in searcher.controller.parameters()
        ]
    )
    torch.testing.assert_close(grads, expected, rtol=0, atol=1e-6)
    assert told.grad_norm == pytest.approx(expected.norm().item(), rel=1e-4)
    assert told.reward == pytest.approx(0.35)
    assert told.baseline == pytest.approx(0.4)
    assert told.advantage == pytest.approx((reward - against).abs().mean().item(), rel=1e-5)
    assert (searcher.version, searcher.asked) == (1, 6)


def test_the_baseline_starts_at_the_first_reward_is_read_before_and_moves_in_ask_order() -> None:
    config = dataclasses.replace(MOVING, baseline_decay=0.5)
    first, baseline = advantages(torch.tensor([1.0, 3.0]), None, config)
    assert first.tolist() == [0, 2]
    assert baseline == 0.5 * 1 + 0.5 * 3
    second, moved = advantages(torch.tensor([5.0, 0.0]), baseline, config)
    assert second.tolist() == [3, -2]
    assert moved == 0.5 * (0.5 * 2 + 0.5 * 5) + 0.5 * 0
    assert advantages(torch.tensor([0.0, 5.0]), baseline, config)[1] == 0.5 * (0.5 * 2 + 0.5 * 0) + 0.5 * 5


def test_leave_one_out_by_hand() -> None:
    advantage, _ = advantages(torch.tensor([1.0, 2.0, 6.0]), 100.0, PLAIN)
    torch.testing.assert_close(advantage, torch.tensor([1 - 4, 2 - 3.5, 6 - 1.5]))
    assert advantages(torch.tensor([3.0]), None, PLAIN)[0].tolist() == [0]


@pytest.mark.parametrize("config", [PLAIN, MOVING], ids=["leave-one-out", "moving-average"])
def test_failed_architectures_count_as_the_lowest_and_leave_the_baseline_alone(config: ControllerConfig) -> None:
    config = dataclasses.replace(config, baseline_decay=0.5)
    failed = torch.tensor([NAN, 2.0, 1.0, NAN])
    for start in (None, 7.0):
        advantage, moved = advantages(failed, start, config)
        assert moved == advantages(torch.tensor([2.0, 1.0]), start, config)[1]
        baseline = 2.0 if start is None else start  # the first reward there is
        against = (
            torch.tensor([baseline] * 4)
            if config is not PLAIN and config.advantage != "leave-one-out"
            else (torch.tensor([4.0, 3.0, 4.0, 4.0]) / 3)
        )
        torch.testing.assert_close(advantage, torch.tensor([1.0, 2, 1, 1]) - against)
        nothing, unmoved = advantages(torch.tensor([NAN, NAN]), start, config)
        assert nothing.tolist() == [0, 0]
        assert unmoved == start


def test_an_update_without_any_reward_moves_nothing() -> None:
    searcher = Reinforce(macro(2), PLAIN, seeded())
    before = {k: v.clone() for k, v in searcher.controller.state_dict().items()}
    told = searcher.tell(searcher.ask(4), torch.full((4,), NAN))
    assert searcher.baseline is None
    assert math.isnan(told.reward) and told.grad_norm == 0
    assert all(torch.equal(before[k], v) for k, v in searcher.controller.state_dict().items())


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.0, 2.0, -2.0), (1.1, 2.0, -2.2), (1.5, 2.0, 0.0), (0.5, 2.0, -1.0), (0.5, -2.0, 0.0), (1.5, -2.0, 3.0)],
)
def test_the_ratio_is_clipped_where_it_would_pull_too_far(ratio: float, advantage: float, expected: float) -> None:
    log_probs = torch.zeros(1, requires_grad=True)
    rollout = Rollout(
        torch.zeros(1, 1), log_probs, torch.zeros(1, 1), torch.full((1,), NAN), (), torch.ones(1, 1).bool()
    )
    reinforce_loss(rollout, torch.tensor([-math.log(ratio)]), torch.tensor([advantage]), PLAIN).backward()
    assert log_probs.grad is not None
    assert log_probs.grad.item() == pytest.approx(expected)


def test_only_stale_proposals_are_clipped() -> None:
    def told(stale: bool, log_prob: float) -> float:
        searcher = Reinforce(Toy(), PLAIN, seeded())
        asked = searcher.ask(4)
        searcher.version += stale  # as after another update
        proposals = [dataclasses.replace(p, log_prob=p.log_prob + log_prob) for p in asked]
        return searcher.tell(proposals, torch.tensor([1.0, 0.5, 0.2, 0.0])).grad_norm

    assert told(stale=False, log_prob=-3) == told(stale=False, log_prob=0)  # the recorded value is not even read
    assert told(stale=True, log_prob=0) == pytest.approx(told(stale=False, log_prob=0), rel=1e-4)
    # all ratios are e^-3: the good ones are weighted down, the bad ones clipped away
    assert told(stale=True, log_prob=3) < 0.1 * told(stale=False, log_prob=0)


def test_skip_penalty_by_hand() -> None:
    penalty = skip_penalty(torch.tensor([0.25, 0.5, 0.0, 1.0]), 0.25)
    expected = [0, 0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75), -math.log(0.75), -math.log(0.25)]
    torch.testing.assert_close(penalty, torch.tensor(expected), rtol=0, atol=3e-5)  # rates are kept 1e-6 from 0 and 1
    rates = torch.linspace(0, 1, 21)
    assert (skip_penalty(rates, 0.4)[rates != rates[8]] > 1e-3).all()


def test_the_skip_penalty_alone_leads_to_the_target() -> None:
    for target in (0.2, 0.8):
        searcher = Reinforce(macro(4), dataclasses.replace(PLAIN, skip_weight=1.0, skip_target=target), seeded())
        for _ in range(60):
            searcher.tell(searcher.ask(4), torch.zeros(4))
        assert searcher.controller.sample(20, seeded()).skip_rates.mean().item() == pytest.approx(target, abs=0.05)


@pytest.mark.parametrize("config", [PLAIN, MOVING], ids=["leave-one-out", "moving-average"])
def test_the_controller_solves_a_known_bandit(config: ControllerConfig) -> None:
    best = Architecture("toy", (1, 0))
    searcher = Reinforce(Toy(), dataclasses.replace(config, lr=0.02, baseline_decay=0.9), seeded())

    def best_probability() -> float:
        with torch.no_grad():
            return searcher.controller.read(as_tensor([best])).log_probs.exp().item()

    before = sum(searcher.policy(all_archs(Toy())).entropies.values())
    assert best_probability() == pytest.approx(0.25, abs=0.02)
    assert before == pytest.approx(sum(uniform_entropies(Toy()).values()), abs=0.01)
    for _ in range(60):
        proposals = searcher.ask(8)
        searcher.tell(proposals, torch.tensor([float(p.arch == best) for p in proposals]))
    assert best_probability() > 0.9
    assert sum(searcher.policy([best]).entropies.values()) < before / 2


def test_the_policy_learns_what_a_macro_reward_wants() -> None:
    space = macro(3)
    ops = [d for d, decision in enumerate(space.decisions) if decision.group == "op"]

    def share(archs: list[Architecture]) -> Tensor:
        return torch.tensor([sum(arch.choices[d] == 0 for d in ops) / len(ops) for arch in archs])

    searcher = Reinforce(space, dataclasses.replace(PLAIN, hidden=16), seeded())
    assert share(searcher.sample(300, seeded(9))).mean().item() == pytest.approx(1 / 6, abs=0.05)
    for _ in range(80):
        proposals = searcher.ask(10)
        searcher.tell(proposals, share([p.arch for p in proposals]))
    assert share(searcher.sample(300, seeded(9))).mean().item() > 0.8


def test_uniform_architectures_are_uniform_in_every_decision() -> None:
    space, n = macro(3), 6000
    choices = as_tensor(uniform(space, n, seeded()))
    for d, decision in enumerate(space.decisions):
        k = len(decision.labels)
        counts = torch.bincount(choices[:, d], minlength=k)
        assert len(counts) == k
        assert ((counts - n / k) ** 2 / (n / k)).sum() < (k - 1) + 4 * (2 * (k - 1)) ** 0.5


@pytest.mark.parametrize("per_step", [1, 2, 6, 8])
def test_fair_steps_make_all_choices_equally_often(per_step: int) -> None:
    """As far as their number allows; and each architecture by itself is uniform."""
    space, steps = macro(3), 1500
    choices = as_tensor(fair(space, steps, per_step, seeded(), whole(space))).view(steps, per_step, -1)
    for d, decision in enumerate(space.decisions):
        k = len(decision.labels)
        counts = torch.stack([(choices[:, :, d] == choice).sum(1) for choice in range(k)])
        assert counts.max() <= -(-per_step // k) and counts.min() >= per_step // k
        for place in (0, per_step - 1):
            shares = torch.bincount(choices[:, place, d], minlength=k) / steps
            assert (shares - 1 / k).abs().max() < 4 * (1 / k / steps) ** 0.5
    kept = [[left[-1]] for left in whole(space)]
    assert {arch.choices for arch in fair(space, 2, per_step, seeded(), kept)} == {tuple(left[0] for left in kept)}
    assert torch.equal(
        choices, as_tensor(fair(space, steps, per_step, seeded(), whole(space))).view(steps, per_step, -1)
    )


def test_sandwich_steps_have_the_largest_and_uniform_ones() -> None:
    space = macro(3)
    largest = Architecture(space.name, (1, 1, 1, 1, 1, 1))
    others = uniform(space, 400, seeded())
    archs = sandwich([largest], others, 3)
    assert len(archs) == 600 and set(archs[::3]) == {largest}
    in_turn = sandwich(others[:2], others, 2)
    assert in_turn[:8:2] == [*others[:2], *others[:2]] and in_turn[1::2] == others
    assert [arch for i, arch in enumerate(archs) if i % 3] == others


def test_climbing_ends_where_no_change_of_one_choice_helps() -> None:
    space = macro(3)

    def value(arch: Architecture) -> int:
        return cost(space.graph(arch)).macs

    found = climbed(space, uniform(space, 1, seeded())[0], lambda archs: [value(arch) for arch in archs])
    assert value(found) == max(map(value, all_archs(space)))


def as_pairs(choices: Tensor) -> set[tuple[int, ...]]:
    return {tuple(row) for row in choices[:, :2].tolist()}


def test_fair_choices_of_different_decisions_are_independent() -> None:
    space = macro(3)
    choices = as_tensor(fair(space, 600, 6, seeded(), whole(space)))
    assert len(as_pairs(choices)) == len(as_pairs(as_tensor(uniform(space, 3600, seeded()))))


def test_the_controller_learns_to_stay_within_a_limit() -> None:
    """Where dearer is better, it would soon draw next to nothing that is allowed, did it not learn from the rest."""
    space = macro(4)

    def macs(arch: Architecture) -> float:
        return float(cost(space.graph(arch)).macs)

    limit = sorted(map(macs, uniform(space, 50, seeded())))[5]
    small = limited(space, Objective(space, ObjectiveConfig(limit_macs=limit)))
    searcher = Reinforce(small, ControllerConfig(lr=0.02, skip_weight=0.0), seeded())
    for _ in range(60):
        proposals = searcher.ask(10)
        searcher.tell(proposals, torch.tensor([macs(p.arch) / limit for p in proposals]))
    assert macs(searcher.sample(1, seeded())[0]) <= limit
    spaces.allowed_share(small)  # counts from here
    found = searcher.sample(200, seeded())
    share = spaces.allowed_share(small)
    assert share is not None and share > 0.5  # of uniform ones a tenth
    assert sum(map(macs, found)) / 200 > 0.8 * limit
    again = Reinforce(small, ControllerConfig(lr=0.02, skip_weight=0.0), seeded(7))
    proposals = searcher.ask(10)
    again.load_state_dict(copy.deepcopy(searcher.state_dict()))
    rewards = torch.rand(10, generator=seeded())
    searcher.tell(proposals, rewards)
    again.tell(proposals, rewards)
    assert searcher.ask(5) == again.ask(5)  # what was refused is part of the state
