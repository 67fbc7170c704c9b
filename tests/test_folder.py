"""One process works in a run folder at a time, what a killed one left is cleared away, and images may move."""

from __future__ import annotations

import dataclasses
import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from enas import checkpoint, data
from enas.config import DataConfig
from enas.data import ImageSet, load
from enas.errors import UserError
from enas.phases import Search
from enas.runs import LOCK, RunFolder
from enas.standalone import Standalone
from enas.tracking import Progress, TensorBoard
from tests.stops import TINIER_OPTIONS, search_stops, signalled, stopping
from tests.test_cli import RETRAIN, enas, fails, images
from tests.test_search import comparable

HOLD = "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(); time.sleep(60)"
SMALL = [*TINIER_OPTIONS, "--batch-size", "16"]


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """An unfinished search."""
    with search_stops(epoch=1):
        assert enas("search", *TINIER_OPTIONS, "--output", tmp_path / "run").exit_code == 130
    return tmp_path / "run"


def test_a_second_process_is_refused_until_the_first_is_killed(interrupted: Path) -> None:
    before = (interrupted / "records.jsonl").read_bytes()
    command = [sys.executable, "-c", HOLD, str(interrupted / LOCK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()  # now it holds the lock
        fails("search", "--resume", interrupted, match=f"another enas is working on {interrupted}")
        assert (interrupted / "records.jsonl").read_bytes() == before
        holder.kill()
    assert enas("search", "--resume", interrupted).exit_code == 0


@pytest.mark.parametrize("resuming", [True, False])
def test_a_working_search_holds_its_folder(tmp_path: Path, resuming: bool) -> None:
    """From the inside of a run, new or resumed, another command finds the folder taken."""
    path, seen = tmp_path / "run", []
    original = Search.train_searcher

    def visited(self: Search) -> Any:
        seen.append(enas("search", "--resume", path).output)
        return original(self)

    if resuming:
        with search_stops(epoch=0):
            assert enas("search", *TINIER_OPTIONS, "--output", path).exit_code == 130
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Search, "train_searcher", visited)
        arguments = ["--resume", path] if resuming else [*TINIER_OPTIONS, "--output", path]
        assert enas("search", *arguments).exit_code == 0
    assert len(seen) == 2 and all("another enas is working on" in output for output in seen)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be a folder to write in"), RunFolder(tmp_path / "none").working():
        pass


def test_file_systems_without_locks_are_worked_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*arguments: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with pytest.warns(UserWarning, match="cannot be locked"), RunFolder(tmp_path).working():
        pass


def test_half_written_files_are_cleared_away(interrupted: Path) -> None:
    left = [".checkpoint.pt.4711", ".records.jsonl.1", ".config.json.99999", ".model.safetensors.3"]
    kept = [".checkpoint.pt", ".notes.5", "checkpoint.pt.7", ".checkpoint.pt.old"]
    for name in left + kept:
        (interrupted / name).write_bytes(b"half")
    assert enas("search", "--resume", interrupted).exit_code == 0
    names = {path.name for path in interrupted.iterdir()}
    assert names >= set(kept) and not names & set(left)


def test_a_run_whose_beginning_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with stopping(RunFolder, "store", lambda folder: True):
        result = enas("search", *TINIER_OPTIONS, "--seeds", "2", "--output", path)
    assert result.exit_code == 130 and f"interrupted: no run was begun in {path}; start again" in result.output
    (path / ".config.json.4711").write_text("{")
    (path / ".steps.json.4711").write_text("{")
    assert (path / "steps.json").exists()
    fails("search", "--resume", path, match="must be a run folder")
    assert enas("search", *TINIER_OPTIONS, "--output", path).exit_code == 0
    names = {file.name for file in path.iterdir()}
    assert "config.json" in names and not names & {".config.json.4711", ".steps.json.4711", "steps.json"}


@pytest.mark.parametrize(
    ("name", "content"),
    [("steps.json", "[]"), ("steps.json", "mine"), ("steps.json", "{}"), (".notes.json.5", ""), (".config.json", "")],
)
def test_files_that_no_beginning_left(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    fails("search", *TINIER_OPTIONS, "--output", tmp_path, match="must be new or empty")
    assert (tmp_path / name).read_text() == content


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as in a terminal: a shell lets programs in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("number", "text"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "stopped by SIGTERM")])
def test_signals_before_there_is_a_run(tmp_path: Path, interrupted: Path, number: signal.Signals, text: str) -> None:
    before, path, trained = signal.getsignal(number), tmp_path / "new", tmp_path / "trained"
    retrain: list[str | Path] = ["retrain", "macro:0", *RETRAIN, "--width", "4", "--output"]
    assert enas(*retrain, trained).exit_code == 0
    commands: list[tuple[list[str | Path], str]] = [
        (["search", *TINIER_OPTIONS, "--output", path], f"{text}: no run was begun in {path}; start again\n"),
        (["run", *TINIER_OPTIONS, "--output", path], f"{text}: no run was begun in {path}; start again\n"),
        ([*retrain, path], f"{text}: no run was begun in {path}; start again\n"),
        (["score", interrupted, "--random", "2"], f"{text}\n"),
        (["evaluate", trained, "--data", "digits"], f"{text}\n"),
    ]
    for command, expected in commands:
        with signalled(data, "load", number):
            result = enas(*command)
        assert result.exit_code == 128 + number and result.output.splitlines(True)[-1] == expected, result.output
    assert signal.getsignal(number) is before
    assert not (path / "config.json").exists()


def test_signals_before_the_first_checkpoint_and_after_the_last_step(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with stopping(Search, "train_shared_weights", lambda search: True):
        result = enas("search", *TINIER_OPTIONS, "--output", path)
    assert result.exit_code == 130
    assert f"interrupted: there is no checkpoint yet; go on with --resume and the run's folder, {path}" in result.output
    with signalled(TensorBoard, "finish", signal.SIGTERM):
        result = enas("search", "--resume", path)
    assert result.exit_code == 143
    assert f"stopped by SIGTERM, but {path} is finished; see enas show {path}" in result.output
    assert enas("show", path).exit_code == 0


def test_a_resumed_search_shows_the_epochs_that_a_budget_changed(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals: list[int] = []
    original = Progress.__init__

    def noted(self: Progress, total: int, *rest: Any) -> None:
        totals.append(total)
        original(self, total, *rest)

    monkeypatch.setattr(Progress, "__init__", noted)
    records = interrupted / "records.jsonl"
    text = records.read_text()
    for planned in (2, 7):
        records.write_text(text.replace('"epochs": 2', f'"epochs": {planned}'))
        with stopping(Search, "train_searcher", lambda search: True):
            assert f"| {planned} epochs, about" in enas("search", "--resume", interrupted).output
    assert totals[1] > 2 * totals[0]


def test_writing_leaves_the_name_that_is_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("os.fsync", lambda descriptor: seen.extend(path.name for path in tmp_path.iterdir()))
    for name in ("checkpoint.pt", "result.json", "records.jsonl", "model.safetensors"):
        checkpoint.write(tmp_path / name, lambda file: file.write(b""))
    temporary = set(seen) - {"checkpoint.pt", "result.json", "records.jsonl", "model.safetensors"}
    assert len(temporary) == 4 and all(checkpoint.TEMPORARY.fullmatch(name) for name in temporary)


def test_images_that_moved(tmp_path: Path) -> None:
    data, moved, run = images(tmp_path / "pets", {"cat": 40, "dog": 40}), tmp_path / "moved", tmp_path / "run"
    assert enas("search", *SMALL, "--data", data, "--output", tmp_path / "whole").exit_code == 0
    with search_stops(epoch=0):
        assert enas("search", *SMALL, "--data", data, "--output", run).exit_code == 130
    data.rename(moved)
    others = images(tmp_path / "others", {"cat": 40, "dog": 41})
    before = checkpoint.read_json(run / "config.json")
    fails("search", "--resume", run, match="there is no folder")
    fails("search", "--resume", run, "--data", others, match="but its images are others")
    fails("search", "--resume", run, "--data", moved, "--seed", "1", match="goes with no other option but --data")
    assert checkpoint.read_json(run / "config.json") == before
    with search_stops(epoch=1):
        assert enas("search", "--resume", run, "--data", moved).exit_code == 130
    assert enas("search", "--resume", run).exit_code == 0  # the folder knows the path by now
    after = checkpoint.read_json(run / "config.json")
    assert after == {**before, "data": {**before["data"], "name": str(moved)}}
    result, whole = (comparable(checkpoint.read_json(path / "result.json")) for path in (run, tmp_path / "whole"))
    for values in (result, whole):
        del values["config"]["data"]["name"]
    assert result == whole
    assert enas("score", run, "--random", "2").exit_code == 0
    fails("score", tmp_path / "whole", "--random", "2", match="there is no folder")
    assert enas("score", tmp_path / "whole", "--random", "2", "--data", moved).exit_code == 0
    fails("score", tmp_path / "whole", "--random", "2", "--data", others, match="but its images are others")


def test_images_that_move_between_the_steps_of_a_run(tmp_path: Path) -> None:
    data, run = images(tmp_path / "pets", {"cat": 40, "dog": 40}), tmp_path / "run"
    retrain = ["--retrain-epochs", "2", "--retrain-set", "sgd.batch_size=16"]
    # 68 images remain for training; the search trains on fewer of them
    with stopping(Standalone, "train_epoch", lambda training: len(training.images) == 68 and training.epoch == 1):
        assert enas("run", *SMALL, *retrain, "--data", data, "--output", run).exit_code == 130
    data.rename(tmp_path / "moved")
    fails("run", "--resume", run, match="there is no folder")
    others = images(tmp_path / "others", {"cat": 40, "dog": 41})
    before = checkpoint.read_json(run / "config.json")
    fails("run", "--resume", run, "--data", others, match="must go on with the images that it began with")
    assert checkpoint.read_json(run / "config.json") == before
    assert enas("run", "--resume", run, "--data", tmp_path / "moved").exit_code == 0
    for folder in (run, run / "retrain"):
        assert checkpoint.read_json(folder / "config.json")["data"]["name"] == str(tmp_path / "moved")
    assert enas("run", "--resume", run).exit_code == 0


def test_images_that_change_between_the_steps_of_a_run(tmp_path: Path) -> None:
    data, run = images(tmp_path / "pets", {"cat": 40, "dog": 40}), tmp_path / "run"
    with stopping(Standalone, "train_epoch", lambda training: len(training.images) == 68):
        assert enas("run", *SMALL, "--data", data, "--output", run).exit_code == 130
    assert (run / "result.json").exists()
    (data / "train" / "dog" / "0.png").unlink()
    fails("run", "--resume", run, match="must go on with the images that it began with")


def test_images_of_several_searches_move(tmp_path: Path) -> None:
    data, path = images(tmp_path / "pets", {"cat": 40, "dog": 40}), tmp_path / "all"
    with search_stops(epoch=1, seed=1):
        assert enas("search", *SMALL, "--data", data, "--seeds", "2", "--output", path).exit_code == 130
    data.rename(tmp_path / "moved")
    others = images(tmp_path / "others", {"cat": 40, "dog": 41})
    fails("search", "--resume", path, "--data", others, match="must go on with the images that it began with")
    assert enas("search", "--resume", path, "--data", tmp_path / "moved").exit_code == 0
    for folder in (path, path / "seed-0", path / "seed-1"):
        assert checkpoint.read_json(folder / "config.json")["data"]["name"] == str(tmp_path / "moved")


def test_the_images_of_a_retraining_move(tmp_path: Path) -> None:
    data, run = images(tmp_path / "pets", {"cat": 20, "dog": 20}), tmp_path / "run"
    arguments = ["retrain", "macro:0", *RETRAIN, "--batch-size", "8", "--width", "4", "--data", data]
    with stopping(Standalone, "train_epoch", lambda training: training.epoch == 1):
        assert enas(*arguments, "--output", run).exit_code == 130
    whole = enas(*arguments, "--output", tmp_path / "whole")
    data.rename(tmp_path / "moved")
    assert whole.exit_code == 0
    others = images(tmp_path / "others", {"cat": 20, "dog": 21})
    fails("retrain", "--resume", run, "--data", others, match="but its images are others")
    assert enas("retrain", "--resume", run, "--data", tmp_path / "moved").exit_code == 0
    losses = [checkpoint.read_json(path / "result.json")["test_loss"] for path in (run, tmp_path / "whole")]
    assert losses[0] == losses[1]


def test_the_fingerprint_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load(DataConfig(name="digits"), torch.device("cpu"))
    first = digits.fingerprint()
    monkeypatch.setattr(hashlib, "sha256", None)
    assert digits.fingerprint() == first


def test_the_fingerprint_is_of_all_images_labels_and_classes() -> None:
    data = load(DataConfig(name="digits"), torch.device("cpu"))
    more = data.test.subset(torch.arange(len(data.test) - 1))
    changed = data.test.images.clone()
    changed[7, 3, 3] += 1
    others = [
        {"test": more},
        {"test": ImageSet(changed, data.test.labels)},
        {"test": ImageSet(data.test.images, data.test.labels.flip(0))},
        {"train": data.train.subset(torch.arange(len(data.train)).flip(0))},
        {"classes": tuple("abcdefghij")},
    ]
    prints = {dataclasses.replace(data, **other).fingerprint() for other in others}
    assert len(prints | {data.fingerprint()}) == 6
    assert dataclasses.replace(data, name="elsewhere").fingerprint() == data.fingerprint()
