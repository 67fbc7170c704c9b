"""Training the finalists, the last step of a search with shared weights: the best few by proxy, each on its own.

They have one recipe, one seed and so the same images in the same order: they differ in their architecture alone. Each
starts from weights of its own, or from the shared ones (`derive.finalist_weights`), which fit: finalists have the
searched size. They are compared by their accuracy on the validation images, or by their mean loss in training
(`derive.finalist_criterion`): how fast a network learns tells in a few epochs how well it will do (Ru et al. 2021,
"Speedy Performance Estimation for Neural Architecture Search"), and is measured on all training images.

With successive halving (`derive.halving_eta`, enas/halving.py) all of them train to the first rung, the best to the
next one, and so on. The learning rate follows one cycle over all of `derive.finalist_epochs`, wherever a finalist is
stopped, as the children of full training have theirs (enas/evaluators/full_training.py). So accuracies at an early rung
are noisy and far below what they would come to, as the rate is high there; but they are compared at one point of one
course, after the same images. In return no epoch is spent on anything else than the training that decides in the end:
who goes on comes to the very accuracy that it would have had without halving. With a course of its own for each rung
they would be judged with an annealed rate, and then be heated up again, to another end. `derive.halving_first` keeps
the first look from coming too early.

There may be further rounds (`derive.finalist_rounds`). The first finalists are the best of those that were sampled, and
what is better is mostly near them: local search is hard to beat in spaces like these (White et al. 2021, "Exploring the
Loss Landscape in Neural Architecture Search"). Here the shared weights choose which neighbours are worth a training.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from enas import halving, searchers, spaces
from enas.config import FINALISTS_SIZE, PARENTS, DeriveConfig, SgdConfig, StandaloneConfig, WeightsConfig
from enas.cost import cost
from enas.data import DataSet, ImageSet
from enas.graph import Graph, signature
from enas.network import inherit
from enas.phases import Search
from enas.plan import TRAINING_COST, Work
from enas.records import FinalistRecord
from enas.runtime import Runtime, derived_seed
from enas.seen import Seen, resized
from enas.spaces import Architecture
from enas.standalone import OutOfMemory, Standalone
from enas.supernet import Supernet
from enas.training import UNLIMITED

TRIES = 20  # draws of a neighbour for each one that is wanted: many are there already, or beyond a limit
NO_FIGURES: dict[str, float | None] = {"standalone_accuracy": None, "training_loss": None}  # not trained, or failed


def train(state: Search) -> Iterator[FinalistRecord]:
    """Train the finalists in `state.derived`, those of the last round, from rung to rung; continues where they stand.
    Yields each at each rung.

    A finalist's `rungs` say after how many epochs it had which accuracy and training loss; its `standalone_accuracy`
    and `training_loss` are the last of them: None without training, and where it failed.
    """
    derive, finalists = state.config.derive, state.derived["finalists"]
    images = state.seen_by_finalists() if derive.finalist_epochs else state.seen
    number = last_round(state)
    going_on = [place for place, finalist in enumerate(finalists) if finalist.get("round", 1) == number]
    for rung, until in enumerate(derive.rungs):
        for place in going_on:
            finalist = finalists[place]
            done: list[dict[str, Any]] = finalist.setdefault("rungs", [])
            if len(done) > rung:
                continue
            found = _train_to(state, images, place, until)
            done.append({"epochs": until, **found})
            finalist |= found
            record = FinalistRecord(
                rank=place + 1,
                round=number,
                arch=finalist["text"],
                proxy_accuracy=finalist["proxy_accuracy"],
                rung=rung,
                epochs=until,
                standalone_accuracy=found["standalone_accuracy"],
                training_loss=found["training_loss"],
                flops=state.flops,
                elapsed_s=state.elapsed_s,
            )
            state.advance(record)
            state.save()
            yield record
        if until < derive.finalist_epochs:
            scores = [worth(finalists[place]["rungs"][rung], derive.finalist_criterion) for place in going_on]
            going_on = [going_on[i] for i in halving.promoted(scores, derive.halving_eta)]
        state.paused = {place: paused for place, paused in state.paused.items() if place in going_on}


def worth(rung: Mapping[str, Any], finalist_criterion: str) -> float | None:
    """What finalists are compared by at a rung, the greater the better; None where the training failed."""
    if rung["standalone_accuracy"] is None:
        return None
    return float(rung["standalone_accuracy"] if finalist_criterion == "accuracy" else -rung["training_loss"])


def standing(
    finalist: Mapping[str, Any], criterion: str, finalist_criterion: str = "accuracy"
) -> tuple[float, float, float]:
    """What finalists are ordered by, the best with the greatest: how far it came, how good it was there, and its
    criterion, by which it became a finalist.

    Figures of two rungs do not compare, but who came further was better where both were. Who failed comes last, however
    far that was.
    """
    value = worth(finalist["rungs"][-1], finalist_criterion) if finalist["rungs"] else None
    if value is None:
        return -1.0, -math.inf, finalist[criterion]
    return finalist["rungs"][-1]["epochs"], value, finalist[criterion]


def last_round(state: Search) -> int:
    """The number of the round that the last finalists are of, from 1, where nothing says so."""
    return int(state.derived["finalists"][-1].get("round", 1))


def neighbours(state: Search) -> list[Architecture]:
    """What finalists of a further round are chosen from: different networks that no finalist is, one or two changes
    away from one of the best so far, among which none has failed, unless all have; `derive.samples`, or fewer where so
    many are not found."""
    derive, rows = state.config.derive, state.derived["finalists"]
    by = state.derived["criterion"], derive.finalist_criterion
    well = [row for row in rows if row["standalone_accuracy"] is not None] or rows
    best = sorted(well, key=lambda row: standing(row, *by), reverse=True)[:PARENTS]
    parents, known = ([spaces.from_json(row["arch"]) for row in some] for some in (best, rows))
    taken = {signature(state.evaluator.graph(arch)) for arch in known}
    draws = state.draws(f"neighbours of {len(rows)} finalists")
    found: dict[str, Architecture] = {}
    met: set[Architecture] = set()
    for _ in range(TRIES * derive.samples):
        if len(found) == derive.samples:
            break
        state.keeper.tick()
        arch = parents[searchers.below(len(parents), draws)]
        for _ in range(1 + searchers.below(2, draws)):
            arch = searchers.mutated(state.space, arch, draws)
        if arch in met:
            continue
        met.add(arch)
        network = signature(state.evaluator.graph(arch))
        if network not in taken and spaces.allows(state.space, arch):
            found.setdefault(network, arch)
    return list(found.values())


def recipe(weights: WeightsConfig, derive: DeriveConfig) -> StandaloneConfig:
    """The settings of the shared weights, but for a single cycle and what finalists have of their own."""
    settings = {f.name: getattr(weights, f.name) for f in dataclasses.fields(SgdConfig)}
    own = {"batch_size": derive.finalist_batch_size, "lr_max": derive.finalist_lr_max}
    settings |= {name: value for name, value in own.items() if value is not None}
    # a failed one never ends the run
    return StandaloneConfig(**settings | {"schedule": "one-cycle", "max_nonfinite": UNLIMITED})


def new_training(
    graph: Graph,
    data: DataSet,
    images: ImageSet,
    sgd: StandaloneConfig,
    epochs: int,
    seed: int,
    runtime: Runtime,
    supernet: Supernet | None = None,
    routed: Graph | None = None,
) -> Standalone:
    """A finalist's training before its first step.

    images: the part of the data's that it trains on; sgd: `recipe`'s; seed: the run's. supernet: what its weights
    start from, if not from their own; routed: the graph with the keys that they have there (default: the same).
    """
    training = Standalone(graph, data, images, sgd, epochs, derived_seed(seed, "finalist"), runtime)
    if supernet is not None:
        inherit(training.network, supernet, routed)
    return training


def _train_to(state: Search, images: Seen, place: int, until: int) -> dict[str, float | None]:
    """A finalist's accuracy on the validation images after epoch `until`, and its mean loss in that epoch; None without
    training or where it failed."""
    config, arch = state.config, spaces.from_json(state.derived["finalists"][place]["arch"])
    epochs = config.derive.finalist_epochs
    if epochs == 0:
        return NO_FIGURES
    graph = resized(state.space.graph(arch), images.shape, FINALISTS_SIZE)
    macs = cost(graph).macs
    supernet = state.shared if config.derive.finalist_weights == "inherited" else None
    routed = None if supernet is None else supernet.routed(arch, graph)
    data = dataclasses.replace(state.data, augmentation=images.augmentation)
    sgd = recipe(config.weights, config.derive)
    training = new_training(graph, data, images.train, sgd, epochs, config.seed, state.runtime, supernet, routed)
    if place in state.paused:
        training.load_state_dict(state.paused.pop(place))
    state.finalist = place, training

    def after_step(count: int) -> None:
        state.training_macs += TRAINING_COST * count * macs
        state.report(Work(training=count) * state.images.finalist)
        state.keeper.tick()

    try:
        while training.epoch < until:
            stats = training.train_epoch(after_step)
        scores = training.score(images.validation)
    except OutOfMemory:
        return NO_FIGURES
    finally:
        state.finalist = None
    state.evaluator.macs += scores.images * macs
    state.report(Work(scoring=scores.images) * state.images.finalist)
    if bool(scores.failed.any()) or math.isnan(stats.loss):  # of an epoch without a finite step
        return NO_FIGURES
    if until < epochs:
        state.paused[place] = training.state_dict()
    return {"standalone_accuracy": scores.accuracy.item(), "training_loss": stats.loss}
