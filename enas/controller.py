"""The policy: an LSTM that writes an architecture decision by decision (ENAS sections 2.2 and 2.3).

n architectures are sampled in one batched pass. D decisions, H units. Decisions of a group share one
embedding and one softmax. Yes/no decisions about connections are taken by attention to the states
that the controller had at the connections' sources.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from enas import spaces
from enas.config import ControllerConfig
from enas.spaces import SearchSpace


@dataclass(frozen=True)
class Rollout:
    """Sampled or re-read architectures under the policy.

    choices: int64 [n, D]
    log_probs: [n], log-probability of each architecture
    entropies: [n], summed over the decisions, each given the choices before it
    skip_rates: [n], mean probability of "yes" over the skip decisions, as sampled (NaN without any)
    probabilities: for every decision its probabilities [n, K_d]
    """

    choices: Tensor
    log_probs: Tensor
    entropies: Tensor
    skip_rates: Tensor
    probabilities: tuple[Tensor, ...]


@dataclass(frozen=True)
class _Step:
    """Decisions taken from one LSTM state. sources: for skip decisions, the parts they come from."""

    decisions: tuple[int, ...]
    group: str
    part: int
    sources: tuple[int, ...]
    ends_part: bool


class Controller(nn.Module):
    """The recurrent policy over the decisions of a space. Lives on the CPU: it is tiny, and its
    samples are needed there."""

    def __init__(self, space: SearchSpace, config: ControllerConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.num_decisions = len(space.decisions)
        self.steps = _plan(space)
        hidden = config.hidden
        sizes = {
            space.decisions[step.decisions[0]].group: len(space.decisions[step.decisions[0]].labels)
            for step in self.steps
            if not step.sources
        }
        self.start = nn.Parameter(torch.empty(hidden))
        self.lstm = nn.LSTMCell(hidden, hidden)
        self.embeddings = nn.ModuleDict({group: nn.Embedding(k, hidden) for group, k in sizes.items()})
        self.softmaxes = nn.ModuleDict({group: nn.Linear(hidden, k, bias=False) for group, k in sizes.items()})
        self.attention_anchor = nn.Linear(hidden, hidden, bias=False)
        self.attention_query = nn.Linear(hidden, hidden, bias=False)
        self.attention_value = nn.Linear(hidden, 1, bias=False)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.1, 0.1, generator=generator)  # as ENAS

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Rollout:
        """n architectures drawn from the policy, without gradient."""
        return self._run(n, None, generator)

    def read(self, choices: Tensor) -> Rollout:
        """The same figures for given choices [n, D], with gradient."""
        return self._run(len(choices), choices, None)

    def _run(self, n: int, given: Tensor | None, generator: torch.Generator | None) -> Rollout:
        x = self.start.expand(n, -1)
        h = c = x.new_zeros(n, self.config.hidden)
        anchors: list[Tensor] = []  # [n, H] for each part
        projected: list[Tensor] = []  # the same after attention's first layer
        choices = torch.zeros(n, self.num_decisions, dtype=torch.long) if given is None else given
        log_probs, entropies, yes = [], [], []
        probabilities: list[Tensor | None] = [None] * self.num_decisions
        for step in self.steps:
            h, c = self.lstm(x, (h, c))
            columns = list(step.decisions)
            if step.sources:
                keys = torch.stack([projected[part] for part in step.sources], dim=1)  # [n, S, H]
                scores = self.attention_value(torch.tanh(keys + self.attention_query(h)[:, None])).squeeze(-1)
                logits = self._squash(torch.stack([-scores, scores], dim=-1))  # [n, S, 2]
            else:
                logits = self._squash(self.softmaxes[step.group](h))[:, None].expand(-1, len(columns), -1)
            log_p = torch.log_softmax(logits, dim=-1)  # [n, S, K]
            p = log_p.exp()
            if given is None:
                drawn = torch.multinomial(p.flatten(0, 1), 1, generator=generator).view(n, len(columns))
                choices[:, columns] = drawn
            else:
                drawn = choices[:, columns]
            log_probs.append(log_p.gather(-1, drawn[..., None]).squeeze(-1))
            entropies.append(-(p * log_p).sum(-1))
            for k, column in enumerate(columns):
                probabilities[column] = p[:, k].detach()
            if step.sources:
                yes.append(p[..., 1])
                taken = drawn.to(h.dtype)  # [n, S]
                states = torch.stack([anchors[part] for part in step.sources], dim=1)
                x = (taken[..., None] * states).sum(1) / (1 + taken.sum(1, keepdim=True))
            else:
                x = self.embeddings[step.group](drawn).mean(1)
            if step.ends_part:
                anchors.append(h)
                projected.append(self.attention_anchor(h))
        skip_rates = torch.cat(yes, dim=1).mean(1) if yes else x.new_full((n,), torch.nan)
        return Rollout(
            choices,
            torch.cat(log_probs, dim=1).sum(1),
            torch.cat(entropies, dim=1).sum(1),
            skip_rates,
            tuple(p for p in probabilities if p is not None),
        )

    def _squash(self, logits: Tensor) -> Tensor:
        """constant * tanh(logits / temperature): keeps the policy from closing too early."""
        return self.config.tanh_constant * torch.tanh(logits / self.config.temperature)


def _plan(space: SearchSpace) -> tuple[_Step, ...]:
    groups = list(spaces.steps(space))
    plan = []
    for i, decisions in enumerate(groups):
        first = space.decisions[decisions[0]]
        sources = tuple(s for d in decisions if (s := space.decisions[d].source) is not None)
        last = i + 1 == len(groups) or space.decisions[groups[i + 1][0]].part != first.part
        plan.append(_Step(decisions, first.group, first.part, sources, last))
    return tuple(plan)
