"""A search on a device whose memory holds fewer architectures than it would like to run together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from enas import checkpoint, runtime
from enas import supernet as supernet_module
from enas.budget import plan
from enas.data import DataSet, load
from enas.errors import UserError
from enas.evaluators import SharedWeights
from enas.graph import MergedGraph
from enas.network import Network
from enas.phases import Search
from enas.records import FinalistRecord
from enas.runs import RunFolder
from enas.runtime import GIB, Runtime
from enas.searching import search
from enas.supernet import Supernet
from tests.test_search import assert_same_run, comparable, tiny
from tests.toys import images, macro, random_archs, seeded

FOUR = ("weights.architectures_per_step=4", "epochs=2", "derive.finalist_epochs=0")
CPU = Runtime(torch.device("cpu"), torch.float32, 1)


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(tiny().data, torch.device("cpu"))


def limit(monkeypatch: pytest.MonkeyPatch, training: int, scoring: int) -> list[tuple[str, int]]:
    """Let passes of more architectures run out of memory. Returns a log of all passes."""
    passes: list[tuple[str, int]] = []
    original = Supernet.run

    def limited(self: Supernet, x: Tensor, merged: MergedGraph, noise: Any = None) -> Tensor:
        kind, most = ("training", training) if noise is not None else ("scoring", scoring)
        passes.append((kind, len(merged.outputs)))
        if len(merged.outputs) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, x, merged, noise)

    monkeypatch.setattr(Supernet, "run", limited)
    return passes


def run(
    path: Path, data: DataSet, prepare: Callable[[Search], None] = lambda state: None, stop_after: int | None = None
) -> RunFolder:
    run_config, folder = tiny(*FOUR), RunFolder(path)
    if not (path / "config.json").exists():
        folder.create(run_config)
    original = Search.restore

    def restored(self: Search) -> None:
        original(self)
        prepare(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Search, "restore", restored)
        for count, _ in enumerate(search(run_config, data, folder, runtime.start(run_config)), start=1):
            if count == stop_after:
                break
    return folder


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, digits: DataSet) -> tuple[RunFolder, list[tuple[str, int]]]:
    """A search that finds out what fits, and its passes."""
    with pytest.MonkeyPatch.context() as patch:
        passes = limit(patch, training=2, scoring=3)
        return run(tmp_path_factory.mktemp("limited") / "run", digits), passes


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, digits: DataSet, limited: tuple[RunFolder, Any]) -> RunFolder:
    """A search that knows that from the beginning."""
    chunk, memory = checkpoint.load(limited[0].checkpoint)["limits"]

    def small(state: Search) -> None:
        state.chunk, state.evaluator.memory = chunk, memory

    return run(tmp_path_factory.mktemp("known") / "run", digits, small)


def test_passes_are_halved_until_they_fit(limited: tuple[RunFolder, list[tuple[str, int]]], known: RunFolder) -> None:
    folder, passes = limited
    assert_same_run(folder, known)
    records = [record for record in folder.records() if record["kind"] == "epoch"]
    assert [record["training_chunk"] for record in records] == [2, 2]
    assert len({record["scoring_memory_gib"] for record in records}) == 1 and records[0]["scoring_memory_gib"] < 0.1
    # tried once each; the supernet learns nothing twice
    assert [n for kind, n in passes if kind == "training" and n > 2] == [4]
    assert [n for kind, n in passes if kind == "scoring" and n > 3] == [6]
    assert checkpoint.load(folder.checkpoint)["limits"] == [2, int(records[0]["scoring_memory_gib"] * GIB)]


def test_the_result_is_that_of_large_passes(tmp_path: Path, digits: DataSet, known: RunFolder) -> None:
    """But for rounding: sums have another order. Two epochs, of which the controller rests in the first."""
    large = run(tmp_path / "large", digits, stop_after=1).records()[0]
    small_passes = known.records()[0]
    assert (large["training_chunk"], large["scoring_memory_gib"]) == (4, 2)
    for name in ("train_loss", "grad_norm", "learning_rate"):
        assert small_passes[name] == pytest.approx(large[name], rel=1e-3), name
    assert small_passes["train_accuracy"] == pytest.approx(large["train_accuracy"], abs=0.005)
    assert small_passes["choice_shares"] == large["choice_shares"]


def test_what_fits_is_remembered(
    tmp_path: Path, digits: DataSet, known: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        limit(patch, training=2, scoring=3)
        run(tmp_path / "run", digits, stop_after=1)
    passes = limit(monkeypatch, training=4, scoring=8)  # now there would be room
    assert comparable(run(tmp_path / "run", digits).records()) == comparable(known.records())
    assert max(n for kind, n in passes if kind == "training") == 2


@pytest.mark.parametrize(
    ("training", "scoring", "match"),
    [
        (0, 8, "memory for a training step of one architecture, but it ran out; the last checkpoint is intact"),
        (4, 0, "memory to score one architecture, but it ran out; the last checkpoint is intact"),
    ],
)
def test_no_room_for_one_architecture_is_one_line_for_the_user(
    tmp_path: Path, digits: DataSet, monkeypatch: pytest.MonkeyPatch, training: int, scoring: int, match: str
) -> None:
    passes = limit(monkeypatch, training, scoring)
    with pytest.raises(UserError, match=match):
        run(tmp_path / "run", digits)
    failing = [n for kind, n in passes if (kind == "training") == (training == 0)]
    assert failing == sorted(failing, reverse=True) and failing[0] > failing[-1] == 1


def test_the_measurement_before_a_search_finds_what_fits_too(
    tmp_path: Path, digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = limit(monkeypatch, training=2, scoring=3)
    run_config = tiny(*FOUR)
    assert plan(run_config, digits, RunFolder(tmp_path / "run"), runtime.start(run_config)).forecast_s > 0
    assert [n for kind, n in passes if kind == "training" and n > 2] == [4]
    limit(monkeypatch, training=0, scoring=3)
    with pytest.raises(UserError, match="memory for a training step of one architecture"):
        plan(run_config, digits, RunFolder(tmp_path / "run"), runtime.start(run_config))


def test_a_finalist_that_does_not_fit_does_not_end_the_search(
    tmp_path: Path, digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, steps = Network.tapped, 0

    def limited(self: Network, x: Tensor, noise: Any, tap: bool) -> Any:
        nonlocal steps
        steps += 1
        if steps == 3:  # in the first finalist's training
            raise torch.OutOfMemoryError
        return forward(self, x, noise, tap)

    monkeypatch.setattr(Network, "tapped", limited)
    folder, run_config = RunFolder(tmp_path / "run"), tiny("epochs=2")
    folder.create(run_config)
    records = list(search(run_config, digits, folder, runtime.start(run_config)))
    assert [record.standalone_accuracy is None for record in records if isinstance(record, FinalistRecord)] == [
        True,
        False,
    ]
    finalists = checkpoint.read_json(folder.result)["finalists"]
    assert finalists[0]["standalone_accuracy"] is not None and finalists[1]["standalone_accuracy"] is None


def test_scores_are_those_of_large_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    space = macro(3)
    supernet, archs = Supernet(space, seeded()), random_archs(space, 7)
    batches = [(images(6, (3, 8, 8), seed=i), torch.arange(6) % 5) for i in range(2)]
    expected = SharedWeights(supernet, space, CPU).score(archs, batches)
    released: list[None] = []
    monkeypatch.setattr(Runtime, "release_memory", lambda self: released.append(None))
    # together, as on a GPU: then half the architectures take about half the memory
    monkeypatch.setitem(supernet_module.CONCAT_BELOW, "cpu", 1 << 40)
    passes = limit(monkeypatch, training=0, scoring=3)
    evaluator = SharedWeights(supernet, space, CPU)
    scores = evaluator.score(archs, batches)
    torch.testing.assert_close(scores.loss, expected.loss, rtol=1e-5, atol=1e-6)
    assert torch.equal(scores.accuracy, expected.accuracy)
    assert passes[0] == ("scoring", 7) and len(released) < len([n for _, n in passes if n > 1])
    assert evaluator.memory < GIB and sum(n for _, n in passes if n <= 3) == 2 * 7
