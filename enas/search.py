"""The search: two alternating phases an epoch (ENAS section 2.2), then the choice of the final architecture.

`search` yields records and writes the run folder; who prints or plots is not its business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch

from enas import searchers
from enas.config import SearchConfig
from enas.data import DataSet
from enas.derive import derive
from enas.graph import Graph
from enas.phases import OnWork, Search
from enas.plan import total_work
from enas.records import Record
from enas.runs import RunFolder
from enas.runtime import Runtime, generator

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
    images, labels = state.validation_batch(config.weights.batch_size)
    width = config.weights.architectures_per_step
    batch = state.validation_batch(config.controller.batch_size)

    def train(steps: list[list[Graph]]) -> None:
        for step in steps:
            with runtime.autocast():
                logits = state.supernet(images, step)
            torch.nn.functional.cross_entropy(logits.float().mean(0), labels).backward()  # type: ignore[no-untyped-call]
            state.supernet.zero_grad(set_to_none=True)

    def seconds(call: Callable[[], object]) -> float:
        start = time.perf_counter()
        call()
        if runtime.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    steps = [graphs[i : i + width] for i in range(0, PROBES, width)]
    train(steps[:1])  # the first pass also pays for start-up
    training_s = seconds(lambda: train(steps)) / (PROBES * len(images))
    scoring_s = seconds(lambda: state.evaluator.score(archs, [batch])) / (PROBES * len(batch[0]))
    work = total_work(config, len(state.train), len(state.validation))
    return training_s * work.training + scoring_s * work.scoring
