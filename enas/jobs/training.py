"""The two jobs that train: a search, and the training of one architecture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from enas import spaces
from enas.config import RetrainConfig, SearchConfig
from enas.jobs.doing import OnWork, Place, Ready
from enas.jobs.judging import judging
from enas.words import counted

if TYPE_CHECKING:
    from enas.interrupts import StopRequest
    from enas.records import Record
    from enas.tracking import Progress


def searching(place: Place[SearchConfig]) -> Ready[SearchConfig]:
    """One search, by whatever evaluator the configuration names."""
    from enas import budget
    from enas.plan import total_work
    from enas.records import EpochRecord, FinalistRecord
    from enas.searching import search

    if place.config.evaluator != "shared-weights":
        return judging(place)
    data, folder, runtime = place.images, place.folder, place.runtime
    space = spaces.build(place.config.space, data.input_shape, data.num_classes)
    plan = budget.plan(place.config, data, folder, runtime, place.began, sized=place.resuming)
    planned = plan.config
    if place.resuming:  # the configuration stays the one that the run began with, whatever became of its epochs
        planned = dataclasses.replace(planned, epochs=folder.planned_epochs(planned.epochs))
    epochs = planned.epochs
    work = total_work(planned, plan.images)
    warned = False

    def records(on_work: OnWork, on_resume: OnWork, stop: StopRequest) -> Iterator[Record]:
        return search(plan.config, data, folder, runtime, on_work, on_resume, stop, plan.rates, place.began)

    def show(record: Record, progress: Progress) -> None:
        nonlocal warned, epochs
        if isinstance(record, EpochRecord):
            if record.epochs != epochs:  # a time budget asked for more or fewer
                epochs = record.epochs
                progress.resize(total_work(dataclasses.replace(plan.config, epochs=epochs), plan.images).units)
            gap = record.controller_minus_random
            loss = f"loss {record.train_loss:.3f} " if math.isfinite(record.train_loss) else ""
            progress.show(
                f"epoch {record.epoch + 1}/{epochs} {loss}"
                f"proxy {record.controller_proxy_accuracy:.3f} minus random {gap.mean:+.3f} "
                f"entropy {record.entropy_share:.0%}"
            )
            if record.change:
                progress.say(f"epoch {record.epoch + 1}: {record.change}")
            if record.warning and not warned:
                warned = True  # every record has it; one line is enough here
                progress.say(f"warning: epoch {record.epoch + 1}: {record.warning}")
        elif isinstance(record, FinalistRecord):
            figures = record.standalone_accuracy, record.training_loss
            alone, lost = (math.nan if figure is None else figure for figure in figures)
            progress.show(f"finalist {record.rank} epoch {record.epochs} loss {lost:.3f} standalone {alone:.3f}")

    given = plan.config.budget
    return Ready(
        config=plan.config,
        space=space,
        name="search",
        headline=f"{space.name}: {spaces.size(space):.2g} architectures{_seen(plan.config)}",
        extent=counted(epochs, "epoch"),
        forecast_s=plan.rates.of(work),
        units=work.units,
        records=records,
        show=show,
        note=f"budget {given}: {budget.describe(planned, plan.images.train)}" if given is not None else None,
    )


def _seen(run_config: SearchConfig) -> str:
    sizes = {"shared weights": run_config.weights.image_size, "finalists": run_config.derive.finalist_image_size}
    return "".join(f", {who} on {size}x{size}" for who, size in sizes.items() if size is not None)


def retraining(place: Place[RetrainConfig]) -> Ready[RetrainConfig]:
    """One architecture, from scratch to the test set."""
    from enas.cost import cost
    from enas.data import training_images
    from enas.records import RetrainRecord
    from enas.retraining import forecast_s, network_space, retrain

    run_config, data, runtime = place.config, place.images, place.runtime
    space, arch = network_space(run_config, data)
    counts = cost(space.graph(arch))

    def records(on_work: OnWork, on_resume: OnWork, stop: StopRequest) -> Iterator[Record]:
        return retrain(run_config, data, place.folder, runtime, on_work, on_resume, stop)

    def show(record: Record, progress: Progress) -> None:
        if isinstance(record, RetrainRecord):
            progress.show(
                f"epoch {record.epoch + 1}/{run_config.epochs} loss {record.train_loss:.3f} "
                f"training accuracy {record.train_accuracy:.3f}"
            )

    return Ready(
        config=run_config,
        space=space,
        name="retrain",
        headline=f"{run_config.arch[:60]}: {counts.params:,} parameters, {counts.macs:,} MACs",
        extent=counted(run_config.epochs, "epoch"),
        forecast_s=forecast_s(run_config, data, runtime),
        units=run_config.epochs * training_images(len(data.train), run_config.sgd.batch_size),
        records=records,
        show=show,
    )
