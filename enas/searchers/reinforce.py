"""REINFORCE with the recurrent controller (ENAS section 2.2)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from enas.config import ControllerConfig
from enas.controller import Controller, Rollout
from enas.searchers.base import Network, Policy, Proposal, Told, Unrepeated, allowed, architectures, restored
from enas.spaces import Architecture, SearchSpace, allows

RATIO_CLIP = 0.2  # how far a stale proposal's probability ratio may pull (PPO's usual bound)
REFUSED = 32  # architectures beyond the limits that an update learns from
DRAWN_TOO = 32  # architectures that are drawn beyond those needed, where repetitions are left out


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

    def __init__(
        self,
        space: SearchSpace,
        config: ControllerConfig,
        generator: torch.Generator,
        network: Network | None = None,
    ) -> None:
        self.space, self.config, self.generator = space, config, generator
        self.unrepeated = Unrepeated(space, network)
        self.controller = Controller(space, config, generator)
        # ENAS: beta1 = 0
        self.optimizer = torch.optim.Adam(
            self.controller.parameters(), lr=config.lr, betas=(0.0, 0.999), eps=config.adam_eps
        )
        self.baseline: float | None = None
        self.mean_square = 0.0  # of the advantages, decaying
        self.memory: dict[Hashable, tuple[Architecture, float]] = {}  # the best with their rewards, the best first
        self.refused: list[Architecture] = []  # some of what was drawn for the last proposals beyond the limits
        self.refused_share = 0.0  # of all that was drawn for them
        self.version = 0  # updates so far
        self.asked = 0

    def sample(self, n: int, generator: torch.Generator) -> list[Architecture]:
        return allowed(self.space, n, lambda k: self._drawn(k, generator), generator)

    def _drawn(self, n: int, generator: torch.Generator) -> list[Architecture]:
        """What the policy gives, whether the space allows it or not."""
        return architectures(self.space, self.controller.sample(n, generator).choices)

    def ask(self, n: int) -> list[Proposal]:
        # a batch costs little more than one: where repetitions are left out, one draw should be enough
        surplus = 0 if self.unrepeated.network is None else DRAWN_TOO
        drawn: list[Architecture] = []

        def draw(k: int) -> list[Architecture]:
            archs = self._drawn(k, self.generator)
            drawn.extend(archs)
            return archs

        def take(k: int) -> list[Architecture]:
            return allowed(self.space, k + surplus, draw, self.generator) if k else []

        archs = self.unrepeated.take(n, take, self.generator)
        refused = [arch for arch in drawn if not allows(self.space, arch)]
        self.refused, self.refused_share = refused[:REFUSED], len(refused) / max(1, len(drawn))
        first, self.asked = self.asked, self.asked + n
        with torch.no_grad():
            log_probs = self.controller.read(_choices(archs)).log_probs.tolist()
        return [Proposal(first + i, archs[i], log_probs[i], self.version) for i in range(n)]

    def tell(self, proposals: Sequence[Proposal], rewards: Tensor) -> Told:
        config = self.config
        archs = [proposal.arch for proposal in proposals]
        self._remember(archs, rewards)
        rollout, remembered = self._read(archs)
        # the entropy is part of the reward and detached: it acts through REINFORCE alone
        bonus = config.entropy_weight * (1 - config.entropy_decay) ** self.version
        total = rewards + bonus * rollout.entropies.sum(1).detach()
        advantage, moved = advantages(total, self.baseline, config)
        known = total[~total.isnan()]
        first = known[0].item() if len(known) else float("nan")
        old = torch.tensor([p.log_prob for p in proposals])
        # proposals of the present policy have ratio 1 exactly, whatever rounding says
        fresh = torch.tensor([p.version == self.version for p in proposals])
        old = torch.where(fresh, rollout.log_probs.detach(), old)
        scaled = advantage * self._scale(advantage)
        norms = []
        for i in range(config.passes):
            if i:
                rollout, remembered = self._read(archs)
            loss = reinforce_loss(rollout, old, scaled, config)
            if len(remembered):
                loss = loss - config.replay * remembered.mean()
            if self.refused:
                loss = loss + scaled.abs().mean() * self._towards_allowed(rollout.log_probs)
            norms.append(self._step(loss))
        told = Told(
            reward=rewards.nanmean().item(),
            baseline=first if self.baseline is None else self.baseline,
            advantage=advantage.abs().mean().item(),
            grad_norm=sum(norms) / len(norms),
        )
        self.baseline = moved
        self.version += 1
        return told

    def _towards_allowed(self, log_probs: Tensor) -> Tensor:
        """A loss whose gradient is minus that of the logarithm of the probability that a draw is within the limits.

        Rewards say nothing of the draws that were refused. Without this, where dearer is better, the policy soon
        proposes next to nothing that is allowed. log_probs: [n], of what was allowed.
        """
        of_refused = self.controller.read(_choices(self.refused)).log_probs
        return self.refused_share * (of_refused.mean() - log_probs.mean())

    def _remember(self, archs: Sequence[Architecture], rewards: Tensor) -> None:
        """Keep the best of all architectures that were told, each once, with its latest reward."""
        if not self.config.replay:
            return
        network = self.unrepeated.network or (lambda arch: arch)
        for arch, reward in zip(archs, rewards.tolist(), strict=True):
            if not math.isnan(reward):
                self.memory[network(arch)] = arch, reward
        best = sorted(self.memory.items(), key=lambda item: -item[1][1])[: self.config.replay_size]
        self.memory = dict(best)

    def _read(self, archs: Sequence[Architecture]) -> tuple[Rollout, Tensor]:
        """What the policy says of the architectures, and the log-probabilities of those in memory, in one pass."""
        n = len(archs)
        rollout = self.controller.read(_choices([*archs, *(arch for arch, _ in self.memory.values())]))
        part = Rollout(
            rollout.choices[:n],
            rollout.log_probs[:n],
            rollout.entropies[:n],
            rollout.skip_rates[:n],
            tuple(p[:n] for p in rollout.probabilities),
            rollout.active[:n],
        )
        return part, rollout.log_probs[n:]

    def _scale(self, advantage: Tensor) -> float:
        """What advantages are multiplied by: 1, or the inverse of their running root mean square."""
        if self.config.advantage_scale == "none":
            return 1.0
        decay, square = self.config.scale_decay, advantage.square().mean().item()
        self.mean_square = decay * self.mean_square + (1 - decay) * square
        seen = 1 - decay ** (self.version + 1)  # of the decaying weights, the share that is not of before the start
        return (self.mean_square / seen) ** -0.5 if self.mean_square else 1.0

    def _step(self, loss: Tensor) -> float:
        """One step of the optimiser; the gradient's norm before it was clipped."""
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.controller.parameters(), self.config.grad_clip)
        self.optimizer.step()
        return norm.item()

    @torch.no_grad()
    def policy(self, archs: Sequence[Architecture]) -> Policy:
        rollout = self.controller.read(_choices(archs))
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
            "mean_square": self.mean_square,
            "memory": [(list(arch.choices), reward) for arch, reward in self.memory.values()],
            "refused": [list(arch.choices) for arch in self.refused],
            "refused_share": self.refused_share,
            "version": self.version,
            "asked": self.asked,
            "generator": self.generator.get_state(),
            "proposed": self.unrepeated.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.controller.load_state_dict(state["controller"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.baseline, self.version, self.asked = state["baseline"], state["version"], state["asked"]
        self.mean_square = state["mean_square"]
        network = self.unrepeated.network or (lambda arch: arch)
        memory = [(restored(self.space, choices), reward) for choices, reward in state["memory"]]
        self.memory = {network(arch): (arch, reward) for arch, reward in memory}
        # which earlier versions did not have
        self.refused = [restored(self.space, choices) for choices in state.get("refused", ())]
        self.refused_share = state.get("refused_share", 0.0)
        self.generator.set_state(state["generator"])
        self.unrepeated.load_state_dict(state["proposed"])


def _choices(archs: Sequence[Architecture]) -> Tensor:
    return torch.tensor([arch.choices for arch in archs])  # [n, D]
