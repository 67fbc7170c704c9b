"""Fitting a search into a budget: size all phases by how fast they go (enas/rates.py), and keep to the time meanwhile.

An epoch stays one pass over the training images where the budget has room for MIN_EPOCHS of them,
else epochs become shorter. Deriving gets at most DERIVE_SHARE of the budget, and always its share.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from enas.config import Budget, DeriveConfig, SearchConfig, parse_budget
from enas.data import DataSet
from enas.errors import UserError
from enas.phases import Search
from enas.plan import (
    Images,
    derive_work,
    epochs_work,
    sizes,
    split_epoch,
    total_work,
    warmup_share,
    weight_steps,
    with_sizes,
)
from enas.rates import Rates, measure, operations
from enas.runs import RunFolder
from enas.runtime import Runtime
from enas.words import counted

MIN_EPOCHS = 10  # fewer changes of phase than this are hardly a search
MAX_EPOCHS = 2**24  # more than anybody can wait for, where a budget is as good as none
DERIVE_SHARE = 0.25
TOLERANCE = 0.03  # how far the expected end may be from a time budget before the number of epochs changes
DERIVE_SCALES = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)


@dataclass(frozen=True)
class Plan:
    """config: with the budget's sizes; rates: in seconds, as measured; forecast_s: of the whole search."""

    config: SearchConfig
    images: Images
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
    images = state.images
    if config.budget is not None and not sized:
        budget = parse_budget(config.budget)
        if budget.is_time:
            spent = time.perf_counter() - began
            config = fit(config, budget, rates, images, spent=spent)
        else:
            config = fit(config, budget, operations(state), images)
    del state
    gc.collect()  # its weights and images would stay for long: keeper and state refer to each other
    return Plan(config, images, rates, rates.of(total_work(config, images)))


def fit(
    config: SearchConfig,
    budget: Budget,
    rates: Rates,
    images: Images,
    spent: float = 0.0,
) -> SearchConfig:
    """The configuration with sizes that fill the budget, of which `spent` is gone already.

    The learning rate falls once over the epochs that there are: restarts would end anywhere in a cycle.
    Raises UserError where the budget is too small for any size.
    """
    left = budget.amount - spent
    if config.weights.schedule == "cosine-restarts":
        config = dataclasses.replace(config, weights=dataclasses.replace(config.weights, schedule="cosine"))
    sized = config
    for scale in DERIVE_SCALES:
        sized = dataclasses.replace(config, derive=_scaled(config.derive, scale))
        deriving = rates.of(derive_work(sized, images))
        if deriving <= DERIVE_SHARE * budget.amount or scale == DERIVE_SCALES[-1]:
            sized = _filled(sized, left - deriving, rates, images)
            if rates.of(total_work(sized, images)) <= left:
                return sized
    least = 1.1 * (spent + rates.of(total_work(sized, images)))
    unit = f"{math.ceil(least)}s" if budget.is_time else f"flops={least:.1e}"
    raise UserError(
        f"the budget must be large enough for {MIN_EPOCHS} short epochs and the choice of an architecture, here "
        f"about {unit}, but got {config.budget}; give a larger --budget or a smaller space"
    )


def _filled(config: SearchConfig, room: float, rates: Rates, images: Images) -> SearchConfig:
    """As many epochs as there is room for; shorter ones where it is not enough for the fewest, if need be too much."""
    warm = warmup_share(config)

    def fits(length: SearchConfig, epochs: int) -> bool:
        return rates.of(epochs_work(resized(length, epochs, warm), 0, epochs, images)) <= room

    if not fits(config, MIN_EPOCHS):
        whole = config
        share = _largest(lambda n: n <= 1000 and fits(_shortened(whole, n / 1000, images.train), MIN_EPOCHS), 0)
        config = _shortened(config, share / 1000, images.train)
    return resized(config, _largest(lambda n: fits(config, n), MIN_EPOCHS), warm)


def resized(config: SearchConfig, epochs: int, share: float) -> SearchConfig:
    """The configuration with another number of epochs, and a share of them as warm-up."""
    warmup = min(round(share * epochs), epochs - 1)
    return with_sizes(config, {**sizes(config), "epochs": epochs, "warmup_epochs": warmup})


def replanned(state: Search, rates: Rates) -> SearchConfig:
    """The configuration with sizes that keep to the time budget, judging by the time that the work so far took.

    It is the present one while that is expected to end near enough to the budget. Else the number of
    epochs changes, the warm-up with it while it lasts, and choosing the architecture becomes cheaper where
    it would take more than its share.
    """
    config, share = state.config, warmup_share(state.initial)
    assert config.budget is not None
    budget_s = parse_budget(config.budget).amount
    images = state.images
    factor = (state.elapsed_s - state.overhead_s) / rates.of(state.done)
    warm = state.warmup
    learned = not config.learns or state.epoch > config.controller.warmup_epochs

    def rest_s(sized: SearchConfig) -> float:
        work = epochs_work(sized, state.epoch, sized.epochs, images) + derive_work(sized, images)
        return factor * rates.of(work)

    if abs(state.elapsed_s + rest_s(config) - budget_s) <= TOLERANCE * budget_s:
        return config
    for scale in DERIVE_SCALES:
        cheaper = dataclasses.replace(config, derive=_scaled(config.derive, scale))
        if factor * rates.of(derive_work(cheaper, images)) <= DERIVE_SHARE * budget_s:
            break

    def sized(epochs: int) -> SearchConfig:
        warmup = min(max(round(share * epochs), state.epoch), epochs - 1) if warm else config.controller.warmup_epochs
        return with_sizes(cheaper, {**sizes(cheaper), "epochs": epochs, "warmup_epochs": warmup})

    unsplit = split_epoch(config) is not None and state.supernet.splits is None
    least = state.epoch if learned and not unsplit else state.epoch + 1
    return sized(_largest(lambda n: state.elapsed_s + rest_s(sized(n)) <= budget_s, least))


def describe(config: SearchConfig, train_images: int) -> str:
    """The sizes of a search in one line."""
    derive = config.derive
    near = f" and {(derive.rounds - 1) * derive.samples} neighbours" if derive.rounds > 1 else ""
    again = f" in each of {derive.rounds} rounds" if derive.rounds > 1 else ""
    early = ", ".join(map(str, derive.rungs[:-1]))
    halved = f", of which one in {derive.halving_eta} goes on after {early}" if early else ""
    return (
        f"{counted(config.epochs, 'epoch')} ({config.controller.warmup_epochs} of warm-up) of "
        f"{weight_steps(config, train_images)} training steps and {config.controller.updates} controller updates; "
        f"{derive.samples} + {derive.random} architectures{near} to choose from, "
        f"{counted(derive.finalists, 'finalist')}{again} trained for {counted(derive.finalist_epochs, 'epoch')}{halved}"
    )


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

    alone = scale <= 0.2  # a finalist's training is the largest piece of all: better one than too few epochs

    return dataclasses.replace(
        derive,
        samples=scaled(derive.samples, 8),
        random=scaled(derive.random, 8),
        effects_from=scaled(derive.effects_from, 200),
        finalists=scaled(derive.finalists, 1 if alone else 2),
        finalist_rounds=scaled(derive.finalist_rounds, 1),
        finalist_epochs=scaled(derive.finalist_epochs, 1 if scale else 0),
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
