"""The finalists' training: what it starts from, successive halving, failures, interruptions, and its work."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from enas import checkpoint, config, halving, runtime, spaces
from enas.aggregate import _comparable as comparable
from enas.budget import describe
from enas.cli import main
from enas.config import DeriveConfig, SearchConfig
from enas.data import DataSet, load, training_images
from enas.errors import UserError
from enas.finalists import new_training, recipe, standing
from enas.interrupts import Stopped, StopRequest
from enas.objective import Scores
from enas.phases import Search
from enas.plan import Images, Work, finalists_work
from enas.runs import NEWER, RunFolder
from enas.searching import search
from enas.spaces import Architecture
from enas.standalone import OutOfMemory, Standalone
from enas.tracking import TensorBoard
from tests.test_interrupts import Crash, ask, searching, sessions
from tests.test_search import assert_same_run, run, tiny

# one epoch of shared weights: what is looked at comes behind it; 898 images are two steps of an epoch
SHORT = ("epochs=1", "controller.warmup_epochs=0", "controller.updates=1", "weights.batch_size=300")
FOUR = (*SHORT, "derive.finalists=4", "derive.finalist_epochs=4")
FIGURES = ("standalone_accuracy", "training_loss")
HALVED = (*FOUR, "derive.halving_eta=2", "derive.halving_first=1")  # four train to 1, two to 2, one to 4


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(tiny().data, torch.device("cpu"))


@pytest.fixture(scope="module")
def unhalved(tmp_path_factory: pytest.TempPathFactory, digits: DataSet) -> RunFolder:
    return run(tmp_path_factory.mktemp("unhalved") / "run", digits, tiny(*FOUR))


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory, digits: DataSet) -> RunFolder:
    return run(tmp_path_factory.mktemp("halved") / "run", digits, tiny(*HALVED))


def finalists(folder: RunFolder) -> list[dict[str, Any]]:
    """Those of the result, the best first."""
    found: list[dict[str, Any]] = checkpoint.read_json(folder.result)["finalists"]
    return found


def records(folder: RunFolder) -> list[dict[str, Any]]:
    return [record for record in folder.records() if record["kind"] == "finalist"]


# ---- the arithmetic


@pytest.mark.parametrize(
    ("count", "epochs", "eta", "first", "expected"),
    [
        (10, 10, 0, 1, {10: 10}),
        (10, 10, 3, 1, {1: 10, 3: 3, 10: 1}),
        (10, 10, 3, 2, {3: 10, 10: 3}),
        (3, 8, 2, 2, {2: 3, 4: 1, 8: 1}),
        (9, 2, 3, 1, {2: 9}),
    ],
)
def test_how_many_train_to_which_rung(count: int, epochs: int, eta: int, first: int, expected: dict[int, int]) -> None:
    rungs = halving.rungs(epochs, eta, first)
    assert dict(zip(rungs, halving.counts(count, rungs, eta), strict=True)) == expected
    going_on = list(range(count))
    for _ in rungs[1:]:
        going_on = [going_on[i] for i in halving.promoted([float(place) for place in going_on], eta)]
    assert len(going_on) == halving.counts(count, rungs, eta)[-1] and count - 1 in going_on
    # the work is that of the spans
    derive = DeriveConfig(finalists=count, finalist_epochs=epochs, halving_eta=eta, halving_first=first)
    ends = [rung for rung, number in zip(rungs, halving.counts(count, rungs, eta), strict=True) for _ in range(number)]
    epochs_in_all = sum(end - ([0, *rungs][rungs.index(end)]) for end in ends)
    assert finalists_work(derive, Images(100, 30)) == Work(100 * epochs_in_all, 30 * len(ends))


def test_who_goes_on() -> None:
    assert halving.promoted([0.1, 0.5, None, 0.5, 0.3], 2) == [1, 3]
    assert halving.promoted([0.5, 0.5, 0.5], 3) == [0]  # of equals the first
    assert halving.promoted([None, 0.0], 2) == [1] and halving.promoted([None, None], 2) == []


def test_no_training_is_no_work() -> None:
    assert finalists_work(DeriveConfig(finalist_epochs=0, halving_eta=2), Images(100, 30)) == Work()


# ---- what it starts from


def test_inherited_weights_are_the_supernets(digits: DataSet, tmp_path: Path) -> None:
    """Before the first step the network's outputs are those that the proxy was measured on."""
    run_config = tiny(*FOUR)
    state = Search(run_config, digits, RunFolder(tmp_path), runtime.start(run_config))
    state.train_shared_weights()
    graph = state.space.graph(Architecture("macro", (0, 1, 1, 4, 1, 1)))
    images, _ = state.validation_batch(50, "test")
    expected = state.supernet(images, [graph])[0]
    outputs = {}
    for name, supernet in (("fresh", None), ("inherited", state.supernet)):
        training = new_training(
            graph, digits, state.train, recipe(run_config.weights, run_config.derive), 2, 0, state.runtime, supernet
        )
        outputs[name] = training.network.train()(images)
    torch.testing.assert_close(outputs["inherited"], expected, rtol=1e-4, atol=1e-5)
    assert (outputs["fresh"] - expected).abs().max() > 0.01


def test_a_search_whose_finalists_inherit(digits: DataSet, tmp_path: Path, unhalved: RunFolder) -> None:
    """Nothing differs but their accuracies; and each is the one that the same training gives by hand."""
    run_config = tiny(*FOUR, "derive.finalist_weights=inherited")
    folder = run(tmp_path / "run", digits, run_config)
    ours, fresh = ({f["text"]: f for f in finalists(each)} for each in (folder, unhalved))
    assert ours.keys() == fresh.keys()
    assert all(f["proxy_loss"] == fresh[text]["proxy_loss"] for text, f in ours.items())
    assert any(f["standalone_accuracy"] != fresh[text]["standalone_accuracy"] for text, f in ours.items())
    state = Search(run_config, digits, folder, runtime.start(run_config))
    state.read_checkpoint()
    graph = state.space.graph(spaces.from_json(finalists(folder)[0]["arch"]))
    training = new_training(
        graph,
        digits,
        state.train,
        recipe(run_config.weights, run_config.derive),
        4,
        run_config.seed,
        state.runtime,
        state.supernet,
    )
    while training.epoch < 4:
        training.train_epoch()
    assert training.score(state.validation).accuracy.item() == finalists(folder)[0]["standalone_accuracy"]


# ---- successive halving


def test_halving_stops_some_and_changes_nothing_else(halved: RunFolder, unhalved: RunFolder) -> None:
    ours, whole = finalists(halved), {f["text"]: f for f in finalists(unhalved)}
    assert [len(f["rungs"]) for f in ours] == [3, 2, 1, 1]  # the best first: who came furthest
    assert [rung["epochs"] for rung in ours[0]["rungs"]] == [1, 2, 4]
    assert ours[0]["standalone_accuracy"] == whole[ours[0]["text"]]["standalone_accuracy"]
    for f in ours:
        assert f["standalone_accuracy"] == f["rungs"][-1]["standalone_accuracy"]
    # who went on was the best at the rung, and of equals the first
    by_rank = {record["arch"]: record["rank"] for record in records(halved)}
    for rung, count in ((0, 2), (1, 1)):
        there = [f for f in ours if len(f["rungs"]) > rung]
        best = sorted(there, key=lambda f: (-f["rungs"][rung]["standalone_accuracy"], by_rank[f["text"]]))[:count]
        assert {f["text"] for f in best} == {f["text"] for f in ours if len(f["rungs"]) > rung + 1}
    found = checkpoint.read_json(halved.result)
    assert found["text"] == ours[0]["text"] and {f["text"] for f in ours} == whole.keys()
    assert [f["rungs"] for f in finalists(unhalved)] == [
        [{"epochs": 4, **{figure: f[figure] for figure in FIGURES}}] for f in finalists(unhalved)
    ]


def test_a_record_for_each_finalist_at_each_rung(halved: RunFolder) -> None:
    found = records(halved)
    assert [(record["rung"], record["epochs"]) for record in found] == [(0, 1)] * 4 + [(1, 2)] * 2 + [(2, 4)]
    assert [record["rank"] for record in found[:4]] == [1, 2, 3, 4]
    by_text = {f["text"]: f for f in finalists(halved)}
    for record in found:
        rung = by_text[record["arch"]]["rungs"][record["rung"]]
        assert rung == {"epochs": record["epochs"], **{figure: record[figure] for figure in FIGURES}}


def test_all_work_is_counted(halved: RunFolder, digits: DataSet, tmp_path: Path) -> None:
    """Operations by each record; and what the progress bar hears is what was planned, but for parts of batches."""
    macs = {f["text"]: f["macs"] for f in finalists(halved)}
    train, validation = 898, 299
    steps = training_images(train, 300)
    before = next(record["flops"] for record in halved.records() if record["kind"] == "derive")
    ends = {0: 1, 1: 1, 2: 2}  # epochs to a rung from the one before
    for record in records(halved):
        work = (3 * ends[record["rung"]] * steps + validation) * macs[record["arch"]]
        assert record["flops"] - before == 2 * work
        before = record["flops"]
    run_config, heard = tiny(*HALVED), []
    folder = RunFolder(tmp_path / "run")
    folder.create(run_config)
    began = 0
    for record in search(run_config, digits, folder, runtime.start(run_config), heard.append):
        began = sum(heard) if record.kind == "derive" else began
    assert sum(heard) - began == finalists_work(run_config.derive, Images(steps, validation)).units
    assert_same_run(folder, halved)


def test_a_budget_says_who_goes_on() -> None:
    assert describe(tiny(*HALVED), 898).endswith(
        "4 finalists trained for 4 epochs, of which one in 2 goes on after 1, 2"
    )
    assert describe(tiny(*FOUR), 898).endswith("4 finalists trained for 4 epochs")


def test_rungs_in_tensorboard_and_in_show(halved: RunFolder, tmp_path: Path) -> None:
    space = spaces.build(tiny().space, (1, 8, 8), 10)
    with TensorBoard(tmp_path, halved.records(), space):
        pass
    events = EventAccumulator(str(tmp_path)).Reload()
    for epochs, count in ((1, 4), (2, 2), (4, 1)):
        scalars = events.Scalars(f"derive/standalone_accuracy_by_rank/after_{epochs}_epochs")
        expected = {r["rank"]: r["standalone_accuracy"] for r in records(halved) if r["epochs"] == epochs}
        assert {event.step: event.value for event in scalars} == pytest.approx(expected) and len(scalars) == count
    assert [event.step for event in events.Scalars("derive/proxy_accuracy_by_rank")] == [1, 2, 3, 4]
    shown = CliRunner().invoke(main, ["show", str(halved.path)]).output
    for finalist, trained in zip(finalists(halved), ("4 epochs", "2 epochs", "1 epoch", "1 epoch"), strict=True):
        assert f"standalone {finalist['standalone_accuracy']:.4f} after {trained}" in shown


# ---- what they are compared by


def test_the_training_loss_decides(digits: DataSet, tmp_path: Path) -> None:
    """At every rung, and in the end; the trainings are those that an accuracy is measured after."""
    by_loss = tiny(*FOUR, "derive.halving_eta=2", "derive.finalist_criterion=training-loss")
    ours = finalists(run(tmp_path / "run", digits, by_loss))
    assert [[rung["epochs"] for rung in f["rungs"]] for f in ours] == [[2, 4], [2, 4], [2], [2]]
    first = sorted(ours, key=lambda f: f["rungs"][0]["training_loss"])
    assert {f["text"] for f in first[:2]} == {f["text"] for f in ours[:2]}
    for group in (ours[:2], ours[2:]):
        losses = [f["training_loss"] for f in group]
        assert losses == sorted(losses) and losses == [f["rungs"][-1]["training_loss"] for f in group]


def test_the_training_loss_is_of_the_last_epoch(digits: DataSet, tmp_path: Path, unhalved: RunFolder) -> None:
    run_config, found = tiny(*FOUR), finalists(unhalved)[0]
    state = Search(run_config, digits, RunFolder(tmp_path), runtime.start(run_config))
    graph = state.space.graph(spaces.from_json(found["arch"]))
    training = new_training(
        graph, digits, state.train, recipe(run_config.weights, run_config.derive), 4, run_config.seed, state.runtime
    )
    losses = [training.train_epoch().loss for _ in range(4)]
    assert found["training_loss"] == losses[-1] != losses[0]


def test_an_epoch_without_a_finite_step_is_a_failure(
    digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no loss of zero, with which it would win."""
    original, trainings = Standalone.model, []

    def model(self: Standalone, inputs: Any, step: int) -> Any:
        trainings.extend([] if self in trainings else [self])
        broken = trainings.index(self) == 1 and self.epoch > 0
        for output in original(self, inputs, step):
            yield dataclasses.replace(output, logits=output.logits * math.inf) if broken else output

    monkeypatch.setattr(Standalone, "model", model)
    found = finalists(run(tmp_path / "run", digits, tiny(*FOUR, "derive.finalist_criterion=training-loss")))
    assert [f["training_loss"] is None for f in found] == [False, False, False, True]
    assert found[3]["standalone_accuracy"] is None


# ---- stops and crashes


@pytest.mark.parametrize("weights", ["fresh", "inherited"])
def test_stopped_at_every_step(digits: DataSet, tmp_path: Path, weights: str) -> None:
    run_config = tiny(*HALVED, f"derive.finalist_weights={weights}")
    whole, folder = run(tmp_path / "whole", digits, run_config), RunFolder(tmp_path / "run")
    steps = 2 * (4 * 1 + 2 * 1 + 1 * 2)
    assert sessions(folder, run_config, searching(run_config, digits), ask, Stopped) >= steps
    assert_same_run(folder, whole)
    ours, theirs = checkpoint.load(folder.checkpoint), checkpoint.load(whole.checkpoint)
    assert ours["macs"] == theirs["macs"] and ours["done"] == theirs["done"]
    assert ours["finalists"] == theirs["finalists"] == {}


def test_crashes_between_checkpoints(digits: DataSet, tmp_path: Path) -> None:
    run_config = tiny(*HALVED, "checkpoint_minutes=1e-9")
    whole, folder = run(tmp_path / "whole", digits, run_config), RunFolder(tmp_path / "run")
    assert sessions(folder, run_config, searching(run_config, digits), Crash(every=3), KeyboardInterrupt) > 5
    assert_same_run(folder, whole)


def test_stopped_at_every_record(digits: DataSet, tmp_path: Path, halved: RunFolder) -> None:
    """As a kill right after each of them would: who waits for the next rung is in the checkpoint, and nobody else."""
    run_config, waiting = tiny(*HALVED), []
    for _ in range(len(halved.records())):
        folder = run(tmp_path / "run", digits, run_config, stop_after=1)
        waiting.append(sorted(checkpoint.load(folder.checkpoint)["finalists"]))
    best = sorted(record["rank"] - 1 for record in records(halved) if record["rung"] == 1)
    last = [record["rank"] - 1 for record in records(halved) if record["rung"] == 2]
    assert waiting[:6] == [[], [], [0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    assert waiting[6:] == [best, best, []] and set(last) <= set(best)
    assert_same_run(run(tmp_path / "run", digits, run_config), halved)


# ---- failures


def failing(monkeypatch: pytest.MonkeyPatch, fails: Callable[[int], bool], error: Exception | None = None) -> None:
    """Let the scoring of finalists fail, by its number: no finite loss, or an error."""
    original, calls = Standalone.score, []

    def score(self: Standalone, *arguments: Any) -> Scores:
        calls.append(self)
        found = original(self, *arguments)
        if not fails(len(calls) - 1):
            return found
        if error is not None:
            raise error
        return Scores(torch.zeros(1), torch.tensor([math.nan]), found.images)

    monkeypatch.setattr(Standalone, "score", score)


@pytest.mark.parametrize("error", [None, OutOfMemory("none left")])
def test_who_fails_does_not_go_on(
    digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    failing(monkeypatch, lambda number: number in (0, 2, 3), error)
    found = finalists(run(tmp_path / "run", digits, tiny(*HALVED)))
    assert [len(f["rungs"]) for f in found] == [3, 1, 1, 1]  # one is left, and goes all the way
    assert [f["standalone_accuracy"] is None for f in found] == [False, True, True, True]


def test_the_last_one_fails(digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the best of the rung before wins; where all fail the criterion decides."""
    failing(monkeypatch, lambda number: number == 6)
    folder = run(tmp_path / "run", digits, tiny(*HALVED))
    found = finalists(folder)
    assert [len(f["rungs"]) for f in found] == [2, 1, 1, 3]
    assert found[3]["standalone_accuracy"] is None and found[3]["rungs"][1]["standalone_accuracy"] is not None
    assert checkpoint.read_json(folder.result)["text"] == found[0]["text"]
    failing(monkeypatch, lambda number: True)
    found = finalists(run(tmp_path / "all", digits, tiny(*HALVED)))
    assert [len(f["rungs"]) for f in found] == [1] * 4
    assert [f["reward"] for f in found] == sorted((f["reward"] for f in found), reverse=True)


def test_order_of_finalists() -> None:
    def finalist(epochs: int, accuracy: float | None, reward: float) -> dict[str, Any]:
        return {"rungs": [{"epochs": epochs, "standalone_accuracy": accuracy}], "reward": reward}

    rising = [(4, None, 0.1), (1, None, 0.2), (1, 0.0, 0.0), (1, 0.9, 0.5), (4, 0.5, 0.1), (4, 0.5, 0.2)]
    standings = [standing(finalist(*values), "reward") for values in rising]
    assert standings == sorted(standings) and len(set(standings)) == len(standings)
    losses = [(4, None, 0.1), (1, 3.0, 0.9), (1, 2.0, 0.1), (4, 2.5, 0.5)]
    rungs = [{"epochs": n, "standalone_accuracy": loss and 1 / n, "training_loss": loss} for n, loss, _ in losses]
    by_loss = [
        standing({"rungs": [rung], "reward": reward}, "reward", "training-loss")
        for rung, (*_, reward) in zip(rungs, losses, strict=True)
    ]
    assert by_loss == sorted(by_loss)


# ---- settings


def test_how_they_were_compared_is_said(digits: DataSet, tmp_path: Path, halved: RunFolder) -> None:
    more = ("derive.finalist_criterion=training-loss", "derive.finalist_image_size=4")
    run(tmp_path / "run", digits, tiny(*FOUR, *more))
    again = CliRunner().invoke(main, ["derive", str(tmp_path / "run"), "--set", "derive.finalist_epochs=2"]).output
    assert "after a short training of its own on 4x4 pixels, compared by training loss" in again
    (folder,) = (tmp_path / "run").glob("derive-*")
    shown = CliRunner().invoke(main, ["show", str(folder)]).output
    assert "finalists: trained on 4x4 pixels, compared by training loss\n" in shown
    for path, words in (
        (folder, " on 4x4 pixels, compared by training loss comes first"),
        (halved.path, " comes first"),
    ):
        assert CliRunner().invoke(main, ["report", str(path), "--output", str(tmp_path / "page.html")]).exit_code == 0
        assert f"The best after its own training{words}" in (tmp_path / "page.html").read_text()


def test_a_run_of_an_earlier_version_goes_on(digits: DataSet, tmp_path: Path, unhalved: RunFolder) -> None:
    """Stopped after its second finalist, with its TensorBoard; and its result goes with those of today."""
    old = run(tmp_path / "old", digits, tiny(*FOUR, "threads=1"), stop_after=4)
    state, written = checkpoint.load(old.checkpoint), checkpoint.read_json(old.path / "config.json")
    for finalist in state["derived"]["finalists"][:2]:
        del finalist["training_loss"], finalist["rungs"][0]["training_loss"]
    for name in NEWER["derive"]:
        del state["sizes"]["derive"][name], written["derive"][name]
    checkpoint.save(old.checkpoint, state)
    checkpoint.write_json(old.path / "config.json", written)
    lines = [{name: value for name, value in record.items() if name != "training_loss"} for record in old.records()]
    (old.path / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = CliRunner().invoke(main, ["search", "--resume", str(old.path)])
    assert done.exit_code == 0, done.output
    now, then = (checkpoint.read_json(folder.result) for folder in (unhalved, old))
    assert [f["text"] for f in now["finalists"]] == [f["text"] for f in then["finalists"]]
    assert sum("training_loss" in f["rungs"][0] for f in then["finalists"]) == 2
    now["config"]["threads"] = 1
    for name in NEWER["derive"]:
        del then["config"]["derive"][name]
    assert comparable(now) == comparable(then)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["derive.halving_eta=1"], "halving_eta must be 0 .off. or at least 2, but got 1, .* no finalist"),
        (["derive.finalist_weights=old"], "finalist_weights must be one of fresh, inherited, but got 'old'"),
        (["derive.finalist_epochs=0", "derive.finalist_weights=inherited"], "derive.finalist_epochs is 0; give it"),
        (["derive.finalist_epochs=0", "derive.finalist_image_size=8"], "or leave derive.finalist_image_size out"),
        (["derive.finalist_epochs=0", "derive.finalist_batch_size=8"], "or leave derive.finalist_batch_size out"),
        (["derive.finalist_epochs=0", "derive.finalist_lr_max=0.2"], "or leave derive.finalist_lr_max out"),
        (["derive.finalist_epochs=0", "derive.finalist_rounds=2"], "or leave derive.finalist_rounds out"),
        (["derive.finalist_lr_max=1e-9"], "must not be below weights.lr_min, where that training ends"),
        (
            ["derive.finalist_criterion=loss"],
            "finalist_criterion must be one of accuracy, training-loss, but got 'loss'",
        ),
        (["derive.halving_eta=2"], "must leave a selection .* with 2 finalists, 1 epochs and halving_first 2"),
        (["derive.halving_eta=2", "derive.finalist_epochs=8", "derive.finalists=1"], "with 1 finalists, 8 epochs"),
    ],
)
def test_settings_that_do_nothing_are_refused(more: list[str], match: str) -> None:
    with pytest.raises(UserError, match=match):
        config.check(tiny(*more))


def test_a_budget_may_leave_no_selection() -> None:
    """Which is no error of the user's, neither before the search nor when it is resumed."""
    config.check(tiny("derive.halving_eta=2", "budget=40m"))


def test_a_budget_may_leave_no_training(digits: DataSet, tmp_path: Path) -> None:
    """Nor is that one, whatever the user said of the training; and others derive from such a run."""
    said = (
        "derive.finalist_criterion=training-loss",
        "derive.finalist_image_size=4",
        "derive.finalist_weights=inherited",
    )
    config.check(tiny("derive.finalist_epochs=0", *said, "budget=40m"))
    folder = run(tmp_path / "run", digits, tiny(*FOUR, *said))
    values = checkpoint.read_json(folder.path / "config.json")
    values["derive"]["finalist_epochs"], values["budget"] = 0, "40m"
    checkpoint.write_json(folder.path / "config.json", values)
    for more in ((), ("--set", "derive.finalist_epochs=1")):
        output = str(tmp_path / f"derived{len(more)}")
        done = CliRunner().invoke(main, ["derive", str(folder.path), *more, "--output", output])
        assert done.exit_code == 0, done.output
        assert ("compared by training loss" in done.output) is bool(more)
    refused = CliRunner().invoke(main, ["derive", str(folder.path), "--set", "derive.finalist_image_size=4"])
    assert refused.exit_code == 2 and "derive.finalist_epochs is 0; give it more" in refused.output


def test_the_option(tmp_path: Path) -> None:
    printed = CliRunner().invoke(main, ["search", "--finalist-weights", "inherited", "--print-config"]).output
    assert 'finalist_weights = "inherited"' in printed
    assert SearchConfig().derive.finalist_weights == "fresh" and SearchConfig().derive.halving_eta == 0
    untrained = ["search", "--set", "derive.finalist_epochs=0", "--print-config"]
    own = [*untrained, "--preset", "cpu"]  # which has a figure to compare by
    assert 'finalist_criterion = "training-loss"' in CliRunner().invoke(main, own).output
    refused = CliRunner().invoke(main, [*untrained, "--set", "derive.finalist_criterion=training-loss"])
    assert refused.exit_code == 2 and "or leave derive.finalist_criterion out" in refused.output
    arguments = [
        "search",
        "--evaluator",
        "full-training",
        "--finalist-weights",
        "fresh",
        "--output",
        str(tmp_path / "r"),
    ]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2 and "--finalist-weights must be left out with --evaluator" in refused.output


def test_signals_are_heard_between_rungs(digits: DataSet, tmp_path: Path, halved: RunFolder) -> None:
    """The scoring at a rung's end is work too: a signal there stops the next finalist's first step."""
    stop, run_config, folder = StopRequest(), tiny(*HALVED), RunFolder(tmp_path / "run")
    folder.create(run_config)
    done: list[int] = []

    def hear(units: int) -> None:
        done.append(units)
        if units == 299 and len(records(folder)) == 3:  # the fourth finalist is scored
            stop.number = signal.SIGTERM

    with pytest.raises(Stopped):
        list(search(run_config, digits, folder, runtime.start(run_config), hear, stop=stop))
    assert len(records(folder)) == 4
    assert_same_run(run(folder.path, digits, run_config), halved)
