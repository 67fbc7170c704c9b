"""What proposes architectures: REINFORCE with the LSTM controller, or uniform random choice.

`sample` has no side effect and feeds weight training. `ask` and `tell` are the search: proposals go
out with the log-probability and policy version of their time, rewards come back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from enas.config import ControllerConfig, SearchConfig
from enas.controller import Controller, Rollout
from enas.spaces import Architecture, SearchSpace, active, settled, uniform_entropies

RATIO_CLIP = 0.2  # how far a stale proposal's probability ratio may pull (PPO's usual bound)


@dataclass(frozen=True)
class Proposal:
    """An architecture with its running number, log-probability and policy version when it was asked for."""

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

    def sample(self, n: int, generator: torch.Generator) -> list[Architecture]: ...

    def ask(self, n: int) -> list[Proposal]: ...

    def tell(self, proposals: Sequence[Proposal], rewards: Tensor) -> Told: ...

    def policy(self, archs: Sequence[Architecture]) -> Policy: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def uniform(space: SearchSpace, n: int, generator: torch.Generator) -> list[Architecture]:
    """n architectures, each active decision uniform over its choices."""
    sizes = torch.tensor([len(decision.labels) for decision in space.decisions])
    draws = torch.rand(n, len(sizes), generator=generator, dtype=torch.float64)
    return _architectures(space, (draws * sizes).long())


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
        return _architectures(self.space, self.controller.sample(n, generator).choices)

    def ask(self, n: int) -> list[Proposal]:
        rollout = self.controller.sample(n, self.generator)
        archs = _architectures(self.space, rollout.choices)
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


class Random:
    """Uniform random architectures: the searcher that every other one has to beat."""

    def __init__(self, space: SearchSpace, generator: torch.Generator) -> None:
        self.space, self.generator = space, generator
        self.asked = 0

    def sample(self, n: int, generator: torch.Generator) -> list[Architecture]:
        return uniform(self.space, n, generator)

    def ask(self, n: int) -> list[Proposal]:
        first, self.asked = self.asked, self.asked + n
        archs = uniform(self.space, n, self.generator)
        return [Proposal(first + i, arch, self._log_prob(arch), 0) for i, arch in enumerate(archs)]

    def _log_prob(self, arch: Architecture) -> float:
        on = active(self.space, arch.choices)
        return -sum(math.log(len(d.labels)) for d, is_on in zip(self.space.decisions, on, strict=True) if is_on)

    def tell(self, proposals: Sequence[Proposal], rewards: Tensor) -> Told:
        nan = float("nan")
        return Told(rewards.nanmean().item(), nan, nan, nan)

    def policy(self, archs: Sequence[Architecture]) -> Policy:
        return Policy(
            uniform_entropies(self.space),
            {d.name: [1 / len(d.labels)] * len(d.labels) for d in self.space.decisions},
        )

    def state_dict(self) -> dict[str, Any]:
        return {"asked": self.asked, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.asked = state["asked"]
        self.generator.set_state(state["generator"])


def build(space: SearchSpace, config: SearchConfig, generator: torch.Generator) -> Searcher:
    """The searcher that the configuration names."""
    if config.searcher == "random":
        return Random(space, generator)
    return Reinforce(space, config.controller, generator)


def _architectures(space: SearchSpace, choices: Tensor) -> list[Architecture]:
    return [settled(space, row) for row in choices.tolist()]
