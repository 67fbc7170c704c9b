"""What REINFORCE can do beyond the paper: scaled advantages, several passes, replay of the best, a falling bonus."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from enas.config import ControllerConfig
from enas.searchers import Proposal, Reinforce, advantages, reinforce_loss
from tests.toys import as_tensor, macro, seeded

SPACE = macro(2)
PLAIN = ControllerConfig(hidden=8, entropy_weight=0.0, skip_weight=0.0, grad_clip=1e9, lr=0.01, adam_eps=1e-8)
REWARDS = torch.tensor([0.1, 0.2, 0.9, 0.4, 0.0, 0.5])
NAN = float("nan")


def searcher(**changes: Any) -> Reinforce:
    """One with a policy far from uniform."""
    found = Reinforce(SPACE, dataclasses.replace(PLAIN, **changes), seeded())
    found.controller.load_state_dict({k: 8 * v for k, v in found.controller.state_dict().items()})
    return found


def weights(found: Reinforce) -> Tensor:
    return torch.cat([p.detach().flatten() for p in found.controller.parameters()])


def gradient(found: Reinforce) -> Tensor:
    """What the last step followed."""
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in found.controller.parameters()]
    return torch.cat([g.flatten() for g in grads])


def step(found: Reinforce, loss: Tensor) -> None:
    found.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    found.optimizer.step()


def log_probs(found: Reinforce, proposals: list[Proposal]) -> Tensor:
    return found.controller.read(as_tensor([p.arch for p in proposals])).log_probs


def test_scaled_advantages_do_not_care_for_the_unit_of_the_rewards() -> None:
    for scale, alike in (("running", True), ("none", False)):
        ends = []
        for unit in (1.0, 1e-4):
            found = searcher(advantage_scale=scale, adam_eps=1e-3)
            for rewards in (REWARDS, REWARDS.flip(0), REWARDS.square()):
                found.tell(found.ask(6), unit * rewards)
            ends.append(weights(found))
        assert torch.allclose(*ends, atol=1e-5) == alike


def test_the_scale_is_that_of_the_updates_so_far_by_hand() -> None:
    decay, mean, share = 0.75, 0.0, 0.0
    found = searcher(advantage_scale="running", scale_decay=decay)
    for rewards in (REWARDS, 0.1 * REWARDS, torch.full((6,), 0.3), 0.01 * REWARDS):
        before = copy.deepcopy(found)
        proposals = found.ask(6)
        told = found.tell(proposals, rewards)
        advantage, _ = advantages(rewards, None, PLAIN)
        mean, share = decay * mean + (1 - decay) * advantage.square().mean().item(), decay * share + (1 - decay)
        step(before, -(advantage / (mean / share) ** 0.5 * log_probs(before, proposals)).mean())
        torch.testing.assert_close(gradient(found), gradient(before), rtol=1e-4, atol=1e-6)
        assert told.advantage == pytest.approx(advantage.abs().mean().item())  # in the rewards' unit


@pytest.mark.parametrize("rewards", [torch.full((6,), 0.5), torch.full((6,), NAN)], ids=["equal", "failed"])
def test_without_differences_there_is_nothing_to_scale(rewards: Tensor) -> None:
    found = searcher(advantage_scale="running", passes=2)
    before = weights(found)
    found.tell(found.ask(6), rewards)
    assert torch.equal(weights(found), before)


def test_passes_are_steps_on_the_same_rewards_with_clipped_ratios() -> None:
    settings = {"passes": 4, "lr": 0.1}
    found, by_hand, unclipped = searcher(**settings), searcher(**settings), searcher(**settings)
    proposals = found.ask(6)
    told = found.tell(proposals, REWARDS)
    advantage, _ = advantages(REWARDS, None, PLAIN)
    old = log_probs(by_hand, proposals).detach()
    norms = []
    for _ in range(4):
        rollout = by_hand.controller.read(as_tensor([p.arch for p in proposals]))
        step(by_hand, reinforce_loss(rollout, old, advantage, PLAIN))
        norms.append(gradient(by_hand).norm().item())
        step(unclipped, -(advantage * (log_probs(unclipped, proposals) - old).exp()).mean())
    torch.testing.assert_close(weights(found), weights(by_hand))
    assert not torch.allclose(weights(found), weights(unclipped), atol=1e-3)
    assert told.grad_norm == pytest.approx(sum(norms) / 4, rel=1e-4)
    assert found.version == 1


def test_replay_adds_the_log_probability_of_the_best_so_far() -> None:
    found = searcher(replay=0.3, replay_size=2)
    first = found.ask(6)
    found.tell(first, REWARDS)
    before = copy.deepcopy(found)
    second = found.ask(3)
    found.tell(second, torch.tensor([0.6, NAN, 0.05]))
    best = [first[2], second[0]]  # 0.9 and 0.6
    assert [arch for arch, _ in found.memory.values()] == [p.arch for p in best]
    advantage, _ = advantages(torch.tensor([0.6, NAN, 0.05]), None, PLAIN)
    loss = -(advantage * log_probs(before, second)).mean() - 0.3 * log_probs(before, best).mean()
    step(before, loss)
    torch.testing.assert_close(gradient(found), gradient(before), rtol=1e-4, atol=1e-6)


def test_the_memory_holds_a_network_once_with_its_latest_reward() -> None:
    found = searcher(replay=0.3, replay_size=2)
    proposals = found.ask(3)
    same = [dataclasses.replace(p, arch=proposals[0].arch) for p in proposals[:2]]
    found.tell([*same, proposals[2]], torch.tensor([0.9, 0.2, 0.5]))
    assert [(arch, round(reward, 5)) for arch, reward in found.memory.values()] == [
        (proposals[2].arch, 0.5),
        (proposals[0].arch, 0.2),
    ]
    merged = Reinforce(SPACE, dataclasses.replace(PLAIN, replay=0.3), seeded(), network=lambda arch: arch.choices[0])
    merged.tell(proposals, torch.tensor([0.1, 0.2, 0.3]))
    assert len(merged.memory) == len({p.arch.choices[0] for p in proposals})


def test_replay_keeps_a_lucky_find() -> None:
    """One good reward, then nothing to learn from: only replay makes the architecture likelier."""
    chances = {}
    for replay in (0.0, 1.0):
        found = searcher(replay=replay, replay_size=1)
        first = found.ask(6)
        found.tell(first, torch.tensor([1.0, 0, 0, 0, 0, 0]))
        for _ in range(20):
            found.tell(found.ask(6), torch.zeros(6))
        chances[replay] = log_probs(found, first)[0].exp().item()
    assert chances[0.0] < 0.1 and chances[1.0] > 0.25


def test_the_entropy_bonus_falls_with_every_update() -> None:
    """With equal rewards the bonus alone moves the policy."""
    for decay, updates in ((0.5, 3), (0.0, 3), (1.0, 2)):
        found = searcher(entropy_weight=0.1, entropy_decay=decay)
        found.version = updates
        before = copy.deepcopy(found)
        proposals = found.ask(6)
        found.tell(proposals, torch.zeros(6))
        rollout = before.controller.read(as_tensor([p.arch for p in proposals]))
        bonus = 0.1 * (1 - decay) ** updates * rollout.entropies.sum(1).detach()
        step(before, -(advantages(bonus, None, PLAIN)[0] * rollout.log_probs).mean())
        torch.testing.assert_close(gradient(found), gradient(before), rtol=1e-4, atol=1e-7)
