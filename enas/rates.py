"""How fast a search's work goes, by measurement, and how many operations it takes, by counting."""

from __future__ import annotations

import contextlib
import copy
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from enas import finalists, searchers
from enas.config import FINALISTS_SIZE, SearchConfig
from enas.data import ImageSet, random_batch
from enas.phases import Search
from enas.plan import TRAINING_COST, Work, warmup_share
from enas.searchers import Searcher
from enas.seen import resized, seen
from enas.spaces import Architecture
from enas.standalone import OutOfMemory
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

    Raises UserError where the device has no memory for one architecture under the shared weights.
    """
    config = state.config
    probes, rounds = (FEW_PROBES, 1) if config.budget is None else (PROBES, ROUNDS)
    archs = searchers.uniform(state.space, probes, state.draws("forecast"))
    training_s = _training_s(state, probes, rounds) if state.steps else _finalist_s(state, archs)
    batch = state.validation_batch(config.controller.batch_size, "forecast")
    scoring_s = min(_seconds(lambda: state.evaluator.score(archs, [batch])) for _ in range(ROUNDS))
    searcher = copy.deepcopy(state.searcher)
    update_s = min(_seconds(lambda: _update(searcher, config)) for _ in range(ROUNDS))
    return Rates(training_s, scoring_s / (probes * len(batch[0])), update_s)


def _training_s(state: Search, probes: int, rounds: int) -> float:
    """Seconds of a child image in the training of the shared weights."""
    weights, data = state.config.weights, state.data
    batch = random_batch(state.seen.train, weights.batch_size, data.mean, data.std, state.draws("forecast images"))
    steps = -(-probes // weights.architectures_per_step)
    # the faster of two rounds: another program that works for a moment must not halve the search; each has a first
    # step that does not count
    step_s = min(_step_s(state, batch, steps) for _ in range(rounds))
    return step_s / (weights.architectures_per_step * len(batch[0]))


def _step_s(state: Search, batch: Batch, steps: int) -> float:
    """Seconds of a step of that training, in parts that fit into memory."""
    measure = functools.partial(seconds_per_step, state.curriculum.model, state.supernet, batch, steps, state.runtime)
    while (seconds := state.runtime.attempt(measure)) is None:
        state.supernet.zero_grad(set_to_none=True)
        state.halve_chunk()
    return seconds


def _finalist_s(state: Search, archs: Sequence[Architecture]) -> float:
    """Seconds of a finalist's training, by image as shared weights see it, as all work is counted (`Work`): the mean of
    such as fit into memory. It is all the training there is where shared weights are another search's."""
    if state.config.derive.finalist_epochs == 0:
        return 0.0
    sgd = finalists.recipe(state.config.weights, state.config.derive)
    batch = ImageSet(state.train.images[: sgd.batch_size], state.train.labels[: sgd.batch_size])
    images = seen(state.data, batch, batch, state.config.derive.finalist_image_size)
    image_s = []
    for arch in archs:
        graph = resized(state.space.graph(arch), images.shape, FINALISTS_SIZE)
        training = finalists.new_training(
            graph, state.data, images.train, sgd, epochs=1, seed=state.config.seed, runtime=state.runtime
        )
        with contextlib.suppress(OutOfMemory):  # such a finalist fails, and the search goes on
            image_s.append(training.epoch_s() / len(batch))
    if len(image_s) < len(archs):
        state.runtime.release_memory()
    return sum(image_s) / max(1, len(image_s)) / state.images.finalist


def operations(state: Search) -> Rates:
    """Floating-point operations for each kind of work: two for each multiply-accumulate of a mean architecture.

    What a policy will be like nobody knows: its architectures count as uniform ones, while those of warm-up are drawn
    as they will be.
    """
    together = state.config.weights.architectures_per_step
    warm = _untaught_share(state.config) if state.steps else 0.0  # else all training is that of finalists
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
