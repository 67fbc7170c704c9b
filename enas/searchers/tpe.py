"""Optuna's tree-structured Parzen estimator (Bergstra et al. 2011), through its ask-and-tell interface.

Only decisions that matter are suggested. The study itself is never stored: its trials are, as plain values, and
it is built anew from them. Each trial has a sampler of its own, seeded by its number, so nothing random has
to be stored either.
"""

from __future__ import annotations

import copy
import importlib
import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from enas.config import TpeConfig
from enas.errors import UserError
from enas.searchers.base import (
    NAN,
    Network,
    Policy,
    Proposal,
    Told,
    Unrepeated,
    allowed,
    below,
    mutated,
    observed,
    seen,
)
from enas.spaces import Architecture, SearchSpace, active

SEEDS = 2**31 - 1


class Tpe:
    """Optuna's TPE. Proposals that are not told yet count as bad ones, so that a batch spreads out.

    It soon suggests the same architectures again and again. Where a network is not to be proposed twice, one
    choice of such a suggestion is changed at random.
    """

    def __init__(
        self, space: SearchSpace, config: TpeConfig, generator: torch.Generator, network: Network | None = None
    ) -> None:
        self.space, self.config, self.generator = space, config, generator
        self.unrepeated = Unrepeated(space, network)
        self.seed = below(SEEDS, generator)
        self.study = self._study([])
        self.trial_of: dict[int, int] = {}  # of a proposal that was not told yet, its trial's number
        self.asked = 0

    def sample(self, n: int, generator: torch.Generator) -> list[Architecture]:
        """What `ask` would propose now, suggested in a copy of the study."""
        study = copy.deepcopy(self.study)

        def draw(k: int) -> list[Architecture]:
            return [self._suggestion(study, below(SEEDS, generator))[1] for _ in range(k)]

        return allowed(self.space, n, draw, generator, surplus=0)  # each takes milliseconds

    def ask(self, n: int) -> list[Proposal]:
        return [self._propose() for _ in range(n)]

    def tell(self, proposals: Sequence[Proposal], rewards: Tensor) -> Told:
        for proposal, reward in zip(proposals, rewards.tolist(), strict=True):
            trial = self.trial_of.pop(proposal.id)
            if math.isnan(reward):
                self.study.tell(trial, state=_optuna().trial.TrialState.FAIL)
            else:
                self.study.tell(trial, reward)
        return seen(rewards)

    def policy(self, archs: Sequence[Architecture]) -> Policy:
        return observed(self.space, archs)

    def _propose(self) -> Proposal:
        trials = self.study.get_trials(deepcopy=False)
        trial, arch = self._suggestion(self.study, (self.seed + len(trials)) % SEEDS)
        number = trial.number
        if not self.unrepeated.admit(arch):
            self.study.tell(trial, state=_optuna().trial.TrialState.FAIL)
            arch = self.unrepeated.take(1, lambda k: self._near(arch), self.generator)[0]
            number += 1
            self.study.add_trial(self._trial({"state": "RUNNING", "choices": list(arch.choices)}))
        id, self.asked = self.asked, self.asked + 1
        self.trial_of[id] = number
        return Proposal(id, arch, NAN, 0)

    def _near(self, arch: Architecture) -> list[Architecture]:
        draw, generator = lambda k: [mutated(self.space, arch, self.generator) for _ in range(k)], self.generator
        return allowed(self.space, 1, draw, generator)

    def _suggestion(self, study: Any, seed: int) -> tuple[Any, Architecture]:
        """A new trial of the study, and its architecture."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `group` is experimental
            study.sampler = _optuna().samplers.TPESampler(
                n_startup_trials=self.config.startup,
                n_ei_candidates=self.config.candidates,
                multivariate=self.config.multivariate,
                group=self.config.multivariate,  # else decisions that do not always matter are taken alone
                constant_liar=True,
                seed=seed,
            )
        trial = study.ask()
        choices = [0] * len(self.space.decisions)
        for d, decision in enumerate(self.space.decisions):
            if active(self.space, choices)[d]:
                choices[d] = trial.suggest_categorical(decision.name, range(len(decision.labels)))
        return trial, Architecture(self.space.name, tuple(choices))

    def state_dict(self) -> dict[str, Any]:
        return {
            "trials": [self._plain(trial) for trial in self.study.get_trials(deepcopy=False)],
            "trial_of": dict(self.trial_of),
            "seed": self.seed,
            "asked": self.asked,
            "generator": self.generator.get_state(),
            "proposed": self.unrepeated.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.study = self._study(state["trials"])
        self.trial_of = dict(state["trial_of"])
        self.seed, self.asked = state["seed"], state["asked"]
        self.generator.set_state(state["generator"])
        self.unrepeated.load_state_dict(state["proposed"])

    def _study(self, trials: list[dict[str, Any]]) -> Any:
        study = _optuna().create_study(direction="maximize")
        study.add_trials([self._trial(trial) for trial in trials])
        return study

    def _plain(self, trial: Any) -> dict[str, Any]:
        choices = [trial.params.get(decision.name, 0) for decision in self.space.decisions]
        # what optuna itself notes of a trial that is not told yet
        return {"state": trial.state.name, "choices": choices, "value": trial.value, "notes": dict(trial.system_attrs)}

    def _trial(self, plain: dict[str, Any]) -> Any:
        on = active(self.space, plain["choices"])
        matter = [(d, c) for d, c, is_on in zip(self.space.decisions, plain["choices"], on, strict=True) if is_on]
        return _optuna().trial.create_trial(
            state=_optuna().trial.TrialState[plain["state"]],
            value=plain.get("value"),
            params={decision.name: choice for decision, choice in matter},
            distributions={
                decision.name: _optuna().distributions.CategoricalDistribution(range(len(decision.labels)))
                for decision, _ in matter
            },
            system_attrs=plain.get("notes"),
        )


def _optuna() -> Any:
    """The package, which is an optional one. Raises UserError where it is missing."""
    try:
        optuna = importlib.import_module("optuna")
    except ImportError as error:
        raise UserError(
            f"searcher tpe needs the package optuna, but: {error}; run pip install 'enas[optuna]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study on standard error
    return optuna
