"""Shared weights and finalists that see smaller images than there are."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from enas import budget, checkpoint, config, phases, plan, rates, runtime, spaces, splitting, standalone
from enas.audit import Audit
from enas.cli import main
from enas.config import DataConfig, SearchConfig
from enas.cost import cost
from enas.data import (
    Augmentation,
    DataSet,
    load,
    normalise,
    random_batch,
    resize,
    split,
    training_batches,
    training_images,
)
from enas.errors import UserError
from enas.graph import Graph, GraphBuilder
from enas.network import Network
from enas.phases import Search
from enas.plan import Images, total_work
from enas.runs import RunFolder, identity
from enas.runtime import generator
from enas.searching import search
from enas.seen import relative_cost, resized, seen
from enas.supernet import Supernet
from enas.zero_cost import untrained
from tests.test_search import TINY, assert_same_run, run, tiny
from tests.toys import images, random_archs, seeded

SMALL = "weights.image_size=8"
batches = training_batches
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
    assert as_they_are.train is train and as_they_are.augmentation is larger.augmentation
    found = seen(larger, train, validation, 8)
    assert torch.equal(found.train.images, resize(train.images, 8)) and found.train.labels is train.labels
    assert torch.equal(found.validation.images, resize(validation.images, 8))
    assert found.shape == (1, 8, 8)
    assert larger.augmentation.crop_padding == 2 and larger.augmentation.cutout == 4
    assert found.augmentation == dataclasses.replace(larger.augmentation, crop_padding=1, cutout=2)
    # what is there stays there
    assert Augmentation(1, True, 1, True).scaled(0.25) == Augmentation(1, True, 1, True)
    assert Augmentation(0, True, 0, True).scaled(0.25) == Augmentation(0, True, 0, True)


def test_larger_images_are_none(larger: DataSet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="image_size must be at most the images' 16 pixels, but got 17"):
        run(tmp_path / "run", larger, tiny("data.cutout=4", "weights.image_size=17"))
    with pytest.raises(UserError, match="image_size must be at most the images' 16 pixels, but got 17"):
        config.check(wide("weights.image_size=17"))  # before any image is read
    finalists, match = (
        "derive.finalist_image_size=17",
        "derive.finalist_image_size must be at most the images' 16 pixels",
    )
    with pytest.raises(UserError, match=match):
        run(tmp_path / "run", larger, tiny("data.cutout=4", finalists))
    with pytest.raises(UserError, match=match):
        config.check(wide(finalists))


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
    few = torch.zeros(2, 1, 8, 8)
    arch = state.curriculum.of(0)[0]
    list(state.curriculum.model(few, 0))
    small = spaces.build(state.config.space, (1, 8, 8), 10)
    both = sum(cost(small.graph(other)).macs for other in state.curriculum.of(0))
    assert state.macs(arch) == cost(small.graph(arch)).macs and state.training_macs == 3 * 2 * both


def test_work_is_planned(larger: DataSet, tmp_path: Path) -> None:
    run_config, done = wide(SMALL), []
    folder = RunFolder(tmp_path / "run")
    folder.create(run_config)
    list(search(run_config, larger, folder, runtime.start(run_config), done.append))
    state = Search(run_config, larger, folder, runtime.start(run_config))
    assert state.images[:2] == (898, 299) and state.images.larger == pytest.approx(4, rel=0.1)
    planned = total_work(run_config, state.images).units
    assert 0.9 * planned < sum(done) <= planned
    assert planned > 1.5 * total_work(run_config, Images(898, 299)).units  # finalists' images are four times as large


FINALISTS_SMALL = ("derive.finalist_image_size=8", "derive.finalist_epochs=2", "epochs=1", "controller.updates=1")


def test_finalists_on_small_images(larger: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They alone: each is trained, scored and counted at that size, while its costs stay those of its own size."""
    run_config = wide(*FINALISTS_SMALL, "controller.warmup_epochs=0")
    heard: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        standalone,
        "training_batches",
        lambda *given: heard.append((*given[0].images.shape, given[2])) or batches(*given),
    )
    done: list[int] = []
    folder = RunFolder(tmp_path / "run")
    folder.create(run_config)
    list(search(run_config, larger, folder, runtime.start(run_config), done.append))
    cropped = dataclasses.replace(larger.augmentation, crop_padding=1, cutout=2)
    assert set(heard) == {(898, 8, 8, 1, cropped)} and len(heard) == 2 * 2
    state = Search(run_config, larger, folder, runtime.start(run_config))
    state.read_checkpoint()
    assert state.seen.shape == (1, 16, 16) and state.seen_by_finalists().shape == (1, 8, 8)
    assert state.images.larger == 1 and state.images.finalist == pytest.approx(0.25, rel=0.1)
    planned = total_work(run_config, state.images).units
    assert 0.9 * planned < sum(done) <= planned
    found = json.loads(folder.result.read_text())["finalists"]
    macs = {
        row["text"]: cost(resized(state.space.graph(spaces.from_json(row["arch"])), (1, 8, 8))).macs for row in found
    }
    assert all(row["macs"] == cost(state.space.graph(spaces.from_json(row["arch"]))).macs for row in found)
    derived, *trained = (record for record in folder.records() if record["kind"] in ("derive", "finalist"))
    work = 2 * 3 * training_images(898, run_config.weights.batch_size) + 299
    assert trained[0]["flops"] - derived["flops"] == 2 * work * macs[trained[0]["arch"]]
    run(tmp_path / "again", larger, run_config, stop_after=3)
    assert_same_run(run(tmp_path / "again", larger, run_config), folder)


def test_all_of_it_together_goes_on(larger: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finalists on other images than shared weights, from copies of these, by an average, halved, by their loss."""
    monkeypatch.setattr(splitting, "SPLITTING_PASSES", 10)
    run_config = wide(
        *("weights.image_size=12", "weights.ema_decay=0.9", "weights.splits=1", "weights.batch_size=300", "epochs=2"),
        *("controller.warmup_epochs=1", "controller.updates=1", "derive.finalist_weights=inherited"),
        *("derive.finalist_image_size=8", "derive.finalist_criterion=training-loss", "derive.finalists=2"),
        *("derive.finalist_epochs=2", "derive.halving_eta=2", "derive.halving_first=1"),
    )
    whole = run(tmp_path / "whole", larger, run_config)
    run(tmp_path / "run", larger, run_config, stop_after=4)  # the first finalist at its first rung
    folder = run(tmp_path / "run", larger, run_config)
    assert_same_run(folder, whole)
    assert [len(row["rungs"]) for row in json.loads(folder.result.read_text())["finalists"]] == [2, 1]


def test_a_size_that_cannot_be_ends_before_the_search(tmp_path: Path) -> None:
    """Images of 64 pixels are halved before the network begins."""
    large = load(DataConfig(name="digits", image_size=128), torch.device("cpu"))
    run_config = tiny("data.image_size=128", "derive.finalist_image_size=4")
    with pytest.raises(UserError, match="derive.finalist_image_size must leave a pixel after every halving"):
        budget.plan(run_config, large, RunFolder(tmp_path), runtime.start(run_config))


def test_who_sees_the_same_images_shares_them(larger: DataSet, tmp_path: Path) -> None:
    run_config = wide(SMALL, "derive.finalist_image_size=8")
    state = Search(run_config, larger, RunFolder(tmp_path), runtime.start(run_config))
    assert state.seen_by_finalists() is state.seen and state.images.finalist == 1 < state.images.larger
    whole = Search(wide(SMALL), larger, RunFolder(tmp_path), runtime.start(wide(SMALL)))
    assert whole.seen_by_finalists().train is whole.train and whole.images.finalist == whole.images.larger


def test_a_run_goes_on(small_run: RunFolder, larger: DataSet, tmp_path: Path) -> None:
    run_config = wide(SMALL, *ALL)
    run(tmp_path / "run", larger, run_config, stop_after=2)
    assert_same_run(run(tmp_path / "run", larger, run_config), small_run)


def test_others_take_the_weights_only_at_their_size(small_run: RunFolder, larger: DataSet, tmp_path: Path) -> None:
    source = f"weights.source={small_run.path}"
    run(tmp_path / "same", larger, wide(SMALL, source))
    with pytest.raises(UserError, match="but its settings of weights.image_size are others; use enas derive"):
        run(tmp_path / "other", larger, wide(source))


def test_runs_before_this_setting_go_on() -> None:
    assert "weights.image_size" not in identity(tiny(), "images")["settings"]
    without = json.loads(identity(tiny(), "images")["settings"])["weights"]
    given = json.loads(identity(wide(SMALL), "images")["settings"])["weights"]
    assert "image_size" not in without and given["image_size"] == 8


def spatial(graph: Graph) -> list[int]:
    return [node.shape[1] for node in graph.nodes]


@pytest.mark.parametrize("name", ["macro", "micro", "chain", "nasbench201", "nasbench-macro"])
@pytest.mark.parametrize(("side", "smaller"), [(32, 16), (32, 27), (63, 8), (32, 32)])
def test_a_network_on_smaller_images_is_what_the_space_makes_for_them(name: str, side: int, smaller: int) -> None:
    """Where there are as many halvings before it, that is: below 64 pixels none."""
    options = config.PRESETS["cpu"](name)[0].space
    space, small = (spaces.build(options, (3, width, width), 10) for width in (side, smaller))
    for arch in random_archs(space, 5):
        assert resized(space.graph(arch), (3, smaller, smaller)) == small.graph(arch)


def test_a_network_keeps_its_weights_whatever_the_size() -> None:
    """Images of 64 pixels are halved before the network begins; so are smaller ones then."""
    options = config.PRESETS["cpu"]("macro")[0].space
    space = spaces.build(options, (3, 64, 64), 10)
    supernet, graph = Supernet(space, seeded()), space.graph(random_archs(space, 1)[0])
    small = resized(graph, (3, 32, 32))
    assert [(node.op, node.key, node.inputs) for node in small.nodes] == [
        (node.op, node.key, node.inputs) for node in graph.nodes
    ]
    assert spatial(small)[:3] == [32, 16, 16] and spatial(small)[-1] == 1
    own, half, quarter = ((3, side, side) for side in (64, 32, 16))
    assert 3.9 < relative_cost(space, own, half) < 4.1 and relative_cost(space, own, own) == 1.0
    assert relative_cost(space, quarter, half) == pytest.approx(0.25, rel=0.05)
    assert supernet(images(4, (3, 32, 32)), [small]).shape == (1, 4, 10)
    with pytest.raises(UserError, match="weights.image_size must leave a pixel after every halving .* but 4 is too"):
        resized(spaces.build(options, (3, 128, 128), 10).graph(random_archs(space, 1)[0]), (3, 4, 4))


def test_what_enlarges_images_must_know_to_which_size() -> None:
    builder = GraphBuilder((3, 8, 8))
    wide = builder.add("pad", [0], (3, 12, 12))
    builder.add("classifier", [wide], (5, 1, 1), key="classifier")
    with pytest.raises(UserError, match="but pad of no weights makes 12 pixels of 8; leave it out"):
        resized(builder.graph(), (3, 4, 4))


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_few_pixels(side: int) -> None:
    """Every operation of the supernet runs on them."""
    for name in ("macro", "micro", "chain", "nasbench201", "nasbench-macro"):
        space = spaces.build(config.PRESETS["quick"](name)[0].space, (1, 8, 8), 10)
        supernet = Supernet(space, seeded())
        for arch in random_archs(space, 5):
            try:
                graph = resized(space.graph(arch), (1, side, side))
            except UserError:
                assert side < 4
                continue
            assert supernet(images(4, (1, side, side)), [graph]).isfinite().all()


OWN = """
from enas import CustomSpace, Decision, GraphBuilder, add_stem

class Own(CustomSpace):
    decisions = (Decision("op", ("conv_3x3", "conv_5x5"), "op", 0),)

    def graph(self, arch):
        builder, (_, side, _) = GraphBuilder(self.input_shape), self.input_shape
        x = add_stem(builder, side)
        x = builder.add(self.chosen(arch)["op"], [x], builder.shape(x), key=self.chosen(arch)["op"])
        builder.add("classifier", [x], (self.num_classes, 1, 1), key="classifier")
        return builder.graph()
"""


def test_a_space_whose_weights_depend_on_the_size(tmp_path: Path) -> None:
    """They are those of the search's images; finalists take them over."""
    (tmp_path / "own.py").write_text(OWN)
    few = [text for text in TINY if not text.startswith("space.")] + ["data.image_size=16", "epochs=1", SMALL]
    options = [part for text in [*few, "derive.finalist_weights=inherited"] for part in ("--set", text)]
    own = ["--space", f"{tmp_path / 'own.py'}:Own", *options, "--set", "controller.warmup_epochs=0"]
    done = CliRunner().invoke(main, ["search", *own, "--output", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "shared weights on 8x8" in done.output
    weights = checkpoint.load(tmp_path / "run" / "checkpoint.pt")["supernet"]
    assert weights["weights.stem.conv.weight"].shape[0] == 16
    finalist = json.loads((tmp_path / "run" / "result.json").read_text())["finalists"][0]
    assert 0 <= finalist["standalone_accuracy"] <= 1


def test_all_that_sees_small_images(larger: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_config = wide(SMALL, "weights.steps=1", "audit.networks=10", "full_training.epochs=2")
    state = Search(run_config, larger, RunFolder(tmp_path), runtime.start(run_config))
    asked: list[Any] = []
    monkeypatch.setattr(phases, "training_batches", lambda *args: asked.append(args) or training_batches(*args))
    state.train_shared_weights()
    assert asked[0][0] is state.seen.train and asked[0][2].crop_padding == 1 and asked[0][2].cutout == 2
    steps: list[Any] = []
    monkeypatch.setattr(rates, "seconds_per_step", lambda model, supernet, batch, *_: steps.append(batch) or 1.0)
    rates.measure(state)
    assert steps[0][0].shape == (128, 1, 8, 8)
    audit = Audit(state, state.curriculum.of(0)[0], run_config)
    images = training_images(len(state.train), run_config.full_training.sgd.batch_size)
    assert audit._training_each == round(3 * 2 * images * state.images.larger)
    assert audit._scoring_each == len(state.validation)


def test_the_vote_is_of_small_images(small_run: RunFolder, larger: DataSet) -> None:
    run_config = wide(SMALL, *ALL)
    state = Search(run_config, larger, small_run, runtime.start(run_config))
    size, draws = plan.UNTRAINED_IMAGES, state.draws("naswot images")
    batch, _ = random_batch(state.seen.train, size, larger.mean, larger.std, draws)
    row = json.loads(small_run.result.read_text())["finalists"][0]
    graph = resized(state.space.graph(spaces.from_json(row["arch"])), (1, 8, 8))
    network = Network(graph, generator(run_config.seed, f"untrained/{row['text']}"))
    expected = untrained(network, batch)
    assert row["naswot"] == pytest.approx(expected["naswot"]) and row["synflow"] == pytest.approx(expected["synflow"])
    assert batch.shape[2:] == (8, 8)


def test_a_budget_of_operations(larger: DataSet, tmp_path: Path) -> None:
    few = ("derive.samples=2", "derive.random=2", "derive.finalists=2", "budget=flops=1e9", SMALL)
    run_config, folder = wide(*few), RunFolder(tmp_path / "run")
    planned = budget.plan(run_config, larger, folder, runtime.start(run_config))
    assert planned.images.larger == pytest.approx(4, rel=0.1)
    folder.create(planned.config)
    records = list(search(planned.config, larger, folder, runtime.start(run_config), rates=planned.rates))
    assert 0.75e9 <= records[-1].flops <= 1.1e9
