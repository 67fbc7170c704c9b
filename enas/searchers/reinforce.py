"""REINFORCE with the recurrent controller (ENAS section 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from enas.config import ControllerConfig
from enas.controller import Controller, Rollout
from enas.searchers.base import Policy, Proposal, Told, architectures
from enas.spaces import Architecture, SearchSpace

RATIO_CLIP = 0.2  # how far a stale proposal's probability ratio may pull (PPO's usual bound)


def advantages(rewards: Tensor, baseline: float | None, config: ControllerConfig) -> tuple[Tensor, float | None]:
    """Advantages [n] and the moved baseline, from rewards [n] in ask order (NaN: failed).

    A failed architecture counts as the lowest reward of its batch and does not move the baseline,
    which starts at the first reward. The baseline is read before the batch.
    """
    failed = torch.isnan(rewards)
    moved = baseline
    for reward in rewards[~failed].tolist():
        moved = reward if moved is None else config.baseline_decay * moved + (1 - config.baseline_decay) * reward
    if bool(failed.all()):
        return torch.zeros_like(rewards), moved
    rewards = torch.where(failed, rewards[~failed].min(), rewards)
    if config.advantage == "leave-one-out":
        n = len(rewards)
        # the mean of the others: unbiased, and the noise of the shared images cancels
        return (rewards - rewards.mean()) * (n / (n - 1) if n > 1 else 0.0), moved
    start = rewards[~failed][0].item() if baseline is None else baseline
    return rewards - start, moved


def reinforce_loss(rollout: Rollout, old_log_probs: Tensor, advantage: Tensor, config: ControllerConfig) -> Tensor:
    """The loss whose gradient is minus the mean policy gradient, with the skip-rate penalty.

    Where the policy has not moved since the proposals were made the ratio is 1 and this is plain
    REINFORCE; where it has, the ratio is clipped. The penalty is KL(Bernoulli(rate) || Bernoulli(target))
    of each architecture's mean skip probability as sampled.
    """
    ratio = torch.exp(rollout.log_probs - old_log_probs)
    clipped = ratio.clamp(1 - RATIO_CLIP, 1 + RATIO_CLIP)
    loss = -torch.minimum(ratio * advantage, clipped * advantage).mean()
    known = rollout.skip_rates[~rollout.skip_rates.isnan()]  # of architectures with a skip decision
    if config.skip_weight and len(known):
        loss = loss + config.skip_weight * skip_penalty(known, config.skip_target).mean()
    return loss


def skip_penalty(rates: Tensor, target: float) -> Tensor:
    """KL divergence in nats of skip rates [n] from the target rate."""
    rates = rates.clamp(1e-6, 1 - 1e-6)
    return rates * torch.log(rates / target) + (1 - rates) * torch.log((1 - rates) / (1 - target))


class Reinforce:
    """The LSTM controller trained by REINFORCE (ENAS section 2.2) with Adam."""

    def __init__(self, space: SearchSpace, config: ControllerConfig, generator: torch.Generator) -> None:
        self.space, self.config, self.generator = space, config, generator
        self.controller = Controller(space, config, generator)
        # ENAS: beta1 = 0
        self.optimizer = torch.optim.Adam(
            self.controller.parameters(), lr=config.lr, betas=(0.0, 0.999), eps=config.adam_eps
        )
        self.baseline: float | None = None
        self.version = 0
        self.asked = 0

    def sample(self, n: int, generator: torch.Generator) -> list[Architecture]:
        return architectures(self.space, self.controller.sample(n, generator).choices)

    def ask(self, n: int) -> list[Proposal]:
        rollout = self.controller.sample(n, self.generator)
        archs = architectures(self.space, rollout.choices)
        log_probs = rollout.log_probs.tolist()
        first, self.asked = self.asked, self.asked + n
        return [Proposal(first + i, archs[i], log_probs[i], self.version) for i in range(n)]

    def tell(self, proposals: Sequence[Proposal], rewards: Tensor) -> Told:
        rollout = self.controller.read(torch.tensor([p.arch.choices for p in proposals]))
        # the entropy is part of the reward and detached: it acts through REINFORCE alone
        total = rewards + self.config.entropy_weight * rollout.entropies.sum(1).detach()
        advantage, moved = advantages(total, self.baseline, self.config)
        known = total[~total.isnan()]
        first = known[0].item() if len(known) else float("nan")
        old = torch.tensor([p.log_prob for p in proposals])
        # proposals of the present policy have ratio 1 exactly, whatever rounding says
        fresh = torch.tensor([p.version == self.version for p in proposals])
        old = torch.where(fresh, rollout.log_probs.detach(), old)
        self.optimizer.zero_grad()
        reinforce_loss(rollout, old, advantage, self.config).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.controller.parameters(), self.config.grad_clip)
        self.optimizer.step()
        told = Told(
            reward=rewards.nanmean().item(),
            baseline=first if self.baseline is None else self.baseline,
            advantage=advantage.abs().mean().item(),
            grad_norm=norm.item(),
        )
        self.baseline = moved
        self.version += 1
        return told

    @torch.no_grad()
    def policy(self, archs: Sequence[Architecture]) -> Policy:
        rollout = self.controller.read(torch.tensor([arch.choices for arch in archs]))
        entropies: dict[str, float] = {}
        probabilities: dict[str, list[float]] = {}
        for d, decision in enumerate(self.space.decisions):
            mean = rollout.entropies[:, d].mean().item()
            entropies[decision.group] = entropies.get(decision.group, 0.0) + mean
            on = rollout.active[:, d]
            if bool(on.any()):
                probabilities[decision.name] = rollout.probabilities[d][on].mean(0).tolist()
        return Policy(entropies, probabilities)

    def state_dict(self) -> dict[str, Any]:
        return {
            "controller": self.controller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "baseline": self.baseline,
            "version": self.version,
            "asked": self.asked,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.controller.load_state_dict(state["controller"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.baseline, self.version, self.asked = state["baseline"], state["version"], state["asked"]
        self.generator.set_state(state["generator"])
