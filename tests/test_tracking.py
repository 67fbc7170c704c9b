"""TensorBoard: pictures when something changed and while they cost little, settings with final figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from enas import config, spaces
from enas.records import Difference, EpochRecord, RetrainRecord, to_dict
from enas.spaces import SearchSpace
from enas.tracking import CHOICES_EVERY, TensorBoard
from tests.toys import macro, random_archs

SPACE = macro(3)
GAP = Difference(mean=0.2, low=0.1, high=0.3)
ARCHS = [spaces.to_text(SPACE, arch) for arch in random_archs(SPACE, 3)]


def epoch(number: int, best: str, elapsed_s: float = 1e6) -> dict[str, Any]:
    """An epoch's record, of a run in which pictures are cheap unless it says otherwise."""
    numbers = {
        field.name: 0.5
        for field in dataclasses.fields(EpochRecord)
        if field.name not in ("time_s", "elapsed_s", "epoch")
    }
    shares = spaces.choice_shares(SPACE, [spaces.from_text(best)])
    given: dict[str, Any] = {
        **numbers,
        "epoch": number,
        "warmup": False,
        "controller_minus_random": GAP,
        "choice_shares": shares,
        "best_arch": best,
        "warning": None,
        "change": None,
        "elapsed_s": elapsed_s,
    }
    return to_dict(EpochRecord(**given))


def search_result() -> dict[str, Any]:
    return {
        "kind": "search",
        "arch": spaces.from_text(ARCHS[0]).to_json(),
        "finalists": [{"standalone_accuracy": 0.75}, {"standalone_accuracy": 0.5}],
        "random_baseline": {"controller_minus_random": dataclasses.asdict(GAP)},
        "config": config.to_dict(config.PRESETS["quick"](None)[0]),
        "elapsed_s": 60.0,
    }


def written(
    path: Path, records: list[dict[str, Any]], result: dict[str, Any] | None = None, space: SearchSpace = SPACE
) -> EventAccumulator:
    """What TensorBoard reads; half of the records are from the past."""
    half = len(records) // 2
    with TensorBoard(path, records[:half], space) as board:
        for record in records[half:]:
            board.write(record)
        if result is not None:
            board.finish(result)
    return EventAccumulator(str(path), size_guidance={"images": 0}).Reload()


def steps(events: EventAccumulator, tag: str) -> list[int]:
    return [event.step for event in events.Images(tag)] if tag in events.Tags()["images"] else []


def test_the_best_architecture_is_drawn_when_it_is_another_one(tmp_path: Path) -> None:
    a, b, c = ARCHS
    events = written(tmp_path, [epoch(i, best) for i, best in enumerate([a, a, b, b, b, a, c])])
    assert steps(events, "architecture/best") == [0, 2, 5, 6]
    pictures = [event.encoded_image_string for event in events.Images("architecture/best")]
    assert len(set(pictures)) == 3 and pictures[0] == pictures[2]


def test_pictures_wait_until_they_cost_little(tmp_path: Path) -> None:
    """The first one is free; the next ones come when the run is so long that they do not matter."""
    a, b, c = ARCHS
    run = [(a, 0.0), (b, 0.0), (c, 1e-9), (a, 1e-9), (a, 1e6)]
    events = written(tmp_path, [epoch(i, best, elapsed_s) for i, (best, elapsed_s) in enumerate(run)])
    assert steps(events, "architecture/best") == [0, 1, 4]


def test_heat_maps_come_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    records = [epoch(i, ARCHS[0]) for i in range(2 * CHOICES_EVERY + 3)]
    events = written(tmp_path, records, search_result())
    assert steps(events, "choices") == [CHOICES_EVERY - 1, 2 * CHOICES_EVERY - 1, 2 * CHOICES_EVERY + 2]
    assert steps(events, "architecture/final") == [0]
    events = written(tmp_path, records[:CHOICES_EVERY], search_result())
    assert steps(events, "choices") == [CHOICES_EVERY - 1], "once, not twice"


def test_a_resumed_run_shows_the_same_pictures(tmp_path: Path) -> None:
    records = [epoch(i, ARCHS[i // 4]) for i in range(12)]
    whole = written(tmp_path / "whole", records, search_result())
    with TensorBoard(tmp_path / "twice", records[:7], SPACE) as board:
        board.write(records[7])
    again = written(tmp_path / "twice", records, search_result())
    for tag in whole.Tags()["images"]:
        left, right = whole.Images(tag), again.Images(tag)
        assert [(e.step, e.encoded_image_string) for e in left] == [(e.step, e.encoded_image_string) for e in right]
    assert again.Tags()["images"] == whole.Tags()["images"]


def hyperparameters(events: EventAccumulator) -> dict[str, Any]:
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    found = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in found.items()}


def test_settings_stand_beside_the_final_figures_of_a_search(tmp_path: Path) -> None:
    events = written(tmp_path, [epoch(0, ARCHS[0])], search_result())
    found = hyperparameters(events)
    assert (found["controller.lr"], found["weights.schedule"], found["space.name"]) == (3e-3, "cosine", "macro")
    assert "data.image_size" not in found, "it is none"
    final = {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"] if tag.startswith("final/")}
    assert final == pytest.approx(
        {"final/controller_minus_random": 0.2, "final/standalone_accuracy": 0.75, "final/elapsed_s": 60}
    )
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [], "one run, not two"


def test_a_finalist_that_was_not_trained_has_no_figure(tmp_path: Path) -> None:
    result = {**search_result(), "finalists": [{"standalone_accuracy": None}]}
    events = written(tmp_path, [epoch(0, ARCHS[0])], result)
    assert "final/standalone_accuracy" not in events.Tags()["scalars"]


def test_a_retraining_shows_its_architecture_and_its_test_accuracy(tmp_path: Path) -> None:
    fields = {field.name: 0.5 for field in dataclasses.fields(RetrainRecord) if field.name not in ("time_s", "epoch")}
    record: dict[str, Any] = {**fields, "epoch": 0}
    result = {
        "kind": "retrain",
        "arch": spaces.from_text(ARCHS[1]).to_json(),
        "config": config.to_dict(config.PRESETS["quick"](None)[1]),
        "test_accuracy": 0.9,
        "params": 1000,
        "macs": 5000,
        "elapsed_s": 3.0,
    }
    events = written(tmp_path, [to_dict(RetrainRecord(**record))], result)
    assert steps(events, "architecture/final") == [0] and steps(events, "choices") == []
    assert events.Scalars("final/test_accuracy")[0].value == pytest.approx(0.9)
    assert {"final/params", "final/macs"} <= set(events.Tags()["scalars"])
    assert hyperparameters(events)["sgd.momentum"] == 0.9
