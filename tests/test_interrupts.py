"""Signals, kills and crashes in every phase: a run that goes on ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from enas import checkpoint, config, runtime
from enas.cli import main
from enas.config import RetrainConfig, SearchConfig
from enas.curriculum import Curriculum
from enas.data import DataSet, load
from enas.interrupts import Keeper, Stopped, StopRequest
from enas.phases import Search
from enas.plan import Work
from enas.rates import Rates
from enas.records import Record
from enas.retraining import retrain
from enas.runs import RunFolder
from enas.searching import search
from enas.standalone import Standalone
from tests.test_search import TINY, assert_same_run, comparable, tiny

SHORT = (*TINY, "weights.batch_size=300")
# Ticks: 3 epochs of 2 steps, 2 updates in 2 of the epochs, scoring in 2 parts, 2 finalists of 2 steps.
TICKS = 3 * 2 + 2 * 2 + 2 + 2 * 2
MICRO = (
    "epochs=2",
    "space.nodes=1",
    "space.width=2",
    "space.cells_per_stage=1",
    "controller.recurrence=gru",
    "weights.drop_path=0.3",
    "weights.batch_size=449",
    "derive.finalists=1",
)


def short(*more: str) -> SearchConfig:
    """A tiny search of few steps."""
    return tiny("weights.batch_size=300", *more)


def micro(*more: str) -> SearchConfig:
    """A tiny search of cells."""
    texts = [text for text in TINY if not text.startswith(("space.", "epochs=", "weights.batch_size"))]
    found: SearchConfig = config.from_text(config.PRESETS["quick"]("micro")[0], [*texts, *MICRO, *more])
    return found


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(tiny().data, torch.device("cpu"))


Session = Callable[[RunFolder, StopRequest, Callable[[int], None]], list[Record]]


def searching(run_config: SearchConfig, data: DataSet) -> Session:
    def session(folder: RunFolder, stop: StopRequest, on_work: Callable[[int], None]) -> list[Record]:
        return list(search(run_config, data, folder, runtime.start(run_config), on_work, stop=stop))

    return session


def sessions(
    folder: RunFolder,
    run_config: SearchConfig | RetrainConfig,
    session: Session,
    hear: Callable[[int, StopRequest], None],
    ends: type[BaseException],
) -> int:
    """Begin and continue until the run is through; `hear` may end a session. Returns how many it took."""
    folder.create(run_config)
    for count in range(1, 200):
        stop = StopRequest()
        try:
            session(folder, stop, lambda units, stop=stop: hear(units, stop))  # type: ignore[misc]
        except ends:
            assert folder.checkpoint.exists()
        else:
            return count
    raise AssertionError("it never ends")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digits: DataSet) -> RunFolder:
    """A search that nobody interrupted."""
    folder = RunFolder(tmp_path_factory.mktemp("whole") / "run")
    assert sessions(folder, short(), searching(short(), digits), lambda units, stop: None, Stopped) == 1
    return folder


# ---- a stop at any step


def ask(units: int, stop: StopRequest) -> None:
    """A signal during each step."""
    stop.number = signal.SIGTERM


def test_a_search_that_is_stopped_at_every_single_step(tmp_path: Path, digits: DataSet, whole: RunFolder) -> None:
    folder = RunFolder(tmp_path / "run")
    count = sessions(folder, short(), searching(short(), digits), ask, Stopped)
    # a session for each step; the comparison at an epoch's end is heard of too, and stops the next step
    assert count == TICKS + 1
    assert_same_run(folder, whole)


def test_a_search_of_cells_that_is_stopped_at_every_single_step(tmp_path: Path, digits: DataSet) -> None:
    folders = [RunFolder(tmp_path / name) for name in ("whole", "stopped")]
    sessions(folders[0], micro(), searching(micro(), digits), lambda units, stop: None, Stopped)
    assert sessions(folders[1], micro(), searching(micro(), digits), ask, Stopped) > 10
    assert_same_run(*folders)
    space = {record.get("best_arch", "").partition(":")[0] for record in folders[0].records()}
    assert "micro" in space


def retrain_config(**sgd: Any) -> RetrainConfig:
    values: dict[str, Any] = {"arch": "micro:0104-0033-1142-2041", "epochs": 2, "width": 3, "depth": 1}
    values |= {"precision": "float32", "device": "cpu", "data": {"name": "digits"}, "space": {"name": "micro"}}
    everything = {"ema_decay": 0.8, "auxiliary_weight": 0.4, "drop_path": 0.3, "mixup": 0.4, **sgd}
    found: RetrainConfig = config.update(RetrainConfig(), {**values, "sgd": {"batch_size": 200, **everything}})
    return found


def retraining(run_config: RetrainConfig, data: DataSet) -> Session:
    def session(folder: RunFolder, stop: StopRequest, on_work: Callable[[int], None]) -> list[Record]:
        return list(retrain(run_config, data, folder, runtime.start(run_config), on_work, stop=stop))

    return session


def assert_same_retraining(a: RunFolder, b: RunFolder) -> None:
    assert comparable(a.records()) == comparable(b.records())
    assert comparable(checkpoint.read_json(a.result)) == comparable(checkpoint.read_json(b.result))
    (ours, header), (theirs, other) = (checkpoint.load_model(folder.path / "model.safetensors") for folder in (a, b))
    assert header == other and ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_retraining_that_is_stopped_or_crashes_at_every_step(tmp_path: Path, digits: DataSet) -> None:
    folders = [RunFolder(tmp_path / name) for name in ("whole", "stopped", "crashed")]
    run_config = retrain_config()
    sessions(folders[0], run_config, retraining(run_config, digits), lambda units, stop: None, Stopped)
    steps = 2 * (1197 // 200)
    assert sessions(folders[1], run_config, retraining(run_config, digits), ask, Stopped) == steps + 1
    assert_same_retraining(folders[1], folders[0])

    # the configuration is part of a checkpoint's identity, so this one has a result of its own
    often = config.update(run_config, {"checkpoint_minutes": 1e-9})
    crash = Crash(every=3)
    assert sessions(folders[2], often, retraining(often, digits), crash, KeyboardInterrupt) == steps // 2
    kept, expected = (checkpoint.load_model(folder.path / "model.safetensors")[0] for folder in folders[::2][::-1])
    assert all(torch.equal(tensor, expected[name]) for name, tensor in kept.items())


# ---- crashes between checkpoints


class Crash:
    """Breaks down during every third piece of work of a session, before anything of it is saved."""

    def __init__(self, every: int) -> None:
        self.every, self.heard = every, 0
        self.stop: StopRequest | None = None

    def __call__(self, units: int, stop: StopRequest) -> None:
        if stop is not self.stop:
            self.stop, self.heard = stop, 0
        self.heard += 1
        if self.heard == self.every:
            raise KeyboardInterrupt


def test_periodic_checkpoints_within_every_phase(
    tmp_path: Path, digits: DataSet, whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a checkpoint after every step a crash costs the step at hand and nothing else."""
    often, folder, crash = short("checkpoint_minutes=1e-9"), RunFolder(tmp_path / "run"), Crash(every=3)
    done: list[int] = []
    original = Search.report

    def report(self: Search, work: Work) -> None:
        done.append(work.units)
        original(self, work)

    monkeypatch.setattr(Search, "report", report)
    count = sessions(folder, often, searching(often, digits), crash, KeyboardInterrupt)
    assert count > TICKS // 3
    assert comparable(folder.records()) == comparable(whole.records())
    ours, theirs = checkpoint.load(folder.checkpoint), checkpoint.load(whole.checkpoint)
    assert all(torch.equal(tensor, theirs["supernet"][name]) for name, tensor in ours["supernet"].items())
    assert ours["done"] == theirs["done"]
    wasted = sum(done) - Work(**theirs["done"]).units
    assert 0 < wasted < 2 * count * max(done)  # deriving reports two pieces, a batch each, before it saves


def test_without_periodic_checkpoints_a_crash_goes_back_to_the_phase(tmp_path: Path, digits: DataSet) -> None:
    """The default of three minutes is never reached here: only the phases' ends are saved."""
    saves: list[tuple[int, int]] = []
    original = Search.save

    def save(self: Search) -> None:
        saves.append((self.epoch, self.within.weights.step))
        original(self)

    folder = RunFolder(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Search, "save", save)
        sessions(folder, short(), searching(short(), digits), lambda units, stop: None, Stopped)
    # after the weights and after the epoch; derive and each finalist at the end
    assert saves == [(0, 2), (1, 0), (1, 2), (2, 0), (2, 2), (3, 0), (3, 0), (3, 0), (3, 0)]


def test_what_a_checkpoint_counts_is_what_was_reported(
    tmp_path: Path, digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the state is saved, in this session or a later one, in the epochs and in deriving."""
    often, folder = short("checkpoint_minutes=1e-9"), RunFolder(tmp_path / "run")
    done: list[int] = []
    saves = 0
    original = Search.save

    def save(self: Search) -> None:
        nonlocal saves
        saves += 1
        assert self.done.units == sum(done)
        original(self)

    monkeypatch.setattr(Search, "save", save)

    def hear(units: int, stop: StopRequest) -> None:
        done.append(units)
        if len(done) % 4 == 0:
            stop.number = signal.SIGINT

    def session(folder: RunFolder, stop: StopRequest, on_work: Callable[[int], None]) -> list[Record]:
        earlier: list[int] = []
        before = sum(done)
        records = search(often, digits, folder, runtime.start(often), on_work, earlier.append, stop)
        assert earlier == [before]  # what a progress bar begins with
        return list(records)

    assert sessions(folder, often, session, hear, Stopped) > 4
    assert saves > TICKS


# ---- signals, as the command line hears them


def enas(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# one thread, as here: the number of threads is part of what makes a run repeatable
OPTIONS = [part for text in (*SHORT, "threads=1") for part in ("--set", text)]
RETRAIN = ["micro:0104-0033-1142-2041", "--epochs", "2", "--width", "3", "--batch-size", "200"]
RETRAIN += ["--set", "precision=float32", "--set", "device=cpu", "--set", "threads=1"]


MEASURED = Rates(1e-5, 1e-5, 1e-5)  # in place of the measurement before a search, which uses the same methods


def kill_at(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, at: int, *signals: int) -> None:
    """Let this process get signals when a method is called for the `at`-th time."""
    calls, original = 0, getattr(owner, method)

    def called(self: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            for number in signals:
                os.kill(os.getpid(), number)
        return original(self, *arguments, **named)

    monkeypatch.setattr(owner, method, called)


@pytest.fixture(scope="module")
def commanded(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("commanded") / "run"
    assert enas("search", *OPTIONS, "--output", path).exit_code == 0
    return RunFolder(path)


@pytest.mark.parametrize(
    ("owner", "method", "at", "number"),
    [
        (Curriculum, "of", 3, signal.SIGTERM),  # the weights of the second epoch
        (Search, "validation_batch", 2, signal.SIGINT),  # the controller's first update
        (Search, "validation_batch", 4, signal.SIGTERM),  # the comparison behind it: heard in the next epoch
        (Search, "validation_batches", 1, signal.SIGTERM),  # scoring, to derive
        (Standalone, "model", 2, signal.SIGINT),  # the first finalist
        (Standalone, "score", 1, signal.SIGTERM),  # heard by the second one
    ],
)
def test_a_signal_in_every_phase_of_a_search(
    tmp_path: Path, commanded: RunFolder, owner: type, method: str, at: int, number: signal.Signals
) -> None:
    path, before = tmp_path / "run", signal.getsignal(number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enas.budget.measure", lambda state: MEASURED)
        kill_at(patch, owner, method, at, number)
        result = enas("search", *OPTIONS, "--output", path)
    assert result.exit_code == 128 + number, result.output
    assert f"stopped by {number.name}: the state is saved; go on with --resume and the run's folder" in result.output
    assert "Traceback" not in result.output and not (path / "result.json").exists()
    assert signal.getsignal(number) is before
    assert enas("search", "--resume", path).exit_code == 0
    assert_same_run(RunFolder(path), commanded)


def test_a_signal_in_a_retraining(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enas.retraining.forecast_s", lambda *arguments: 1.0)
        kill_at(patch, Standalone, "model", 8, signal.SIGTERM)  # five steps an epoch
        result = enas("retrain", *RETRAIN, "--output", tmp_path / "r")
    assert result.exit_code == 143 and "stopped by SIGTERM" in result.output
    assert len(RunFolder(tmp_path / "r").records()) == 1
    assert enas("retrain", "--resume", tmp_path / "r").exit_code == 0
    assert enas("retrain", *RETRAIN, "--output", tmp_path / "w").exit_code == 0
    assert_same_retraining(RunFolder(tmp_path / "r"), RunFolder(tmp_path / "w"))


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM)])
def test_a_second_signal_stops_at_once(
    tmp_path: Path, commanded: RunFolder, numbers: tuple[signal.Signals, ...]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enas.budget.measure", lambda state: MEASURED)
        kill_at(patch, Curriculum, "of", 4, *numbers)  # in the second epoch: what the first one saved is there
        result = enas("search", *OPTIONS, "--output", tmp_path / "run")
    assert result.exit_code == 130
    assert "interrupted: the last checkpoint is intact; go on with --resume" in result.output
    assert checkpoint.load(tmp_path / "run" / "checkpoint.pt")["epoch"] == 1
    assert enas("search", "--resume", tmp_path / "run").exit_code == 0
    assert_same_run(RunFolder(tmp_path / "run"), commanded)


def test_requests_and_handlers_by_hand() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest() as stop:
        assert stop.number is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        assert stop.number == signal.SIGTERM  # the first one says how it ends
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

    found: list[Any] = []

    def elsewhere() -> None:
        with StopRequest():  # signals belong to the main thread, and so they are left alone
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == before[1:]


def test_the_keeper_saves_when_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, saves = 100.0, 0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def save() -> None:
        nonlocal saves
        saves += 1

    stop = StopRequest()
    keeper = Keeper(save, 60, stop)
    for now, expected in ((159.0, 0), (161.0, 1), (220.0, 1), (221.5, 2)):  # noqa: B007
        keeper.tick()
        assert saves == expected
    now = 280.0
    keeper.saved()  # somebody did it for another reason
    now = 300.0
    keeper.tick()
    assert saves == 2
    stop.number = signal.SIGTERM
    with pytest.raises(Stopped, match="stopped by SIGTERM") as stopped:
        keeper.tick()
    assert saves == 3 and stopped.value.number == 15


# ---- processes, from outside


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes], limit_s: float = 300) -> None:
    start = time.monotonic()
    while not condition():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() - start < limit_s, "it did not get there"
        time.sleep(0.01)


def kept(folder: RunFolder) -> dict[str, Any]:
    """The last checkpoint, once there is one."""
    return checkpoint.load(folder.checkpoint) if folder.checkpoint.exists() else {}


def written(folder: RunFolder) -> int:
    """When the last checkpoint was written, in nanoseconds; 0 without one."""
    return folder.checkpoint.stat().st_mtime_ns if folder.checkpoint.exists() else 0


# with a checkpoint after each step, which says how far it is
LONG = [*OPTIONS, "--set", "checkpoint_minutes=1e-9", "--set", "controller.updates=8"]
LONG += ["--set", "derive.finalists=1", "--set", "derive.finalist_epochs=5"]


def killed(
    arguments: list[str], folder: RunFolder, where: Callable[[dict[str, Any]], bool], number: signal.Signals
) -> str:
    """Start a command, send it the signal when a checkpoint it wrote is `where`; returns its error output."""
    command = [sys.executable, "-m", "enas", *arguments]
    # a checkpoint left by a killed process can be `where` already, before this one minds its signals
    looked_at = written(folder)

    def reached() -> bool:
        nonlocal looked_at
        before, looked_at = looked_at, written(folder)
        return looked_at != before and where(kept(folder))

    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    until(reached, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    # a shell says 128 + n of a process that a signal killed
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), errors.decode()
    assert not folder.result.exists()
    return errors.decode()


def test_a_search_killed_from_outside_again_and_again(tmp_path: Path) -> None:
    folder, whole = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "whole")
    begin, resume = ["search", *LONG, "--output", str(folder.path)], ["search", "--resume", str(folder.path)]
    errors = [
        killed(begin, folder, lambda s: len(s["within"]["told"]) >= 2, signal.SIGTERM),
        killed(resume, folder, lambda s: any(one["epoch"] >= 1 for one in s["finalists"].values()), signal.SIGKILL),
    ]
    assert ["stopped by SIGTERM: the state is saved" in text for text in errors] == [True, False]
    assert not any("Traceback" in text for text in errors)
    assert enas("search", "--resume", folder.path).exit_code == 0
    assert enas("search", *LONG, "--output", whole.path).exit_code == 0
    assert_same_run(folder, whole)
    assert "is finished" in enas("search", "--resume", folder.path).output  # with exit code 0


@pytest.mark.slow
def test_a_retraining_killed_from_outside(tmp_path: Path) -> None:
    arguments = ["retrain", *RETRAIN, "--epochs", "6", "--set", "checkpoint_minutes=1e-9"]

    def middle(state: dict[str, Any]) -> bool:
        return bool(state["training"]["epoch"] >= 2 and state["training"]["state"]["step"] >= 1)

    folder = RunFolder(tmp_path / "r")
    errors = killed([*arguments, "--output", str(folder.path)], folder, middle, signal.SIGINT)
    assert "stopped by SIGINT: the state is saved" in errors and "Traceback" not in errors
    assert 2 <= kept(folder)["training"]["epoch"] < 6
    assert enas("retrain", "--resume", tmp_path / "r").exit_code == 0
    assert enas(*arguments, "--output", tmp_path / "w").exit_code == 0
    assert_same_retraining(RunFolder(tmp_path / "r"), RunFolder(tmp_path / "w"))
