"""Settings of what proposes architectures."""

from __future__ import annotations

from dataclasses import dataclass

from enas.config.checked import Checked, setting

SEARCHERS = ("reinforce", "random", "evolution", "local-search", "tpe")


@dataclass(frozen=True, kw_only=True)
class ControllerConfig(Checked):
    """Phase 2: the recurrent policy and REINFORCE."""

    recurrence: str = setting(
        "lstm", "what the policy's state runs through (ENAS: lstm)", choices=("lstm", "gru"), option="--recurrence"
    )
    hidden: int = setting(64, "units of the recurrence (ENAS: 64)", low=1, high=4096)
    lr: float = setting(1e-3, "Adam learning rate (ENAS: 1e-3 macro, 3.5e-3 micro)", above=0)
    # Not a detail: once the policy has chosen, its gradients are mostly noise. With torch's 1e-8 Adam
    # made full steps of them and the skip rate swung between 0.3 and 1.0; this is of their size and damps them.
    adam_eps: float = setting(1e-3, "Adam's eps (ENAS: 1e-3)", above=0)
    temperature: float = setting(1.0, "logits are divided by this before tanh (ENAS: 1)", above=0)
    # With ENAS' 1.5 no operation of six could ever exceed a probability of 0.80; 2.5 allows 0.97.
    tanh_constant: float = setting(2.5, "logits are constant * tanh(logits) (ENAS macro: 1.5)", above=0)
    entropy_weight: float = setting(1e-4, "entropy bonus in the reward, detached (ENAS: 1e-4)", low=0)
    entropy_decay: float = setting(0.0, "share of the entropy bonus that each update takes off", low=0, high=1)
    advantage: str = setting(
        "leave-one-out",
        "what a reward is compared with: the mean of the others on the same images, or the moving average (ENAS)",
        choices=("leave-one-out", "moving-average"),
    )
    advantage_scale: str = setting(
        "none",
        "none, or running: advantages are divided by their running root mean square, so that late updates, when "
        "rewards differ little, move as far as early ones",
        choices=("none", "running"),
    )
    scale_decay: float = setting(0.9, "decay of that mean square per update", low=0, high=0.99999)
    passes: int = setting(1, "optimiser steps with the same rewards, ratios clipped as in PPO", low=1, high=100)
    replay: float = setting(0.0, "weight of the mean log-probability of the best architectures so far", low=0)
    replay_size: int = setting(10, "how many of the best that are", low=1, high=10**4)
    baseline_decay: float = setting(0.99, "decay of the moving-average baseline per architecture", low=0, high=0.99999)
    skip_target: float = setting(
        0.4, "wanted mean rate of skip connections, as sampled (ENAS: 0.4)", above=0, high=0.99
    )
    # ENAS sums the divergence over all skip decisions, which holds each of them near the target and
    # so keeps the policy from ever choosing. Here it is the divergence of an architecture's mean rate.
    skip_weight: float = setting(0.1, "weight of the skip-rate penalty (ENAS: 0.8, see skip_target)", low=0)
    grad_clip: float = setting(5.0, "largest norm of the controller's gradient", above=0)
    warmup_epochs: int = setting(
        0, "epochs in which architectures are uniform and the controller rests (ENAS: 0)", low=0
    )
    updates: int = setting(50, "controller updates in an epoch (ENAS macro: 50)", low=1)
    architectures_per_update: int = setting(20, "architectures of one update (ENAS macro: 20)", low=2, high=4096)
    batch_size: int = setting(128, "validation images that an update's architectures share (ENAS: 128)", low=2)


@dataclass(frozen=True, kw_only=True)
class EvolutionConfig(Checked):
    """Regularised evolution."""

    population: int | None = setting(
        None,
        "architectures of the population (Real et al. 2019: 100; default: 50, but at most a quarter of --evaluations, "
        "for until it is full architectures are uniform)",
        low=1,
        high=10**6,
    )
    tournament: int = setting(10, "members of which the best one becomes a parent (Real et al.: 25)", low=1, high=10**6)
    random_share: float = setting(0.0, "share of the proposals that are uniform instead of children", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class LocalSearchConfig(Checked):
    """Climbing from neighbour to neighbour."""

    move: str = setting(
        "best",
        "when to move: to the best neighbour after all were evaluated, or to the first that is better",
        choices=("best", "first"),
    )


@dataclass(frozen=True, kw_only=True)
class TpeConfig(Checked):
    """Optuna's tree-structured Parzen estimator."""

    startup: int = setting(10, "uniform architectures at first (optuna: 10)", low=1, high=10**6)
    candidates: int = setting(24, "draws of which the most promising one is suggested (optuna: 24)", low=1, high=10**4)
    multivariate: bool = setting(True, "whether decisions are modelled together (optuna: yes, since 5.0)")
