"""Another search with shared weights that are trained already, and what an archive says of everything scored."""

from __future__ import annotations

import dataclasses
import html
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from enas import checkpoint, runtime, spaces, standalone
from enas.budget import Plan, plan
from enas.config import DeriveConfig, SearchConfig
from enas.data import DataSet, load
from enas.errors import UserError
from enas.finalists import recipe
from enas.objective import Objective
from enas.pareto import best_known, front
from enas.phases import Search
from enas.plan import total_work
from enas.runs import RunFolder
from enas.spaces import Architecture, SearchSpace
from enas.training import Batch, Model
from tests.test_cli import TINY_OPTIONS, enas, fails
from tests.test_search import assert_same_run, run, tiny
from tests.toys import random_archs

FAILURES = "2 of 2 finalists' trainings failed, so their scores alone have chosen"


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(tiny().data, torch.device("cpu"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search."""
    path = tmp_path_factory.mktemp("derive") / "run"
    done = enas("search", *TINY_OPTIONS, "--output", path)
    assert done.exit_code == 0, done.output
    return path


def result(path: Path) -> dict[str, Any]:
    return json.loads((path / "result.json").read_text())  # type: ignore[no-any-return]


def on_fronts(space: SearchSpace, run: Path) -> set[Architecture]:
    """What is best in this run's own archive."""
    rows = result(run)["archive"]
    return {spaces.from_text(rows[i]["text"]) for cost in rows[0]["costs"] for i in front(rows, cost)}


# ---- the archive and its front


rows = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 5)).map(lambda pair: {"costs": {"macs": pair[0]}, "value": pair[1]}),
    min_size=1,
    max_size=12,
)


@given(rows)
def test_the_front_is_what_nothing_cheaper_or_equal_reaches(rows: list[dict[str, Any]]) -> None:
    best = front(rows, "macs", "value")
    kept = [(rows[i]["costs"]["macs"], rows[i]["value"]) for i in best]
    assert kept == sorted(set(kept)) and [v for _, v in kept] == sorted({v for _, v in kept})
    for row in rows:
        assert any(cost <= row["costs"]["macs"] and value >= row["value"] for cost, value in kept)
    for cost, value in kept:
        assert not any(r["costs"]["macs"] <= cost and r["value"] > value for r in rows)


def test_the_archive_holds_what_was_scored(source: Path) -> None:
    found = result(source)
    archive = {row["text"]: row for row in found["archive"]}
    assert len(archive) == len(found["archive"]) <= 12  # six of the policy and six uniform ones
    assert {row["random"] for row in archive.values()} == {True, False}
    for finalist in found["finalists"]:
        row = archive[finalist["text"]]
        assert row["proxy_accuracy"] == finalist["proxy_accuracy"]
        assert row["costs"] == {"params": finalist["params"], "macs": finalist["macs"]} and "arch" not in row


def test_pictures_of_fronts(source: Path, tmp_path: Path) -> None:
    shown = enas("show", source, "--fronts", tmp_path / "fronts.svg")
    assert shown.exit_code == 0 and "picture of the fronts" in shown.output
    text = (tmp_path / "fronts.svg").read_text()
    assert "proxy accuracy" in text and "MACs" in text and "parameters" in text
    fails("show", "macro:0-31-201", "--fronts", tmp_path / "a.svg", match="--fronts applies to searches only")
    fails("show", source, "--fronts", tmp_path / "a.gif", match="must end in")


# ---- the same shared weights again


def test_derived_again_within_a_limit(source: Path, tmp_path: Path) -> None:
    before = checkpoint.load(source / "checkpoint.pt")
    macs = sorted(row["costs"]["macs"] for row in result(source)["archive"])
    limit = macs[len(macs) // 2]
    done = enas("derive", source, "--limit", f"macs={limit}", "--output", tmp_path / "small")
    assert done.exit_code == 0, done.output
    found = result(tmp_path / "small")
    assert all(row["costs"]["macs"] <= limit for row in [*found["finalists"], *found["archive"]])
    after = checkpoint.load(tmp_path / "small" / "checkpoint.pt")
    assert all(torch.equal(tensor, after["supernet"][name]) for name, tensor in before["supernet"].items())
    records = RunFolder(tmp_path / "small").records()
    epochs = [record for record in records if record["kind"] == "epoch"]
    assert len(epochs) == 2  # those in which the controller learned
    assert all(epoch["train_loss"] is None and epoch["reward"] is not None for epoch in epochs)
    # what was best before and is allowed is judged again
    known = {row["text"] for row in result(source)["archive"]} & {row["text"] for row in found["archive"]}
    space = spaces.build(tiny().space, (1, 8, 8), 10)
    objective = Objective(space, tiny(f"objective.limit_macs={limit}").objective)
    best = [spaces.to_text(space, arch) for arch in best_known(space, source) if objective.excess(arch) <= 1]
    assert best and set(best) <= known
    assert "enas retrain" in done.output and enas("show", tmp_path / "small").exit_code == 0


def test_finalists_are_trained_by_a_recipe_of_their_own(source: Path, tmp_path: Path) -> None:
    """All but the finalists' own training is as without it."""
    sizes = ("--searcher", "random", "--set", "derive.finalists=1")
    for name, more in {
        "usual": (),
        "batch": ("--set", "derive.finalist_batch_size=300"),
        "rate": ("--set", "derive.finalist_lr_max=0.01"),
    }.items():
        done = enas("derive", source, *sizes, *more, "--output", tmp_path / name)
        assert done.exit_code == 0, done.output
    usual, *others = (result(tmp_path / name) for name in ("usual", "batch", "rate"))
    for other in others:
        assert other["archive"] == usual["archive"] and other["config"]["weights"] == usual["config"]["weights"]
    losses = [found["finalists"][0]["training_loss"] for found in (usual, *others)]
    assert len(set(losses)) == 3
    diverging = ("--searcher", "random", "--set", "derive.finalist_lr_max=1e30")
    done = enas("derive", source, *diverging, "--output", tmp_path / "failed")
    assert done.exit_code == 0 and FAILURES in done.output
    assert enas("report", tmp_path / "failed").exit_code == 0
    assert f"{FAILURES}." in html.unescape((tmp_path / "failed" / "report.html").read_text())
    own = tiny("derive.finalist_batch_size=7", "derive.finalist_lr_max=0.3")
    sgd = recipe(own.weights, own.derive)
    assert (sgd.batch_size, sgd.lr_max, sgd.schedule) == (7, 0.3, "one-cycle")
    assert sgd.weight_decay == own.weights.weight_decay


def test_the_default_folder_and_the_printed_settings(source: Path) -> None:
    printed = enas("derive", source, "--target", "params=5e3", "--criterion", "vote", "--print-config").output
    assert 'criterion = "vote"' in printed
    assert f'source = "{source}"' in printed and "target_params = 5000.0" in printed
    assert enas("derive", source, "--searcher", "random").exit_code == 0
    (folder,) = source.glob("derive-*")
    assert result(folder)["config"]["searcher"] == "random"
    again = enas("derive", folder, "--searcher", "reinforce", "--print-config").output
    assert f'source = "{folder}"' in again
    assert "\nepochs = 30\n" in again  # those in which the preset's controller learns: this run had none
    assert "\nepochs = 1\n" in enas("derive", folder, "--print-config").output  # nothing learns
    space = spaces.build(tiny().space, (1, 8, 8), 10)
    both = best_known(space, folder)  # also what was known to the run that trained the weights
    assert set(best_known(space, source)) < set(both)
    settings = json.loads((folder / "config.json").read_text())
    (source.parent / "other").mkdir()  # by now another space's
    text = {"archive": [{"text": "nasbench201:0-00-000", "costs": {"macs": 1}, "proxy_accuracy": 0.5}]}
    (source.parent / "other" / "result.json").write_text(json.dumps(text))
    settings["weights"]["source"] = str(source.parent / "other")
    (folder / "config.json").write_text(json.dumps(settings))
    assert set(best_known(space, folder)) == on_fronts(space, folder)
    shutil.rmtree(folder)


def test_what_was_known_is_judged_though_its_run_is_gone(source: Path, digits: DataSet, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(source, moved)
    again = tiny(f"weights.source={moved}", "controller.warmup_epochs=0", "epochs=1")
    run(tmp_path / "run", digits, again, stop_after=1)
    shutil.rmtree(moved)
    whole = run(tmp_path / "whole", digits, tiny(f"weights.source={source}", "controller.warmup_epochs=0", "epochs=1"))
    found = checkpoint.read_json(run(tmp_path / "run", digits, again).result)
    assert found["archive"] == checkpoint.read_json(whole.result)["archive"]


def test_a_limit_is_about_the_network_that_the_preset_retrains(source: Path, tmp_path: Path) -> None:
    """As `enas search --limit` has it, also where the run itself had no limit."""
    (tmp_path / "run").mkdir()
    for name in ("config.json", "result.json", "checkpoint.pt"):
        (tmp_path / "run" / name).write_bytes((source / name).read_bytes())
    settings = json.loads((source / "config.json").read_text()) | {"preset": "cifar10-macro"}
    (tmp_path / "run" / "config.json").write_text(json.dumps(settings))
    printed = enas("derive", tmp_path / "run", "--limit", "macs=1e9", "--print-config").output
    assert "\nlimit_macs = 1000000000.0\n" in printed and "\nwidth = 96\n" in printed


@pytest.mark.parametrize("stop_after", [1, 3])
def test_resumed_equals_uninterrupted(source: Path, digits: DataSet, tmp_path: Path, stop_after: int) -> None:
    again = tiny(f"weights.source={source}", "controller.warmup_epochs=0", "epochs=2")
    whole = run(tmp_path / "whole", digits, again)
    run(tmp_path / "run", digits, again, stop_after)
    assert_same_run(run(tmp_path / "run", digits, again), whole)
    assert checkpoint.read_json(whole.result)["flops"] > 0


def test_finalists_training_is_in_the_forecast(
    source: Path, digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is all the training there is. One that memory is too small for is left out, as in the search itself."""
    own = ("derive.finalist_batch_size=60", "derive.finalist_image_size=4")
    found = tiny(f"weights.source={source}", "controller.warmup_epochs=0", *own)

    def planned(run_config: SearchConfig) -> Plan:
        return plan(run_config, digits, RunFolder(tmp_path), runtime.start(run_config))

    assert planned(found).rates.training > 0
    steps_s = iter([1.0, math.inf, 2.0, 6.0])

    def seconds_per_step(model: Model, network: nn.Module, batch: Batch, *_: Any) -> float:
        assert batch[0].shape == (60, 1, 4, 4)
        if math.isinf(step_s := next(steps_s)):
            raise torch.OutOfMemoryError
        return step_s

    monkeypatch.setattr(standalone, "seconds_per_step", seconds_per_step)
    forecast = planned(found)
    training_s = forecast.forecast_s - dataclasses.replace(forecast.rates, training=0.0).of(
        total_work(found, forecast.images)
    )
    images = found.derive.finalists * found.derive.finalist_epochs * forecast.images.train
    assert training_s == pytest.approx(images * 3.0 / 60, rel=0.01)
    assert next(steps_s, None) is None
    assert planned(dataclasses.replace(found, derive=DeriveConfig(finalist_epochs=0))).rates.training == 0


@pytest.mark.parametrize("idle", ["weights.steps=7", "weights.schedule=cosine", "weights.architectures_per_step=2"])
def test_idle_settings_of_training_are_refused(source: Path, tmp_path: Path, idle: str) -> None:
    path = tmp_path / "again"
    options = ("--set", f"weights.source={source}", "--set", "controller.warmup_epochs=0", "--output", path)
    fails("search", *options, "--set", idle, match="must be left out with weights.source")
    assert not path.exists()
    assert enas("search", *options, "--set", "weights.lr_max=0.1", "--print-config").exit_code == 0  # finalists' too


def test_training_goes_beyond_the_limit(digits: DataSet, tmp_path: Path) -> None:
    """The shared weights of what is allowed are better where the others train them too."""
    space = spaces.build(tiny().space, digits.input_shape, digits.num_classes)
    objective = Objective(space, tiny().objective)
    limit = sorted(objective.costs(arch)["macs"] for arch in random_archs(space, 21))[10]
    small = tiny(f"objective.limit_macs={limit}")
    state = Search(small, digits, RunFolder(tmp_path), runtime.start(small))
    assert state.warmup
    trained = [arch for step in range(20) for arch in state.curriculum.of(step)]
    assert {spaces.allows(state.space, arch) for arch in trained} == {True, False}
    state.epoch = 1
    trained = [arch for step in range(8) for arch in state.curriculum.of(step)]
    assert all(spaces.allows(state.space, arch) for arch in trained)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("--set", "space.width=8"), "must have searched the same space with the same split of the images"),
        (("--set", "data.split_seed=3"), "its settings of data are others"),
        (("--set", "controller.warmup_epochs=1"), "there must be no warm-up"),
        (("--set", "weights.sampling=fair"), "weights.sampling=fair must be left out"),
        (("--set", "evaluator=full-training"), "evaluator=full-training must be left out"),
        (("--limit", "macs=2"), "within 2 MACs"),
        (("--sweep", "macs=1e8,2"), "within 2 MACs"),  # before it searches within the first one
        (("--sweep", "macs=1e8,2", "--limit", "macs=1e6"), "both are of macs"),
        (("--sweep", "macs=1e8,2", "--print-config"), "--print-config must be given with one limit"),
        (("--set", "weights.lr_max=0.7"), "--set weights.lr_max=0.7 must be left out"),
        (("--set", "evaluations=3"), "must be left out"),
        (("--set", "budget=3m"), "--set budget=3m must be left out"),
    ],
)
def test_what_does_not_go_with_trained_weights(
    source: Path, tmp_path: Path, options: tuple[str, ...], match: str
) -> None:
    fails("derive", source, *options, "--output", tmp_path / "again", match=match)


def test_runs_that_have_nothing_to_give(source: Path, digits: DataSet, tmp_path: Path) -> None:
    fails("derive", tmp_path, "--limit", "macs=1e6", match="must be a run folder")
    unfinished = run(tmp_path / "unfinished", digits, tiny(), stop_after=1)
    fails("derive", unfinished.path, match="must be a finished search")
    config = tiny("weights.source=nowhere", "controller.warmup_epochs=0")
    with pytest.raises(UserError, match="nowhere must be a search with shared weights, but it has no checkpoint"):
        run(tmp_path / "run", digits, config)
    damaged = {**result(source), "archive": [{"text": "macro:0"}]}
    (tmp_path / "result.json").write_text(json.dumps(damaged))
    with pytest.raises(UserError, match="must hold an archive of scores"):
        best_known(spaces.build(tiny().space, (1, 8, 8), 10), tmp_path)


# ---- several limits at once


def test_a_sweep_derives_once_for_each_limit_and_goes_on(source: Path, tmp_path: Path) -> None:
    macs = sorted(row["costs"]["macs"] for row in result(source)["archive"])
    limits = [macs[len(macs) // 4], macs[-1]]
    command = ("derive", source, "--output", tmp_path / "sweep", "--sweep")
    text = f"macs={limits[1]},{limits[0]}"
    done = enas(*command, text)
    assert done.exit_code == 0, done.output
    folders = [tmp_path / "sweep" / f"macs-{limit}" for limit in limits]
    for folder, limit in zip(folders, limits, strict=True):
        found = result(folder)
        assert found["finalists"][0]["macs"] <= limit and found["text"] in done.output
        assert found["config"]["objective"]["limit_macs"] == limit
    assert result(folders[0])["text"] in {row["text"] for row in result(folders[1])["archive"]}  # judged again
    assert (tmp_path / "sweep" / "fronts.svg").read_text().count("<svg") == 1
    alone = enas("derive", source, "--limit", f"macs={limits[0]}", "--output", tmp_path / "alone")
    assert alone.exit_code == 0 and result(tmp_path / "alone")["text"] == result(folders[0])["text"]
    (folders[1] / "result.json").unlink()  # as if it had been stopped before its end
    again = enas(*command, text)
    assert again.exit_code == 0 and f"{folders[0]} is finished" in again.output
    assert result(folders[1])["finalists"][0]["macs"] <= limits[1]
    fails(*command, text, "--seed", "7", match="differs in seed; give another --output")


@pytest.mark.parametrize("text", ["macs", "macs=", "macs=1e6", "macs=1e6,", "flops=1,2", "macs=5,5", "macs=1e6,few"])
def test_what_is_no_sweep(source: Path, tmp_path: Path, text: str) -> None:
    fails("derive", source, "--sweep", text, "--output", tmp_path / "sweep", match="macs")
    assert not (tmp_path / "sweep").exists()


def test_an_audit_that_is_asked_for_is_made(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audited: list[Path] = []

    def noted(path: Path, values: dict[str, Any]) -> dict[str, Any]:
        audited.append(path)
        return values

    monkeypatch.setattr(sys.modules["enas.cli.derive"], "with_audit", noted)
    assert enas("derive", source, "--set", "audit.networks=10", "--output", tmp_path / "one").exit_code == 0
    assert audited == [tmp_path / "one"] and result(tmp_path / "one")["config"]["audit"]["networks"] == 10


def test_checkpoints_of_earlier_versions(source: Path, tmp_path: Path) -> None:
    """The last one is read but for partial scores; others are refused."""
    old = tmp_path / "old"
    shutil.copytree(source, old)
    state = checkpoint.load(old / "checkpoint.pt")
    checkpoint.save(old / "checkpoint.pt", {**state, "schema": 5})
    fails("derive", old, "--output", tmp_path / "derived", match="checkpoint.pt")
    fails("score", old, "macro:0-31-201", match="checkpoint.pt")
    derived = {name: value for name, value in state["derived"].items() if name != "finalists"}
    for key in ("refused", "refused_share"):
        del state["searcher"][key]
    checkpoint.save(
        old / "checkpoint.pt", {**state, "derived": {**derived, "scores": {"accuracy": [0.5]}}, "schema": 6}
    )
    (old / "result.json").unlink()
    assert enas("search", "--resume", old).exit_code == 0
    assert result(old)["archive"] == result(source)["archive"]
