"""The policy: an LSTM that writes an architecture decision by decision (ENAS sections 2.2 to 2.4).

n architectures are sampled in one batched pass. D decisions, H units. Decisions of a group share one
embedding and one softmax. Decisions about connections are taken by attention to the states that the
controller had at the connections' sources. A decision that is inactive under the earlier choices of
an architecture is 0, adds nothing to its log-probability and entropy, and leaves the state alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from enas import spaces
from enas.config import ControllerConfig
from enas.ops import by_key
from enas.spaces import Decision, SearchSpace


@dataclass(frozen=True)
class Rollout:
    """Sampled or re-read architectures under the policy.

    choices: int64 [n, D]
    log_probs: [n], log-probability of each architecture
    entropies: [n, D], of each decision given the choices before it; 0 where it is inactive
    skip_rates: [n], mean probability of "yes" over the active yes/no decisions, as sampled (NaN without any)
    probabilities: for every decision its probabilities [n, K_d]
    active: bool [n, D]
    """

    choices: Tensor
    log_probs: Tensor
    entropies: Tensor
    skip_rates: Tensor
    probabilities: tuple[Tensor, ...]
    active: Tensor


class Controller(nn.Module):
    """The recurrent policy over the decisions of a space. Lives on the CPU: it is tiny, and its
    samples are needed there."""

    def __init__(self, space: SearchSpace, config: ControllerConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.decisions = space.decisions
        self.steps = tuple(spaces.steps(space))
        self.conditional = any(d.parent is not None for d in self.decisions)  # whether a decision can be inactive
        hidden = config.hidden
        sizes = {d.group: len(d.labels) for d in self.decisions if not d.sources}
        self.attended = {source for d in self.decisions for source in d.sources}
        # what connections come from without anything having been decided there (micro: a cell's inputs)
        self.given_parts = tuple(sorted(self.attended - {d.part for d in self.decisions}))
        self.start = nn.Parameter(torch.empty(hidden))
        self.recurrent = (nn.LSTMCell if config.recurrence == "lstm" else nn.GRUCell)(hidden, hidden)
        self.embeddings = by_key({group: nn.Embedding(k, hidden) for group, k in sizes.items()}, "a group of decisions")
        self.softmaxes = nn.ModuleDict({group: nn.Linear(hidden, k, bias=False) for group, k in sizes.items()})
        self.attention_anchor = nn.Linear(hidden, hidden, bias=False)
        self.attention_query = nn.Linear(hidden, hidden, bias=False)
        self.attention_value = nn.Linear(hidden, 1, bias=False)
        self.given_anchors = nn.Parameter(torch.empty(len(self.given_parts), hidden))
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
        # the state at each part, [n, H], and the same after attention's first layer
        anchors = {part: self.given_anchors[i].expand(n, -1) for i, part in enumerate(self.given_parts)}
        projected = {part: self.attention_anchor(anchor) for part, anchor in anchors.items()}
        choices = torch.zeros(n, len(self.decisions), dtype=torch.long) if given is None else given
        active = torch.ones(n, len(self.decisions), dtype=torch.bool)
        log_probs, entropies, yes = [], [], []
        moved: Tensor | None = None  # bool [n, 1], whether anything of this part is active; None: everything
        probabilities: list[Tensor] = []
        for i, step in enumerate(self.steps):
            columns, first = list(step), self.decisions[step[0]]
            new_h, new_c = self._recur(x, h, c)
            if first.sources:
                parts = [source for d in step for source in self.decisions[d].sources]
                keys = torch.stack([projected[part] for part in parts], dim=1)  # [n, P, H]
                states = torch.stack([anchors[part] for part in parts], dim=1)  # [n, P, H]
                scores = self.attention_value(torch.tanh(keys + self.attention_query(new_h)[:, None])).squeeze(-1)
                if first.is_connection:
                    logits = torch.stack([-scores, scores], dim=-1)
                else:
                    # only differences should count: without this all scores of a step can drift beyond tanh's
                    # range together, and are then equal for good, as nothing has a gradient there
                    logits = (scores - scores.mean(1, keepdim=True))[:, None]
            else:
                logits = self.softmaxes[first.group](new_h)[:, None]
            log_p = torch.log_softmax(self._squash(logits), dim=-1)  # [n, S, K]
            p = log_p.exp()
            on = self._activity(step, choices, active)  # [n, S]
            if given is None:
                drawn = torch.multinomial(p.flatten(0, 1), 1, generator=generator).view(n, len(columns))
                drawn = choices[:, columns] = drawn * on
            else:
                drawn = choices[:, columns]
            log_probs.append(log_p.gather(-1, drawn[..., None]).squeeze(-1) * on)
            entropies.append(-(p * log_p).sum(-1) * on)
            probabilities += p.detach().unbind(1)
            if first.is_connection:
                yes.append(torch.where(on, p[..., 1], torch.nan))
                taken = (drawn * on).to(h.dtype)  # [n, S]
                new_x = (taken[..., None] * states).sum(1) / (1 + taken.sum(1, keepdim=True))
            elif first.sources:
                new_x = states[torch.arange(n), drawn[:, 0]]
            else:
                new_x = self.embeddings[first.group](drawn[:, 0])
            if self.conditional:
                moves = on.any(1, keepdim=True)
                x, h, c = torch.where(moves, new_x, x), torch.where(moves, new_h, h), torch.where(moves, new_c, c)
                moved = moves if moved is None else moved | moves
            else:
                x, h, c = new_x, new_h, new_c
            if self._ends_part(i):
                if first.part in self.attended:
                    if not first.is_connection:  # the state has yet to hear of the part's last choice
                        new_h, new_c = self._recur(x, h, c)
                        if moved is None:
                            x, h, c = self.start.expand(n, -1), new_h, new_c
                        else:
                            h, c = torch.where(moved, new_h, h), torch.where(moved, new_c, c)
                            x = torch.where(moved, self.start, x)
                    anchors[first.part] = h
                    projected[first.part] = self.attention_anchor(h)
                moved = None
        skip_rates = torch.cat(yes, dim=1).nanmean(1) if yes else x.new_full((n,), torch.nan)
        return Rollout(
            choices,
            torch.cat(log_probs, dim=1).sum(1),
            torch.cat(entropies, dim=1),
            skip_rates,
            tuple(probabilities),
            active,
        )

    def _recur(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The next state; the GRU has no c."""
        if isinstance(self.recurrent, nn.LSTMCell):
            return self.recurrent(x, (h, c))  # type: ignore[no-any-return]
        return self.recurrent(x, h), c

    def _activity(self, step: tuple[int, ...], choices: Tensor, active: Tensor) -> Tensor:
        """Which of the step's decisions are active, bool [n, S]; noted in `active` [n, D] too."""
        for d in step:
            decision: Decision = self.decisions[d]
            if decision.parent is not None:
                made = torch.isin(choices[:, decision.parent], torch.tensor(decision.parent_choices))
                active[:, d] = active[:, decision.parent] & made
        return active[:, list(step)]

    def _ends_part(self, i: int) -> bool:
        """Whether step i is the last one of its part."""
        following = self.steps[i + 1 : i + 2]
        return not following or self.decisions[following[0][0]].part != self.decisions[self.steps[i][0]].part

    def _squash(self, logits: Tensor) -> Tensor:
        """constant * tanh(logits / temperature): keeps the policy from closing too early."""
        return self.config.tanh_constant * torch.tanh(logits / self.config.temperature)
