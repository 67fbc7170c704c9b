"""Fitting a search into a budget: measure the speed, size all phases, and keep to the time on the way.

An epoch stays one pass over the training images where the budget has room for MIN_EPOCHS of them,
else epochs become shorter. Deriving gets at most DERIVE_SHARE of the budget, and always its share.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from enas import searchers
from enas.config import Budget, DeriveConfig, SearchConfig, parse_budget
from enas.cost import cost
from enas.data import DataSet
from enas.errors import UserError
from enas.phases import Search
from enas.plan import TRAINING_COST, Work, derive_work, epochs_work, total_work, weight_steps
from enas.runs import RunFolder
from enas.runtime import Runtime
from enas.searchers import Searcher
from enas.training import Output, seconds_per_step

PROBES = 16  # architectures that the measurement runs
ROUNDS = 2
MIN_EPOCHS = 10  # fewer changes of phase than this are hardly a search
MAX_EPOCHS = 2**24  # more than anybody can wait for, where a budget is as good as none
DERIVE_SHARE = 0.25
TOLERANCE = 0.03  # how far the expected end may be from a time budget before the number of epochs changes
DERIVE_SCALES = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


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


@dataclass(frozen=True)
class Plan:
    """config: with the budget's sizes; rates: in seconds, as measured; forecast_s: of the whole search."""

    config: SearchConfig
    rates: Rates
    forecast_s: float


def plan(
    config: SearchConfig,
    data: DataSet,
    folder: RunFolder,
    runtime: Runtime,
    began: float | None = None,
    sized: bool = False,
) -> Plan:
    """Measure the speed with throw-away weights and fit the search into its budget, if it has one.

    began: the time.perf_counter() from which a time budget counts (default: now). sized: the sizes are
    decided already (the run is resumed). Raises UserError where the budget is too small.
    """
    began = time.perf_counter() if began is None else began
    state = Search(config, data, folder, runtime)
    rates = measure(state)
    sizes = len(state.train), len(state.validation)
    if config.budget is not None and not sized:
        budget = parse_budget(config.budget)
        if budget.is_time:
            left = Budget(budget.amount - (time.perf_counter() - began), True)
            config = fit(config, left, rates, *sizes)
        else:
            config = fit(config, budget, operations(state), *sizes)
    return Plan(config, rates, rates.of(total_work(config, *sizes)))


def measure(state: Search) -> Rates:
    """Seconds for each kind of work. Changes nothing: no weights are updated, all draws are its own."""
    config, runtime = state.config, state.runtime
    archs = searchers.uniform(state.space, PROBES, state.draws("forecast"))
    graphs = [state.evaluator.graph(arch) for arch in archs]
    width = min(PROBES, config.weights.architectures_per_step)
    training_batch = state.validation_batch(config.weights.batch_size, "forecast")
    scoring_batch = state.validation_batch(config.controller.batch_size, "forecast")

    def model(images: Tensor, step: int) -> Iterator[Output]:
        first = step * width % PROBES
        yield Output(state.supernet(images, (graphs + graphs)[first : first + width]))

    # the faster of two rounds: another program that works for a moment must not halve the search
    step_s = min(
        seconds_per_step(model, state.supernet, training_batch, -(-PROBES // width), runtime) for _ in range(ROUNDS)
    )
    scoring_s = min(_seconds(lambda: state.evaluator.score(archs, [scoring_batch])) for _ in range(ROUNDS))
    searcher = copy.deepcopy(state.searcher)
    update_s = min(_seconds(lambda: _update(searcher, config)) for _ in range(ROUNDS))
    return Rates(step_s / (width * len(training_batch[0])), scoring_s / (PROBES * len(scoring_batch[0])), update_s)


def operations(state: Search) -> Rates:
    """Floating-point operations for each kind of work: two for each multiply-accumulate of a mean architecture."""
    archs = searchers.uniform(state.space, 8 * PROBES, state.draws("operations"))
    macs = sum(cost(state.evaluator.graph(arch)).macs for arch in archs) / len(archs)
    return Rates(2 * TRAINING_COST * macs, 2 * macs, 0.0)


def fit(config: SearchConfig, budget: Budget, rates: Rates, train_images: int, validation_images: int) -> SearchConfig:
    """The configuration with sizes that fill the budget. Raises UserError where it is too small for any."""
    sizes, sized = (train_images, validation_images), config
    for scale in DERIVE_SCALES:
        sized = dataclasses.replace(config, derive=_scaled(config.derive, scale))
        deriving = rates.of(derive_work(sized, *sizes))
        if deriving <= DERIVE_SHARE * budget.amount or scale == DERIVE_SCALES[-1]:
            sized = _filled(sized, budget.amount - deriving, rates, sizes)
            if rates.of(total_work(sized, *sizes)) <= budget.amount:
                return sized
    least = 1.1 * rates.of(total_work(sized, *sizes))
    unit = f"{least:.0f}s" if budget.is_time else f"flops={least:.1e}"
    raise UserError(
        f"the budget must be large enough for {MIN_EPOCHS} short epochs and the choice of an architecture, here "
        f"about {unit}, but got {config.budget}; give a larger --budget or a smaller space"
    )


def _filled(config: SearchConfig, room: float, rates: Rates, sizes: tuple[int, int]) -> SearchConfig:
    """As many epochs as there is room for; shorter ones where it is not enough for the fewest, if need be too much."""
    warmup_share = config.controller.warmup_epochs / config.epochs

    def fits(length: SearchConfig, epochs: int) -> bool:
        return rates.of(epochs_work(resized(length, epochs, warmup_share), 0, epochs, *sizes)) <= room

    if not fits(config, MIN_EPOCHS):
        whole = config
        share = _largest(lambda n: n <= 1000 and fits(_shortened(whole, n / 1000, sizes[0]), MIN_EPOCHS), 0)
        config = _shortened(config, share / 1000, sizes[0])
    return resized(config, _largest(lambda n: fits(config, n), MIN_EPOCHS), warmup_share)


def resized(config: SearchConfig, epochs: int, warmup_share: float) -> SearchConfig:
    """The configuration with another number of epochs, and the same share of them as warm-up."""
    warmup = min(round(warmup_share * epochs), epochs - 1)
    return dataclasses.replace(
        config, epochs=epochs, controller=dataclasses.replace(config.controller, warmup_epochs=warmup)
    )


def replanned_epochs(state: Search, rates: Rates) -> int:
    """The number of epochs that keeps to the time budget, judging by the time that the finished ones took.

    It is the present one while that is expected to end near enough to the budget.
    """
    assert state.config.budget is not None
    budget_s = parse_budget(state.config.budget).amount
    sizes = len(state.train), len(state.validation)
    factor = (state.elapsed_s - state.overhead_s) / rates.of(state.done)
    derive_s = rates.of(derive_work(state.config, *sizes))

    def end_s(epochs: int) -> float:
        rest = epochs_work(state.config, state.epoch, epochs, *sizes)
        return state.elapsed_s + factor * (rates.of(rest) + derive_s)

    if abs(end_s(state.epochs) - budget_s) <= TOLERANCE * budget_s:
        return state.epochs
    return _largest(lambda n: end_s(n) <= budget_s, max(state.epoch, state.config.controller.warmup_epochs + 1))


def describe(config: SearchConfig, train_images: int) -> str:
    """The sizes of a search in one line."""
    derive = config.derive
    return (
        f"{config.epochs} epochs ({config.controller.warmup_epochs} of warm-up) of "
        f"{weight_steps(config, train_images)} training steps and {config.controller.updates} controller updates; "
        f"{derive.samples} + {derive.random} architectures to choose from, {derive.finalists} finalists trained for "
        f"{derive.finalist_epochs} epochs"
    )


def _update(searcher: Searcher, config: SearchConfig) -> None:
    """Ask for one update's architectures and tell rewards, as the controller's phase does."""
    proposals = searcher.ask(config.controller.architectures_per_update)
    searcher.tell(proposals, torch.arange(len(proposals)) / len(proposals))


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _largest(fits: Callable[[int], bool], least: int) -> int:
    """The largest whole number that fits, but at least `least`. What is larger than one that does not fit
    does not fit either."""
    step = 1
    while step <= MAX_EPOCHS and fits(least + step):
        step *= 2
    low, high = least + step // 2, least + step  # `low` fits, or is `least`; `high` does not fit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _scaled(derive: DeriveConfig, scale: float) -> DeriveConfig:
    def scaled(value: int, least: int) -> int:
        return max(min(value, least), round(scale * value))

    return dataclasses.replace(
        derive,
        samples=scaled(derive.samples, 8),
        random=scaled(derive.random, 8),
        finalists=scaled(derive.finalists, 2),
        finalist_epochs=scaled(derive.finalist_epochs, 1),
    )


def _shortened(config: SearchConfig, share: float, train_images: int) -> SearchConfig:
    """Epochs of about `share` of their length."""
    derive, controller = config.derive, config.controller
    return dataclasses.replace(
        config,
        weights=dataclasses.replace(config.weights, steps=max(1, int(share * weight_steps(config, train_images)))),
        controller=dataclasses.replace(controller, updates=max(1, int(share * controller.updates))),
        derive=dataclasses.replace(derive, random_per_epoch=max(2, int(share * derive.random_per_epoch))),
    )
