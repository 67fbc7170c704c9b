"""How often the host waits for the device within a phase: on a GPU counted by torch; anywhere, reads of single
numbers, of which each would be a wait."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from enas.config import ControllerConfig, DataConfig, MacroOptions, SearchConfig, WeightsConfig
from enas.data import load
from enas.phases import Search
from enas.runs import RunFolder
from enas.runtime import start
from enas.search_checkpoint import Within

FEW, MANY = 3, 9  # training steps or architectures


def a_search(folder: Path, device: str) -> Search:
    config = SearchConfig(
        device=device,
        data=DataConfig(name="digits"),
        space=MacroOptions(layers=3, width=4),
        weights=WeightsConfig(batch_size=8, steps=FEW),
        controller=ControllerConfig(updates=1, architectures_per_update=4, batch_size=8),
    )
    runtime = start(config)
    return Search(config, load(config.data, runtime.device), RunFolder(folder), runtime)


def trained(search: Search, steps: int) -> None:
    weights = dataclasses.replace(search.config.weights, steps=steps)
    search.config, search.within = dataclasses.replace(search.config, weights=weights), Within()
    search.epoch += 1  # whose architectures are not drawn yet
    search.train_shared_weights()


def scored(search: Search, count: int) -> None:
    archs = search.searcher.sample(count, search.draws("waits"))
    search.evaluator.score(archs, [search.validation_batch(8, "waits")])


PHASES = pytest.mark.parametrize("phase", [trained, scored])


@PHASES
def test_no_number_is_read_for_each_step(
    phase: Callable[[Search, int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, reads = a_search(tmp_path, "cpu"), []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu"):
        original = getattr(torch.Tensor, name)

        def counted(self: torch.Tensor, *args: object, original: Callable[..., object] = original) -> object:
            reads.append(1)
            return original(self, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    counts = []
    for size in (FEW, MANY):
        reads.clear()
        phase(search, size)
        counts.append(len(reads))
    assert counts[0] == counts[1] > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@PHASES
def test_gpu_waits_do_not_grow_with_the_work(phase: Callable[[Search, int], None], tmp_path: Path) -> None:
    search = a_search(tmp_path, "cuda")
    phase(search, MANY)  # the first calls load kernels and make constants
    counts = []
    for size in (FEW, MANY):
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                phase(search, size)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        counts.append(sum("synchroniz" in str(warning.message) for warning in caught))
    assert counts[0] == counts[1]
