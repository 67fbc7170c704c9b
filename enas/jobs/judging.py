"""The job of a search that judges each architecture by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from enas import spaces
from enas.config import SearchConfig
from enas.jobs.doing import OnWork, Place, Ready

if TYPE_CHECKING:
    from enas.interrupts import StopRequest
    from enas.records import Record
    from enas.tracking import Progress


def judging(place: Place[SearchConfig]) -> Ready[SearchConfig]:
    """One search with full training, or with a table."""
    from enas import evaluators
    from enas.generations import generations
    from enas.records import GenerationRecord
    from enas.runs import identity

    run_config = place.config
    evaluator = evaluators.build(run_config, place.data, place.folder, place.runtime)
    space = evaluator.space
    augmentation = "" if run_config.evaluator == "table" else place.images.augmentation
    run_identity = identity(run_config, evaluator.fingerprint, augmentation)

    def records(on_work: OnWork, on_resume: OnWork, stop: StopRequest) -> Iterator[Record]:
        return generations(
            run_config, space, evaluator, place.folder, place.runtime, run_identity, on_work, on_resume, stop
        )

    def show(record: Record, progress: Progress) -> None:
        if isinstance(record, GenerationRecord):
            best = math.nan if record.best_accuracy is None else record.best_accuracy
            reward = math.nan if record.reward is None else record.reward
            progress.show(
                f"{record.evaluations}/{record.planned} networks best {best:.4f} reward {reward:.4f} "
                f"entropy {record.entropy_share:.0%}"
            )

    return Ready(
        config=run_config,
        space=space,
        name="search",
        headline=f"{space.name}: {spaces.size(space):.2g} architectures",
        extent=f"{run_config.evaluations} evaluations",
        forecast_s=evaluator.forecast_s(run_config.evaluations),
        units=evaluator.work_units(run_config.evaluations),
        records=records,
        show=show,
    )
