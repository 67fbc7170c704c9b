"""Budgets: how they are written, sizes that fill them, keeping to the time on the way."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

from enas import budget, config, runtime
from enas.budget import DERIVE_SCALES, DERIVE_SHARE, MAX_EPOCHS, MIN_EPOCHS, fit, plan, replanned
from enas.cli import main
from enas.config import PRESETS, Budget, SearchConfig, parse_budget
from enas.cost import cost
from enas.data import DataSet, load
from enas.errors import UserError
from enas.phases import Search
from enas.plan import Images, Work, derive_work, epoch_work, epochs_work, total_work
from enas.rates import Rates, measure, operations
from enas.runs import RunFolder
from enas.searching import search
from tests.test_search import TINY, comparable, tiny
from tests.toys import random_archs

# ---- text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", Budget(90, True)),
        ("40m", Budget(2400, True)),
        ("2h", Budget(7200, True)),
        (" 1.5D ", Budget(129600, True)),
        ("0.5 h", Budget(1800, True)),
        (".5m", Budget(30, True)),
        ("flops=2e15", Budget(2e15, False)),
        ("FLOPS= 1000000", Budget(1e6, False)),
    ],
)
def test_budgets(text: str, expected: Budget) -> None:
    assert parse_budget(text) == expected


NONSENSE = ["", "0s", "0", "40", "m", "-3m", "1e3s", "flops", "flops=", "flops=0", "flops=-1", "flops=nan", "flops=inf"]


@pytest.mark.parametrize(
    "text", [*NONSENSE, "flops=1e400", "9" * 400 + "s", "40 min", "2h30m", "2h\n2h", "flops=2e15s"]
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="budget must be a time such as 90s, 40m or 2h, or flops=2e15, but got"):
        parse_budget(text)


@settings(max_examples=200)
@given(st.text(max_size=12) | st.from_regex(r"(flops=)?[0-9.e+-]{0,12} ?[smhd]?", fullmatch=True))
@example("flops=1_0")
def test_any_text_is_a_budget_or_refused(text: str) -> None:
    try:
        parsed = parse_budget(text)
    except UserError as error:
        assert len(str(error)) < 200
    else:
        assert 0 < parsed.amount < math.inf
        assert parsed.is_time == (not text.strip().lower().startswith("flops"))


# ---- sizes

SIZES = Images(900, 300)  # images to train on and to score on
CONFIGS = {f"{name}-{space}": PRESETS[name](space)[0] for name in ("quick", "cpu") for space in ("macro", "micro")}
DERIVED = ("samples", "random", "finalists", "finalist_epochs")
each_config = pytest.mark.parametrize("name", CONFIGS)


def taken(found: SearchConfig, rates: Rates) -> float:
    return rates.of(total_work(found, SIZES))


def test_epochs_are_added_up_in_one_go() -> None:
    for searcher in ("reinforce", "random"):
        run_config = tiny(f"searcher={searcher}", "epochs=9", "controller.warmup_epochs=4")
        for first, end in ((0, 9), (0, 3), (2, 6), (4, 9), (5, 5), (6, 9), (0, 0)):
            one_by_one = sum((epoch_work(run_config, epoch, SIZES) for epoch in range(first, end)), Work())
            assert epochs_work(run_config, first, end, SIZES) == one_by_one


@settings(max_examples=80)
@example("cpu-macro", 1e5, 1e-6, 1e-2, 0.0)
@given(
    st.sampled_from(sorted(CONFIGS)),
    st.floats(1, 5).map(lambda digits: 10**digits),
    st.floats(-6, -3).map(lambda digits: 10**digits),
    st.floats(-2, 0).map(lambda digits: 10**digits),
    st.floats(0, 0.2),
)
def test_sizes_fill_the_budget_and_never_exceed_it(
    name: str, amount: float, training: float, scoring: float, update: float
) -> None:
    before, rates = CONFIGS[name], Rates(training, training * scoring, update)
    found_budget = Budget(amount, True)
    try:
        found = fit(dataclasses.replace(before, budget=f"{amount}s"), found_budget, rates, SIZES)
    except UserError as error:
        least = re.search(r"here about (\d+)s, but", str(error))
        assert least is not None and float(least[1]) > amount
        found_budget = Budget(float(least[1]) + 1, True)  # what it asks for is enough
        found = fit(before, found_budget, rates, SIZES)
    assert taken(found, rates) <= found_budget.amount * (1 + 1e-9)
    if found.weights.steps is None and found.epochs < MAX_EPOCHS:  # there was room for whole epochs, and not for all
        assert taken(found, rates) >= 0.8 * found_budget.amount
    assert found.epochs >= MIN_EPOCHS
    config.check(dataclasses.replace(found, budget=None))  # an ordinary configuration, with epochs to learn in
    share = before.controller.warmup_epochs / before.epochs
    assert found.controller.warmup_epochs == pytest.approx(share * found.epochs, abs=1)
    for part in DERIVED:
        least = 0 if part == "finalist_epochs" else 1
        assert least <= getattr(found.derive, part) <= getattr(before.derive, part)
    # nothing but sizes has changed
    sized = dataclasses.replace(
        found, epochs=before.epochs, weights=before.weights, controller=before.controller, derive=before.derive
    )
    assert dataclasses.replace(sized, budget=None) == before


@each_config
def test_short_epochs_use_what_there_is_too(name: str) -> None:
    """Between the least budget and the first that has room for whole epochs."""
    rates = Rates(1e-3, 2e-4, 0.02)
    whole = dataclasses.replace(CONFIGS[name], epochs=MIN_EPOCHS)
    amounts = [taken(whole, rates) * share for share in (0.5, 0.6, 0.7, 0.8, 0.9)]
    found = [fit(CONFIGS[name], Budget(amount, True), rates, SIZES) for amount in amounts]
    assert any(f.weights.steps is not None for f in found)
    for amount, sized in zip(amounts, found, strict=True):
        assert 0.8 * amount <= taken(sized, rates) <= amount


@each_config
def test_deriving_keeps_to_its_share_and_no_less(name: str) -> None:
    cheap_epochs = ["weights.steps=1", "controller.updates=1", "controller.batch_size=2", "derive.images_per_epoch=2"]
    rates, before = Rates(1e-3, 2e-4, 0.02), config.from_text(CONFIGS[name], cheap_epochs)
    whole = rates.of(derive_work(before, SIZES))
    for share in (1.0, 0.85, 0.7, 0.55, 0.45):
        amount = whole * share / DERIVE_SHARE
        found = fit(before, Budget(amount, True), rates, SIZES)
        spent = rates.of(derive_work(found, SIZES))
        assert 0.5 * DERIVE_SHARE * amount < spent <= DERIVE_SHARE * amount
        # the largest that fits: each step is a share of the preset's sizes, not of the step before
        steps = [dataclasses.replace(before, derive=budget._scaled(before.derive, scale)) for scale in DERIVE_SCALES]
        fitting = next(step for step in steps if rates.of(derive_work(step, SIZES)) <= DERIVE_SHARE * amount)
        assert derive_work(found, SIZES) == derive_work(fitting, SIZES)
        parts = [(getattr(found.derive, part), getattr(before.derive, part)) for part in DERIVED]
        assert all(now == then for now, then in parts) == (share == 1.0)


def test_a_budget_that_is_as_good_as_none_is_sized_at_once() -> None:
    for amount in (1e12, 1e300):
        found = fit(CONFIGS["quick-macro"], Budget(amount, False), Rates(1e-3, 1e-4, 0.0), SIZES)
        assert found.epochs > 10**6 and found.derive == CONFIGS["quick-macro"].derive
        assert found.controller.warmup_epochs == pytest.approx(0.4 * found.epochs, rel=1e-6)


@each_config
def test_too_small_a_budget_is_refused(name: str) -> None:
    for is_time, unit in ((True, "s, but got 1s"), (False, ", but got 1s")):
        run_config = dataclasses.replace(CONFIGS[name], budget="1s")
        with pytest.raises(UserError, match=f"must be large enough for 10 short epochs .*{unit}; give a larger"):
            fit(run_config, Budget(1.0, is_time), Rates(1.0, 0.1, 1.0), SIZES)


# ---- the search at hand


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(tiny().data, torch.device("cpu"))


def state_of(data: DataSet, path: Path, *more: str) -> Search:
    run_config = tiny(*more)
    return Search(run_config, data, RunFolder(path), runtime.start(run_config))


@pytest.mark.parametrize("space", ["macro", "micro"])
def test_operations_are_twice_the_macs_of_a_mean_architecture(space: str, digits: DataSet, tmp_path: Path) -> None:
    more = ["space.name=micro", "space.width=4", "space.nodes=2", "space.cells_per_stage=1"] if space == "micro" else []
    run_config = config.from_text(PRESETS["quick"](space)[0], more or TINY)
    state = Search(run_config, digits, RunFolder(tmp_path), runtime.start(tiny()))
    rates = operations(state)
    macs = [cost(state.space.graph(arch)).macs for arch in random_archs(state.space, 100, seed=5)]
    mean = sum(macs) / len(macs)
    spread = (sum((m - mean) ** 2 for m in macs) / len(macs)) ** 0.5
    assert rates.scoring == pytest.approx(2 * mean, abs=2 * 5 * spread * (1 / 128 + 1 / 100) ** 0.5)
    assert rates.training == 3 * rates.scoring and rates.update == 0


def test_a_budget_of_operations_needs_no_clock(
    digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_config = tiny("budget=flops=2e11")
    folder = RunFolder(tmp_path / "run")

    def sized(rates: Rates) -> SearchConfig:
        monkeypatch.setattr(budget, "measure", lambda state: rates)
        return plan(run_config, digits, folder, runtime.start(run_config)).config

    slow, fast = sized(Rates(1.0, 1.0, 1.0)), sized(Rates(1e-9, 1e-9, 1e-9))
    assert slow == fast != run_config
    state = state_of(digits, tmp_path)
    rates, sizes = operations(state), state.images
    assert 0.8 * 2e11 <= rates.of(total_work(slow, sizes)) <= 2e11
    assert not folder.path.exists()


def test_a_time_budget_counts_from_when_it_was_asked_for(
    digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = Rates(1e-5, 2e-6, 1e-3)
    monkeypatch.setattr(budget, "measure", lambda state: rates)
    run_config = tiny("budget=60s")
    found = []
    for waited in (0.0, 30.0):
        began = time.perf_counter() - waited
        planned = plan(run_config, digits, RunFolder(tmp_path / "run"), runtime.start(run_config), began)
        found.append(planned)
        state = state_of(digits, tmp_path)
        assert planned.forecast_s == rates.of(total_work(planned.config, state.images))
        assert 0.8 * (60 - waited) < planned.forecast_s <= 60 - waited
    # a run that goes on has its sizes
    again = plan(found[0].config, digits, RunFolder(tmp_path / "run"), runtime.start(run_config), sized=True)
    assert again.config == found[0].config


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("overhead", [0.0, 5.0])
def test_the_number_of_epochs_follows_the_time_that_they_take(
    speed: float, overhead: float, digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is `speed` times as slow as was measured, after `overhead` seconds of preparation."""
    rates = Rates(1e-4, 2e-5, 1e-3)
    begun = fit(tiny("budget=60s"), Budget(60 - overhead, True), rates, Images(898, 299))
    state = Search(begun, digits, RunFolder(tmp_path), runtime.start(begun))
    state.overhead_s = overhead
    sizes = state.images
    monkeypatch.setattr(Search, "elapsed_s", property(lambda self: self.overhead_s + speed * rates.of(self.done)))
    changes = []
    while state.epoch < state.config.epochs:
        state.done += epoch_work(begun, state.epoch, sizes)
        state.epoch += 1
        changed = replanned(state, rates)
        changes.append(changed.epochs - state.config.epochs)
        state.config = changed
    state.done += derive_work(state.config, sizes)
    one_epoch = speed * rates.of(epoch_work(begun, begun.epochs, sizes))
    assert 60 * 0.97 - one_epoch <= state.elapsed_s <= 60 * 1.03 + one_epoch
    if speed == 1.0:
        assert not any(changes) and state.config == begun
    else:
        assert (state.config.epochs > begun.epochs) == (speed < 1)
        ends = state.config
        share = begun.controller.warmup_epochs / begun.epochs
        assert abs(ends.controller.warmup_epochs - share * ends.epochs) <= 0.2 * ends.epochs  # it moved along
        assert sum(change != 0 for change in changes) < 5  # it settles


def test_a_machine_that_is_far_too_slow_still_lets_the_controller_learn(
    digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_of(digits, tmp_path, "budget=60s", "epochs=30", "controller.warmup_epochs=12")
    rates = Rates(1e-4, 2e-5, 1e-3)
    state.epoch = 2
    state.done = epochs_work(state.config, 0, 2, state.images)
    monkeypatch.setattr(Search, "elapsed_s", property(lambda self: 100 * rates.of(self.done)))
    cut = replanned(state, rates)
    assert (cut.epochs, cut.controller.warmup_epochs) == (3, 2)
    assert (cut.derive.finalist_epochs, cut.derive.finalists) == (0, 1)
    state.epoch = 20
    assert replanned(state, rates).epochs == 20  # and none is taken back
    split = dataclasses.replace(state.config, weights=dataclasses.replace(state.config.weights, splits=1))
    state.config = state.initial = split
    assert replanned(state, rates).epochs == 21  # one is left to split in
    state.split([0])
    assert replanned(state, rates).epochs == 20


# ---- whole searches


def test_a_search_with_a_budget_of_operations(tmp_path: Path) -> None:
    few = ["derive.samples=2", "derive.random=2", "derive.finalists=1"]
    tiny = [text for text in TINY if not text.startswith("epochs=")] + ["controller.warmup_epochs=20"]  # of 50
    options = [part for text in [*tiny, *few] for part in ("--set", text)]
    path = tmp_path / "run"
    arguments = ["search", *options, "--budget", "flops=5e8", "--output", str(path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert re.search(r"budget flops=5e8: (\d+) epochs \((\d+) of warm-up\) of \d+ training steps", result.output)
    records, stored = RunFolder(path).records(), json.loads((path / "config.json").read_text())
    epochs = [record for record in records if record["kind"] == "epoch"]
    assert len(epochs) == stored["epochs"] >= MIN_EPOCHS
    assert {record["epochs"] for record in epochs} == {stored["epochs"]}
    assert sum(record["warmup"] for record in epochs) == stored["controller"]["warmup_epochs"] > 0
    assert stored["budget"] == "flops=5e8" and (path / "result.json").exists()
    again = CliRunner().invoke(main, [*arguments[:-1], str(tmp_path / "again"), "--print-config"])
    assert 'budget = "flops=5e8"' in again.output
    refused = CliRunner().invoke(main, ["search", *options, "--budget", "flops=10", "--output", str(tmp_path / "r")])
    assert refused.exit_code == 2 and "the budget must be large enough" in refused.output
    assert not (tmp_path / "r" / "config.json").exists()


def test_a_number_of_epochs_beside_a_budget_is_refused(tmp_path: Path) -> None:
    for epochs in (["--epochs", "10"], ["--set", "epochs=10"]):
        arguments = ["search", "--budget", "40m", *epochs, "--output", str(tmp_path / "run")]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2 and "epochs and a budget must not be given together" in result.output
    assert not (tmp_path / "run").exists()


def test_a_search_replans_and_resumes_with_its_new_number_of_epochs(
    digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is what the cost model says, twice as slow as was measured."""
    rates = Rates(1e-4, 2e-5, 1e-3)
    few = ["derive.samples=2", "derive.random=2", "derive.finalists=1", "weights.batch_size=300"]
    run_config = fit(tiny("budget=3s", *few), Budget(3.0, True), rates, Images(898, 299))
    monkeypatch.setattr(Search, "elapsed_s", property(lambda self: 2 * rates.of(self.done)))

    def go(path: Path, stop_after: int | None = None) -> list[dict[str, Any]]:
        folder = RunFolder(path)
        if not (path / "config.json").exists():
            folder.create(run_config)
        records: Iterator[Any] = search(run_config, digits, folder, runtime.start(run_config), rates=rates)
        for count, _ in enumerate(records, start=1):
            if count == stop_after:
                break
        return folder.records()

    whole = go(tmp_path / "whole")
    epochs = [record["epochs"] for record in whole if record["kind"] == "epoch"]
    assert epochs[0] == run_config.epochs and len(epochs) == epochs[-1] < run_config.epochs
    assert go(tmp_path / "parts", stop_after=3) == go(tmp_path / "parts", stop_after=0)[:3]
    go(tmp_path / "parts", stop_after=3)
    assert comparable(go(tmp_path / "parts")) == comparable(whole)


def test_without_rates_or_time_the_number_of_epochs_stays(digits: DataSet, tmp_path: Path) -> None:
    for name, more, rates in (("a", "budget=1s", None), ("b", "budget=flops=1e3", Rates(1e9, 1e9, 1e9))):
        folder, run_config = RunFolder(tmp_path / name), tiny(more, "weights.steps=1", "controller.updates=1")
        folder.create(run_config)
        records = search(run_config, digits, folder, runtime.start(run_config), rates=rates)
        assert [record.epochs for record, _ in zip(records, range(3), strict=False)] == [3, 3, 3]  # type: ignore[union-attr]


def test_measuring_leaves_the_search_as_it_was(digits: DataSet, tmp_path: Path) -> None:
    state, untouched = state_of(digits, tmp_path), state_of(digits, tmp_path)
    rates = measure(state)
    assert min(rates.training, rates.scoring, rates.update) > 0
    for name, tensor in untouched.supernet.state_dict().items():
        assert torch.equal(state.supernet.state_dict()[name], tensor)
    assert all(parameter.grad is None for parameter in state.supernet.parameters())
    assert state.searcher.ask(5) == untouched.searcher.ask(5)
    assert state.done == Work()
