"""The search: two alternating phases an epoch (ENAS section 2.2), then the choice of the final architecture.

`search` yields records and writes the run folder; who prints or plots is not its business.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from torch import Tensor

from enas import searchers
from enas.config import SearchConfig
from enas.data import DataSet
from enas.derive import derive
from enas.phases import OnWork, Search
from enas.plan import total_work
from enas.records import Record
from enas.runs import RunFolder
from enas.runtime import Runtime, generator
from enas.training import seconds_per_step

PROBES = 8  # architectures that the forecast runs


def search(
    config: SearchConfig,
    data: DataSet,
    folder: RunFolder,
    runtime: Runtime,
    on_work: OnWork = lambda units: None,
    on_resume: OnWork = lambda units: None,
) -> Iterator[Record]:
    """Run or continue the search in `folder`; yields each record after it is on the disk.

    Continues from the folder's checkpoint where there is one, and on the CPU exactly as if it had
    never stopped; when this call returns, the folder's records are those that the checkpoint knows.
    `on_work` hears of finished work, `on_resume` of what an earlier session did, both in forward passes
    of one image. Raises UserError where the checkpoint does not belong to this configuration or data,
    or where the disk is full.
    """
    state = Search(config, data, folder, runtime, on_work, on_resume)
    state.restore()
    return _epochs(state)


def _epochs(state: Search) -> Iterator[Record]:
    while state.epoch < state.config.epochs:
        if state.weights_stats is None:
            state.weights_stats = state.train_shared_weights()
            state.save()
        record = state.finish_epoch(state.weights_stats, state.train_searcher())
        state.advance(record)
        yield record
    yield from derive(state)


def forecast_s(config: SearchConfig, data: DataSet, folder: RunFolder, runtime: Runtime) -> float:
    """Seconds that the whole search will take, from a few steps with throw-away weights."""
    state = Search(config, data, folder, runtime)
    archs = searchers.uniform(state.space, PROBES, generator(config.seed, "forecast"))
    graphs = [state.evaluator.graph(arch) for arch in archs]
    width = min(PROBES, config.weights.architectures_per_step)
    training_batch = state.validation_batch(config.weights.batch_size)
    scoring_batch = state.validation_batch(config.controller.batch_size)

    def model(images: Tensor, step: int) -> Tensor:
        first = step * width % PROBES
        return state.supernet(images, (graphs + graphs)[first : first + width])  # type: ignore[no-any-return]

    step_s = seconds_per_step(model, state.supernet, training_batch, -(-PROBES // width), runtime)
    start = time.perf_counter()
    state.evaluator.score(archs, [scoring_batch])
    scoring_s = time.perf_counter() - start
    work = total_work(config, len(state.train), len(state.validation))
    return work.training * step_s / (width * len(training_batch[0])) + work.scoring * scoring_s / (
        PROBES * len(scoring_batch[0])
    )
