"""The search as a whole: records, result, resume, kills and failures, on the embedded digits."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from enas import checkpoint, config, runtime, searchers, spaces
from enas.averaging import Average
from enas.budget import plan
from enas.config import SearchConfig
from enas.data import DataSet, load, random_batch
from enas.effects import Effects
from enas.errors import UserError
from enas.network import Network
from enas.phases import Search
from enas.plan import total_work
from enas.records import collapse_warning
from enas.runs import RunFolder
from enas.searching import search
from enas.supernet import Supernet
from enas.zero_cost import untrained, vote
from tests.toys import all_archs

TINY = [
    "epochs=3",
    "space.layers=3",
    "space.width=4",
    "data.validation_fraction=0.25",
    "weights.batch_size=128",
    "weights.architectures_per_step=2",
    "controller.warmup_epochs=1",
    "controller.updates=2",
    "controller.architectures_per_update=4",
    "controller.batch_size=32",
    "derive.samples=6",
    "derive.random=6",
    "derive.finalists=2",
    "derive.finalist_epochs=1",
    "derive.random_per_epoch=3",
    "derive.images_per_epoch=32",
    "precision=float32",
    "device=cpu",
]


def tiny(*more: str) -> SearchConfig:
    tiny_config: SearchConfig = config.from_text(config.PRESETS["quick"](None)[0], [*TINY, *more])
    return tiny_config


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(tiny().data, torch.device("cpu"))


def run(path: Path, data: DataSet, run_config: SearchConfig, stop_after: int | None = None) -> RunFolder:
    """Search in `path`, from its checkpoint where there is one; stop as a kill would after some records."""
    folder = RunFolder(path)
    if not (path / "config.json").exists():
        folder.create(run_config)
    for count, _ in enumerate(search(run_config, data, folder, runtime.start(run_config)), start=1):
        if count == stop_after:
            break
    return folder


def state_of(folder: RunFolder, data: DataSet, run_config: SearchConfig) -> Search:
    """The search as its checkpoint has it, or before its first step."""
    state = Search(run_config, data, folder, runtime.start(run_config))
    if folder.checkpoint.exists():
        state.read_checkpoint()
    return state


def comparable(value: Any) -> Any:
    """The value without times and rates, which are the fields that end in `_s`."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items() if not key.endswith("_s")}
    return [comparable(item) for item in value] if isinstance(value, list) else value


def assert_same_run(a: RunFolder, b: RunFolder) -> None:
    assert comparable(a.records()) == comparable(b.records())
    assert comparable(checkpoint.read_json(a.result)) == comparable(checkpoint.read_json(b.result))
    ours, theirs = checkpoint.load(a.checkpoint), checkpoint.load(b.checkpoint)
    for name, tensor in ours["supernet"].items():
        assert torch.equal(tensor, theirs["supernet"][name]), name
    for name, tensor in ours["searcher"].get("controller", {}).items():
        assert torch.equal(tensor, theirs["searcher"]["controller"][name]), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digits: DataSet) -> RunFolder:
    """A search that nobody interrupted."""
    return run(tmp_path_factory.mktemp("whole") / "run", digits, tiny())


def test_records_and_result(whole: RunFolder) -> None:
    records = whole.records()
    assert [record["kind"] for record in records] == ["epoch"] * 3 + ["derive"] + ["finalist"] * 2
    epochs = records[:3]
    assert [record["epoch"] for record in epochs] == [0, 1, 2]
    assert epochs[0]["warmup"] and epochs[0]["reward"] is None  # the controller rested
    assert not epochs[1]["warmup"] and 0 <= epochs[1]["reward"] <= 1
    for record in epochs:
        assert sum(record["choice_shares"]["op"].values()) == pytest.approx(1)
        assert record["child_images_per_s"] == pytest.approx(2 * record["images_per_s"])
        gap = record["controller_minus_random"]
        assert gap["low"] <= gap["mean"] <= gap["high"]
        means = record["controller_proxy_accuracy"] - record["random_proxy_accuracy"]
        assert gap["mean"] == pytest.approx(means, abs=1e-6)

    result = checkpoint.read_json(whole.result)
    for key in ("arch", "space", "finalists", "random_baseline", "config", "versions", "seed", "elapsed_s", "schema"):
        assert key in result
    assert len(result["finalists"]) == 2
    standalone = [finalist["standalone_accuracy"] for finalist in result["finalists"]]
    assert standalone == sorted(standalone, reverse=True)
    assert result["arch"] == result["finalists"][0]["arch"]  # the best of the short trainings won
    assert all({"arch", "proxy_accuracy", "params", "macs"} <= set(finalist) for finalist in result["finalists"])
    assert result["random_baseline"]["random"]["count"] == 6


def test_same_seed_same_run_and_other_seed_other_run(tmp_path: Path, digits: DataSet, whole: RunFolder) -> None:
    assert_same_run(run(tmp_path / "again", digits, tiny()), whole)
    other = run(tmp_path / "other", digits, tiny("seed=1"), stop_after=1)
    assert other.records()[0]["train_loss"] != whole.records()[0]["train_loss"]


@pytest.mark.parametrize("stop_after", [1, 3, 4, 5])
def test_resumed_equals_uninterrupted(tmp_path: Path, digits: DataSet, whole: RunFolder, stop_after: int) -> None:
    path = tmp_path / "run"
    run(path, digits, tiny(), stop_after)
    assert_same_run(run(path, digits, tiny()), whole)


@pytest.mark.parametrize("method", ["train_shared_weights", "train_searcher", "finish_epoch"])
def test_crash_inside_a_phase(
    tmp_path: Path, digits: DataSet, whole: RunFolder, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(Search, method)

    def crash(self: Search, *args: Any) -> Any:
        found = original(self, *args)  # the state has moved by now, and the checkpoint has not
        if self.epoch == 1:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Search, method, crash)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", digits, tiny())
    assert_same_run(run(tmp_path / "run", digits, tiny()), whole)


def test_a_record_beyond_the_checkpoint_is_dropped(tmp_path: Path, digits: DataSet, whole: RunFolder) -> None:
    folder = run(tmp_path / "run", digits, tiny(), stop_after=2)
    with open(folder.path / "records.jsonl", "a") as file:
        file.write(json.dumps(folder.records()[-1]) + "\n" + '{"kind": "epoch", "epo')  # killed while writing
    assert_same_run(run(tmp_path / "run", digits, tiny()), whole)


def test_killed_before_the_first_checkpoint_starts_over(tmp_path: Path, digits: DataSet, whole: RunFolder) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(tiny())
    (folder.path / "records.jsonl").write_text('{"kind": "epoch"')
    assert_same_run(run(tmp_path / "run", digits, tiny()), whole)


def test_checkpoint_of_another_run_is_refused(tmp_path: Path, digits: DataSet, whole: RunFolder) -> None:
    other = tiny("space.layers=4")
    folder = RunFolder(tmp_path / "run")
    folder.create(other)
    folder.checkpoint.write_bytes(whole.checkpoint.read_bytes())
    with pytest.raises(UserError, match="must belong to this run's configuration"):
        search(other, digits, folder, runtime.start(other))


@pytest.mark.parametrize("searcher", ["evolution", "local-search", "tpe"])
def test_other_searchers_resume_as_if_never_stopped(tmp_path: Path, digits: DataSet, searcher: str) -> None:
    run_config = tiny(f"searcher={searcher}", "evolution.population=3")
    whole, cut = run(tmp_path / "whole", digits, run_config), tmp_path / "cut"
    assert any(record["reward"] is not None for record in whole.records()[:3])
    run(cut, digits, run_config, stop_after=2)
    assert_same_run(run(cut, digits, run_config), whole)


def test_broken_checkpoints_are_refused(tmp_path: Path, digits: DataSet, whole: RunFolder) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(tiny())
    folder.checkpoint.write_bytes(whole.checkpoint.read_bytes()[:5000])
    with pytest.raises(UserError, match="must be a checkpoint"):
        search(tiny(), digits, folder, runtime.start(tiny()))
    state = checkpoint.load(whole.checkpoint)
    del state["supernet"]["weights.stem.conv.weight"]
    checkpoint.save(folder.checkpoint, state)
    with pytest.raises(UserError, match="lacks or breaks"):
        search(tiny(), digits, folder, runtime.start(tiny()))


def test_non_finite_training_stops_and_keeps_the_last_checkpoint(tmp_path: Path, digits: DataSet) -> None:
    run_config = tiny("weights.max_nonfinite=0", "weights.lr_max=0.05")
    folder = run(tmp_path / "run", digits, run_config, stop_after=1)
    state = checkpoint.load(folder.checkpoint)
    state["supernet"]["weights.stem.conv.weight"].fill_(math.nan)
    checkpoint.save(folder.checkpoint, state)
    before = folder.checkpoint.read_bytes()
    with pytest.raises(UserError, match="loss must stay finite"):
        run(tmp_path / "run", digits, run_config)
    assert folder.checkpoint.read_bytes() == before


def test_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, digits: DataSet, whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(tmp_path / "run", digits, tiny(), stop_after=1)
    before = folder.checkpoint.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left"):
            run(tmp_path / "run", digits, tiny())
    assert folder.checkpoint.read_bytes() == before
    assert not list(folder.path.glob(".*")), "no temporary files are left"
    assert_same_run(run(tmp_path / "run", digits, tiny()), whole)


def test_random_searcher_and_loss_as_reward(tmp_path: Path, digits: DataSet) -> None:
    folder = run(tmp_path / "random", digits, tiny("searcher=random", "objective.metric=loss"))
    epochs = [record for record in folder.records() if record["kind"] == "epoch"]
    assert all(record["entropy_share"] == pytest.approx(1) and not record["warmup"] for record in epochs)
    finalists = checkpoint.read_json(folder.result)["finalists"]
    assert all(f["reward"] == pytest.approx(math.exp(-f["proxy_loss"]), rel=1e-5) for f in finalists)


def test_no_finalist_training(tmp_path: Path, digits: DataSet) -> None:
    folder = run(tmp_path / "run", digits, tiny("derive.finalist_epochs=0"))
    finalists = checkpoint.read_json(folder.result)["finalists"]
    assert [f["standalone_accuracy"] for f in finalists] == [None, None]
    assert finalists[0]["proxy_accuracy"] >= finalists[1]["proxy_accuracy"]


def test_validation_images_never_train_weights(tmp_path: Path, digits: DataSet) -> None:
    state = Search(tiny(), digits, RunFolder(tmp_path), runtime.start(tiny()))
    train = {image.numpy().tobytes() for image in state.train.images}
    assert len(state.train) + len(state.validation) == len(digits.train)
    assert not any(image.numpy().tobytes() in train for image in state.validation.images)


def test_an_epoch_may_be_several_passes_over_the_images(
    tmp_path: Path, digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in an order of its own; and it goes on within any of them."""

    def images_of(state: Search) -> list[torch.Tensor]:
        seen: list[torch.Tensor] = []
        forward = Supernet.forward

        def noted(self: Supernet, x: torch.Tensor, *rest: Any) -> torch.Tensor:
            seen.append(x.sum(dim=(1, 2, 3)))
            return forward(self, x, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(Supernet, "forward", noted)
            state.train_shared_weights()
        return seen

    run_config = tiny("weights.steps=16", "weights.architectures_per_step=1")  # 898 images are 7 steps of 128
    state = Search(run_config, digits, RunFolder(tmp_path), runtime.start(run_config))
    steps = images_of(state)
    assert len(steps) == state.within.weights.step == 16
    for first in range(7):  # a pass has 7 steps
        assert not torch.equal(steps[first], steps[first + 7])
    resumed = Search(run_config, digits, RunFolder(tmp_path), runtime.start(run_config))
    resumed.within.weights.step = 9
    assert all(torch.equal(a, b) for a, b in zip(images_of(resumed), steps[9:], strict=True))


@pytest.mark.parametrize("criterion", ["own", "effects", "vote"])
def test_work_that_is_reported_equals_the_plan(tmp_path: Path, digits: DataSet, criterion: str) -> None:
    run_config, done = tiny(f"derive.criterion={criterion}", "derive.effects_from=30"), []
    folder = RunFolder(tmp_path / "run")
    folder.create(run_config)
    list(search(run_config, digits, folder, runtime.start(run_config), done.append))
    state = Search(run_config, digits, folder, runtime.start(run_config))
    planned = total_work(run_config, state.images).units
    assert 0.9 * planned < sum(done) <= planned  # repeated architectures are scored once


def test_forecast_leaves_no_trace(tmp_path: Path, digits: DataSet) -> None:
    folder = RunFolder(tmp_path / "run")
    assert 0 < plan(tiny(), digits, folder, runtime.start(tiny())).forecast_s < 3600
    assert not folder.path.exists()


def test_collapse_warning() -> None:
    assert collapse_warning({"op": {"conv_3x3": 0.8, "max_pool_3x3": 0.2}}) is None
    warning = collapse_warning({"op": {"conv_3x3": 0.15, "max_pool_3x3": 0.85}})
    assert warning is not None and "max_pool_3x3 makes up 85%" in warning


def test_finalists_by_effects(tmp_path: Path, digits: DataSet) -> None:
    """The best by effects is among them, whatever the policy sampled, and their own scores stand beside."""
    run_config = tiny(
        "derive.criterion=effects", "derive.effects_from=60", "derive.effects_images=40", "derive.finalist_epochs=0"
    )
    result = checkpoint.read_json(run(tmp_path / "run", digits, run_config).result)
    finalists = result["finalists"]
    assert [f["effects"] for f in finalists] == sorted((f["effects"] for f in finalists), reverse=True)
    assert result["text"] == finalists[0]["text"]
    # the same again, by hand
    state = Search(run_config, digits, RunFolder(tmp_path / "run"), runtime.start(run_config))
    state.read_checkpoint()
    archs = searchers.uniform(state.space, 60, state.draws("effects"))
    batches = state.validation_part(40, "effects images")
    assert sum(len(labels) for _, labels in batches) == 40
    effects = Effects(state.space, archs, -state.evaluator.score(archs, batches).known_loss.log())
    best = max(all_archs(state.space), key=lambda arch: effects.predict([arch]).item())
    assert effects.predict([best]).item() == pytest.approx(finalists[0]["effects"])


def test_finalists_by_vote(tmp_path: Path, digits: DataSet) -> None:
    """By the ranks of loss, naswot and synflow among all that were scored."""
    run_config = tiny("derive.criterion=vote", "derive.finalist_epochs=0", "derive.finalists=6")
    folder = run(tmp_path / "run", digits, run_config)
    result = checkpoint.read_json(folder.result)
    finalists = result["finalists"]
    votes = [f["vote"] for f in finalists]
    assert votes == sorted(votes, reverse=True) and result["text"] == finalists[0]["text"]
    state = Search(run_config, digits, folder, runtime.start(run_config))
    state.read_checkpoint()
    draws = state.draws("derive")
    archs = state.searcher.sample(6, draws) + searchers.uniform(state.space, 6, draws)
    loss = state.evaluator.score(archs, state.validation_batches()).known_loss
    images, _ = random_batch(state.train, 64, digits.mean, digits.std, state.draws("naswot images"))
    texts = [spaces.to_text(state.space, arch) for arch in archs]
    networks = [
        Network(state.space.graph(arch), runtime.generator(0, f"untrained/{text}"))
        for arch, text in zip(archs, texts, strict=True)
    ]
    free = [untrained(network, images) for network in networks]
    expected = vote(loss.numpy(), **{name: [each[name] for each in free] for name in ("naswot", "synflow")})
    for finalist in finalists:
        i = texts.index(finalist["text"])
        assert finalist["vote"] == pytest.approx(expected[i])
        assert {name: finalist[name] for name in free[i]} == pytest.approx(free[i])


@pytest.mark.parametrize("criterion", ["effects", "vote"])
def test_a_choice_that_was_cut_short_goes_on(
    tmp_path: Path, digits: DataSet, criterion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_config = tiny(f"derive.criterion={criterion}", "derive.effects_from=30", "checkpoint_minutes=1e-9")
    whole = run(tmp_path / "whole", digits, run_config)

    class Killed(Exception):
        pass

    for stop_at in (2, 5, 9):  # saves after the epochs, within the choice
        saves = 0
        original = Search.save

        def save(self: Search, original: Any = original, stop_at: int = stop_at) -> None:
            nonlocal saves
            original(self)
            saves += self.epoch == self.config.epochs
            if saves == stop_at:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Search, "save", save)
            with pytest.raises(Killed):
                run(tmp_path / "cut", digits, run_config)
    assert_same_run(run(tmp_path / "cut", digits, run_config), whole)


def test_an_average_of_the_shared_weights_judges(tmp_path: Path, digits: DataSet) -> None:
    averaged = tiny("weights.ema_decay=0.9", "derive.finalist_weights=inherited")
    whole = run(tmp_path / "whole", digits, averaged)
    run(tmp_path / "parts", digits, averaged, stop_after=2)
    assert_same_run(run(tmp_path / "parts", digits, averaged), whole)
    state = Search(averaged, digits, whole, runtime.start(averaged))
    state.read_checkpoint()
    assert state.average is not None and state.evaluator.supernet is state.average.module is state.shared
    batch = state.validation_batches()[0]
    first = json.loads(whole.result.read_text())["finalists"][0]
    archs = [spaces.from_json(first["arch"])]
    scores = state.evaluator.score(archs, state.validation_batches())
    assert scores.accuracy.tolist() == [first["proxy_accuracy"]]
    with torch.inference_mode():
        graph = state.evaluator.graph(archs[0])
        logits = [weights(batch[0], [graph]) for weights in (state.shared, state.supernet)]
    assert not torch.equal(logits[0], logits[1])
    # training goes on with the weights themselves: they are what they are without an average
    plain = run(tmp_path / "plain", digits, tiny("controller.warmup_epochs=2"), stop_after=1)
    again = run(tmp_path / "again", digits, tiny("weights.ema_decay=0.9", "controller.warmup_epochs=2"), stop_after=1)
    trained = [checkpoint.load(folder.checkpoint) for folder in (plain, again)]
    for name, value in trained[0]["supernet"].items():
        assert torch.equal(trained[1]["supernet"][name], value)
    assert trained[0]["average"] is None
    key = next(name for name in trained[1]["average"] if name.endswith("weight"))
    assert not torch.equal(trained[1]["average"][key], trained[1]["supernet"][key])


def test_the_average_follows_slowly() -> None:
    trained = torch.nn.Linear(2, 1)
    average = Average(trained, 0.5)
    before = trained.weight.detach().clone()
    with torch.no_grad():
        trained.weight += 1
    average.update(trained, 0)  # (1 + 0) / (10 + 0) of the average stays at first
    assert torch.allclose(average.module.weight, before + 0.9)
    average.update(trained, 1000)
    assert torch.allclose(average.module.weight, before + 0.95)
