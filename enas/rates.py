"""How fast a search's work goes, by measurement, and how many operations it takes, by counting."""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from enas import finalists, searchers
from enas.config import SearchConfig
from enas.data import random_batch
from enas.phases import Search
from enas.plan import TRAINING_COST, Work, warmup_share
from enas.searchers import Searcher
from enas.seen import resized
from enas.spaces import Architecture
from enas.training import Batch, seconds_per_step

PROBES = 16  # architectures that the measurement for a budget runs
ROUNDS = 2
FEW_PROBES = 4  # where nothing but a forecast depends on it, the search should begin soon


@dataclass(frozen=True)
class Rates:
    """What one unit of each kind of work takes: a child image to train on or to score, an update.

    In seconds, or in floating-point operations.
    """

    training: float
    scoring: float
    update: float

    def of(self, work: Work) -> float:
        """What all of this work takes."""
        return self.training * work.training + self.scoring * work.scoring + self.update * work.updates


def measure(state: Search) -> Rates:
    """Seconds for each kind of work. Updates no weights; all draws are its own.

    Raises UserError where the device has no memory for one architecture.
    """
    config = state.config
    probes, rounds = (FEW_PROBES, 1) if config.budget is None else (PROBES, ROUNDS)
    archs = searchers.uniform(state.space, probes, state.draws("forecast"))
    training_batch = random_batch(
        state.seen.train, config.weights.batch_size, state.data.mean, state.data.std, state.draws("forecast images")
    )
    scoring_batch = state.validation_batch(config.controller.batch_size, "forecast")
    steps = -(-probes // config.weights.architectures_per_step)
    # the faster of two rounds: another program that works for a moment must not halve the search; training steps have
    # a first one that does not count
    child_images = config.weights.architectures_per_step * len(training_batch[0])
    if state.steps:
        training_s = min(_training_s(state, training_batch, steps) for _ in range(rounds)) / child_images
    else:
        training_s = _finalist_s(state, archs[:FEW_PROBES]) if config.derive.finalist_epochs else 0.0
    scoring_s = min(_seconds(lambda: state.evaluator.score(archs, [scoring_batch])) for _ in range(ROUNDS))
    searcher = copy.deepcopy(state.searcher)
    update_s = min(_seconds(lambda: _update(searcher, config)) for _ in range(ROUNDS))
    return Rates(training_s, scoring_s / (probes * len(scoring_batch[0])), update_s)


def _training_s(state: Search, batch: Batch, steps: int) -> float:
    """Seconds of a training step, in parts that fit into memory."""
    measure = functools.partial(seconds_per_step, state.curriculum.model, state.supernet, batch, steps, state.runtime)
    while (seconds := state.runtime.attempt(measure)) is None:
        state.supernet.zero_grad(set_to_none=True)
        state.halve_chunk()
    return seconds


def _finalist_s(state: Search, archs: Sequence[Architecture]) -> float:
    """Seconds of an image in a finalist's training, on average of some: all training of a search that takes its shared
    weights from another. On images as shared weights see them, as all work is counted (`plan.Work`)."""
    sgd = finalists.recipe(state.config.weights, state.config.derive)
    epochs_s = [
        finalists.new_training(
            resized(state.space.graph(arch), state.seen.shape),
            state.data,
            state.seen.train,
            sgd,
            1,
            state.config.seed,
            state.runtime,
        ).epoch_s()
        for arch in archs
    ]
    return sum(epochs_s) / (len(archs) * len(state.seen.train))


def operations(state: Search) -> Rates:
    """Floating-point operations for each kind of work: two for each multiply-accumulate of a mean architecture.

    What a policy will be like nobody knows: its architectures count as uniform ones, while those of warm-up are drawn
    as they will be.
    """
    together, warm = state.config.weights.architectures_per_step, _untaught_share(state.config)
    early = state.curriculum.untaught(-(-8 * PROBES // together), together, state.draws("operations"))
    late = searchers.uniform(state.space, 8 * PROBES, state.draws("operations"))
    warm_macs, macs = (sum(map(state.macs, archs)) / len(archs) for archs in (early, late))
    return Rates(2 * TRAINING_COST * (warm * warm_macs + (1 - warm) * macs), 2 * macs, 0.0)


def _untaught_share(config: SearchConfig) -> float:
    """The share of the epochs whose architectures no controller proposes."""
    return warmup_share(config) if config.learns else 1.0


def _update(searcher: Searcher, config: SearchConfig) -> None:
    """Ask for one update's architectures and tell rewards, as the controller's phase does."""
    proposals = searcher.ask(config.controller.architectures_per_update)
    searcher.tell(proposals, torch.arange(len(proposals)) / len(proposals))


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
