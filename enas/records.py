"""What a search reports: one record an epoch, a generation or a finalist, and the statistics in them.

Fields whose names end in `_s` are times or rates; all others are equal for equal runs on the CPU.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np

COLLAPSED = 0.8  # an operation with a larger share of the choices is worth a warning
NORMAL = NormalDist().inv_cdf(0.975)
FEW = 8  # degrees of freedom below which the expansion of Student's t is more than 0.1 % off


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean of one sample minus mean of another, with its 95 % interval (Welch)."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch of a search: what both phases did."""

    kind: ClassVar[str] = "epoch"
    epoch: int  # from 0
    epochs: int  # as planned at this time
    warmup: bool  # architectures were uniform and the controller rested
    learning_rate: float
    train_loss: float  # shared weights, on augmented training images
    train_accuracy: float
    grad_norm: float
    skipped_steps: int
    images_per_s: float  # distinct images in weight training
    child_images_per_s: float  # the same times architectures
    reward: float | None  # means over the epoch's controller updates; None: the controller rested
    baseline: float | None
    advantage: float | None  # mean absolute advantage
    controller_grad_norm: float | None
    architectures_per_s: float | None  # rewards
    training_chunk: int  # architectures in one pass: smaller than configured where memory ran out
    scoring_memory_gib: float  # of the passes that score at a time, by estimate: the same
    entropy: float | None  # of the policy, in nats, over the sample below
    entropy_share: float  # the same as a share of the uniform policy's
    entropy_shares: dict[str, float]  # the same for each group of decisions
    skip_rate: float | None
    controller_proxy_accuracy: float  # mean over a sample of the policy, same images as the next one
    random_proxy_accuracy: float
    controller_minus_random: Difference
    choice_shares: dict[str, dict[str, float]]  # how often the sample makes each choice, by group
    probabilities: dict[str, list[float]]  # of the policy, by decision: its choices' mean over the sample
    best_arch: str  # highest proxy accuracy of the sample
    best_proxy_accuracy: float
    warning: str | None
    change: str | None  # to what the shared weights are or train on, at the epoch's beginning
    feasible_share: float | None  # of what the searcher drew for that sample: within the limits; None: there are none
    flops: float  # of all training and scoring so far: two for each multiply-accumulate, backward twice forward
    elapsed_s: float
    time_s: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class DeriveRecord:
    """The scoring of many architectures on the whole validation set, before finalists are trained."""

    kind: ClassVar[str] = "derive"
    images: int
    scored: int
    controller_proxy_accuracy: float
    random_proxy_accuracy: float
    controller_minus_random: Difference
    flops: float  # of all training and scoring so far: two for each multiply-accumulate, backward twice forward
    elapsed_s: float
    time_s: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class FinalistRecord:
    """One of the best architectures, trained on its own for a short time, or to one rung of successive halving."""

    kind: ClassVar[str] = "finalist"
    rank: int  # by proxy, from 1; those of a further round follow the ones before
    round: int  # from 1
    arch: str
    proxy_accuracy: float
    rung: int  # from 0
    epochs: int  # of its training so far
    standalone_accuracy: float | None  # on the validation images; None: the training failed, or there was none
    training_loss: float | None  # mean of its last epoch; None where the accuracy is
    flops: float  # of all training and scoring so far: two for each multiply-accumulate, backward twice forward
    elapsed_s: float
    time_s: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class Child:
    """One architecture of a generation, as it was judged."""

    arch: str
    accuracy: float | None  # on what the evaluator judges by; None: the evaluation failed
    loss: float | None  # None too where the evaluator knows none
    reward: float | None
    new: bool  # whether it is a network that was not evaluated before


@dataclass(frozen=True, kw_only=True)
class GenerationRecord:
    """Architectures that were proposed, judged and told together, each on its own."""

    kind: ClassVar[str] = "generation"
    generation: int  # from 0
    evaluations: int  # different networks so far
    planned: int  # the same at the end
    children: list[Child]
    failed: int  # of them
    reward: float | None  # mean of the generation; None: all failed
    baseline: float | None
    advantage: float | None  # mean absolute advantage
    controller_grad_norm: float | None
    best_arch: str | None  # highest reward so far; None: all failed
    best_reward: float | None
    best_accuracy: float | None
    entropy: float | None  # of the searcher, in nats, over a sample of its own after the update
    entropy_share: float
    entropy_shares: dict[str, float]
    choice_shares: dict[str, dict[str, float]]
    probabilities: dict[str, list[float]]
    warning: str | None
    feasible_share: float | None  # of what the searcher drew for that sample: within the limits; None: there are none
    flops: float  # of all training and scoring so far: two for each multiply-accumulate, backward twice forward
    elapsed_s: float
    time_s: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class RetrainRecord:
    """One epoch of training one architecture on its own."""

    kind: ClassVar[str] = "retrain"
    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    grad_norm: float
    skipped_steps: int
    images_per_s: float
    elapsed_s: float
    time_s: float = field(default_factory=time.time)


Record = EpochRecord | DeriveRecord | FinalistRecord | GenerationRecord | RetrainRecord


def to_dict(record: Record) -> dict[str, Any]:
    """The record as strict JSON: its kind, and None for numbers that are not finite."""
    return {"kind": record.kind, **finite(dataclasses.asdict(record))}


def finite(value: Any) -> Any:
    """The value with None for every float that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def mean(values: Sequence[float]) -> float | None:
    """The mean of the values that are finite; None where there is none."""
    kept = [value for value in values if math.isfinite(value)]
    return sum(kept) / len(kept) if kept else None


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, sample standard deviation and best of some values."""
    centre = sum(values) / len(values)
    variance = sum((value - centre) ** 2 for value in values) / max(1, len(values) - 1)
    return {"mean": centre, "sd": variance**0.5, "best": max(values)}


def difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Mean of a minus mean of b with Welch's 95 % interval; both need at least two values."""
    x, y = np.asarray(a, float), np.asarray(b, float)
    centre = float(x.mean() - y.mean())
    vx, vy = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)
    if vx + vy == 0:
        return Difference(mean=centre, low=centre, high=centre)
    freedom = (vx + vy) ** 2 / (vx**2 / (len(x) - 1) + vy**2 / (len(y) - 1))
    half = student_t(float(freedom)) * math.sqrt(vx + vy)
    return Difference(mean=centre, low=centre - half, high=centre + half)


def standing(low: float | None, high: float | None, between: str = "no better than") -> str:
    """What the interval of a difference says of the first beside the second. between: where it includes 0."""
    if low is None or high is None:
        return "not known to be better than"
    return "better than" if low > 0 else "worse than" if high < 0 else between


def student_t(freedom: float, probability: float = 0.975) -> float:
    """Quantile of Student's t for at least one degree of freedom, within 0.1 %.

    The Cornish-Fisher expansion, which is no good for a few degrees of freedom; there, the integral itself.
    """
    if freedom < FEW:
        return _student_t_few(freedom, probability)
    z = NormalDist().inv_cdf(probability)
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + g1 / freedom + g2 / freedom**2 + g3 / freedom**3


def _student_t_few(freedom: float, probability: float) -> float:
    """By bisection: with t = sqrt(f) tan(a) the density becomes c cos(a)^(f - 1), smooth and bounded."""
    points, weights = np.polynomial.legendre.leggauss(64)
    log_c = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(math.pi) / 2
    low, high = 0.0, math.pi / 2
    for _ in range(50):
        angle = (low + high) / 2
        integral = angle / 2 * float(weights @ np.cos(angle / 2 * (points + 1)) ** (freedom - 1))
        if math.exp(log_c) * integral < abs(probability - 0.5):
            low = angle
        else:
            high = angle
    return math.copysign(math.sqrt(freedom) * math.tan(low), probability - 0.5)


def collapse_warning(shares: dict[str, dict[str, float]]) -> str | None:
    """A sentence where one operation makes up more than 80 % of the choices of the controller."""
    for group, choices in shares.items():
        for label, share in choices.items():
            if share > COLLAPSED and group.endswith("op"):
                cell = group.removesuffix("op").replace("_", " ")  # "normal " in micro
                return f"{label} makes up {share:.0%} of the sampled {cell}operations: the search may have collapsed"
    return None
