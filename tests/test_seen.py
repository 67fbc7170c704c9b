"""Shared weights that see smaller images than finalists do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from enas import config, runtime, spaces
from enas.config import DataConfig, SearchConfig
from enas.cost import cost
from enas.data import DataSet, load, normalise, resize, split
from enas.errors import UserError
from enas.phases import Search
from enas.plan import Images, total_work
from enas.runs import RunFolder, identity
from enas.searching import search
from enas.seen import seen, space_seen
from tests.test_search import assert_same_run, run, tiny
from tests.toys import macro

SMALL = "weights.image_size=8"
ALL = ("derive.criterion=vote", "derive.batch_size=300")  # of the validation images in one batch


@pytest.fixture(scope="module")
def larger() -> DataSet:
    """The digits, 16 pixels wide."""
    return load(DataConfig(name="digits", image_size=16, cutout=4), torch.device("cpu"))


def wide(*more: str) -> SearchConfig:
    return tiny("data.image_size=16", "data.cutout=4", *more)


@pytest.fixture(scope="module")
def small_run(larger: DataSet, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(tmp_path_factory.mktemp("small") / "run", larger, wide(SMALL, *ALL))


def test_smaller_images(larger: DataSet) -> None:
    train, validation = split(larger.train, 0.25, 0, classes=larger.classes)
    as_they_are = seen(larger, train, validation, None)
    assert as_they_are == seen(larger, train, validation, 16)
    assert as_they_are.train is train and as_they_are.augmentation is larger.augmentation and as_they_are.larger == 1
    found = seen(larger, train, validation, 8)
    assert torch.equal(found.train.images, resize(train.images, 8)) and found.train.labels is train.labels
    assert torch.equal(found.validation.images, resize(validation.images, 8))
    assert found.shape == (1, 8, 8) and found.larger == 4
    assert larger.augmentation.crop_padding == 2 and larger.augmentation.cutout == 4
    assert found.augmentation == dataclasses.replace(larger.augmentation, crop_padding=1, cutout=2)
    assert seen(larger, train, validation, 12).larger == 2  # 16 / 9


def test_larger_images_are_none(larger: DataSet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="image_size must be at most the images' 16 pixels, but got 17"):
        run(tmp_path / "run", larger, wide("weights.image_size=17"))


def test_scores_are_of_small_images_and_costs_of_large_ones(small_run: RunFolder, larger: DataSet) -> None:
    run_config = wide(SMALL, *ALL)
    state = Search(run_config, larger, small_run, runtime.start(run_config))
    state.read_checkpoint()
    validation = resize(state.validation.images, 8)
    batch = normalise(validation, larger.mean, larger.std), state.validation.labels
    small = spaces.build(run_config.space, (1, 8, 8), 10)
    result = json.loads(small_run.result.read_text())
    for row in result["finalists"]:
        arch = spaces.from_json(row["arch"])
        with torch.inference_mode():
            logits = state.supernet(batch[0], [small.graph(arch)])
        assert row["proxy_accuracy"] == pytest.approx((logits[0].argmax(1) == batch[1]).float().mean().item())
        assert row["macs"] == cost(state.space.graph(arch)).macs != cost(small.graph(arch)).macs
        assert 0 <= row["standalone_accuracy"] <= 1


def test_operations_are_those_of_each_size(small_run: RunFolder, larger: DataSet) -> None:
    records = small_run.records()
    macs = {row["text"]: row["macs"] for row in json.loads(small_run.result.read_text())["finalists"]}
    before = next(record["flops"] for record in records if record["kind"] == "derive")
    first = next(record for record in records if record["kind"] == "finalist")
    train, validation = 7 * 128, 299
    assert first["flops"] - before == 2 * (3 * train + validation) * macs[first["arch"]]
    state = Search(wide(SMALL), larger, small_run, runtime.start(wide(SMALL)))
    images = torch.zeros(2, 1, 8, 8)
    arch = state.curriculum.of(0)[0]
    list(state.model(images, 0))
    small = spaces.build(state.config.space, (1, 8, 8), 10)
    both = sum(cost(small.graph(other)).macs for other in state.curriculum.of(0))
    assert state.macs(arch) == cost(small.graph(arch)).macs and state.training_macs == 3 * 2 * both


def test_work_is_planned(larger: DataSet, tmp_path: Path) -> None:
    run_config, done = wide(SMALL), []
    folder = RunFolder(tmp_path / "run")
    folder.create(run_config)
    list(search(run_config, larger, folder, runtime.start(run_config), done.append))
    state = Search(run_config, larger, folder, runtime.start(run_config))
    assert state.images == Images(898, 299, 4)
    planned = total_work(run_config, state.images).units
    assert 0.9 * planned < sum(done) <= planned
    assert planned > 1.5 * total_work(run_config, Images(898, 299)).units  # finalists' images are four times as large


def test_a_run_goes_on(small_run: RunFolder, larger: DataSet, tmp_path: Path) -> None:
    run_config = wide(SMALL, *ALL)
    run(tmp_path / "run", larger, run_config, stop_after=2)
    assert_same_run(run(tmp_path / "run", larger, run_config), small_run)


def test_others_take_the_weights_only_at_their_size(small_run: RunFolder, larger: DataSet, tmp_path: Path) -> None:
    source = f"weights.source={small_run.path}"
    run(tmp_path / "same", larger, wide(SMALL, source))
    with pytest.raises(UserError, match="but its settings of data are others"):
        run(tmp_path / "other", larger, wide(source))


def test_runs_before_this_setting_go_on() -> None:
    assert "weights.image_size" not in identity(tiny(), "images")["settings"]
    without = json.loads(identity(tiny(), "images")["settings"])["weights"]
    given = json.loads(identity(wide(SMALL), "images")["settings"])["weights"]
    assert "image_size" not in without and given["image_size"] == 8


def test_a_space_must_stay_the_same(larger: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = split(larger.train, 0.25, 0, classes=larger.classes)
    small, space = seen(larger, train, validation, 8), macro(3, (1, 16, 16))
    assert space_seen(space, small).input_shape == (1, 8, 8)
    assert space_seen(space, seen(larger, train, validation, None)) is space
    monkeypatch.setattr(spaces, "build", lambda options, shape, classes: macro(4, shape))
    with pytest.raises(UserError, match="macro must have the same decisions for images of 8 pixels"):
        space_seen(space, small)


def test_a_small_enough_space(larger: DataSet, tmp_path: Path) -> None:
    options = config.update(wide("weights.image_size=4"), {"space": {"layers": 12}})
    run(tmp_path / "run", larger, options, stop_after=1)
