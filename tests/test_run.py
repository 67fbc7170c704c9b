"""`enas run`: search, retraining and reference in one folder, from whatever step it was in."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from enas import checkpoint
from enas.runs import RunFolder
from enas.standalone import Standalone
from enas.tracking import TensorBoard
from tests.stops import TINIER_OPTIONS, retraining_stops, search_stops, signalled
from tests.test_cli import RETRAIN, enas, fails
from tests.test_search import assert_same_run, comparable

RUN = [*TINIER_OPTIONS, "--reference", "resnet20", "--retrain-epochs", "2", "--retrain-set", "sgd.batch_size=128"]
PARTS = ("retrain", "resnet20")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run"
    result = enas("run", *RUN, "--seed", "3", "--output", path)
    assert result.exit_code == 0, result.output
    for name in PARTS:
        accuracy = checkpoint.read_json(path / name / "result.json")["test_accuracy"]
        assert f"{accuracy:.4f}" in result.output and str(path / name) in result.output
    assert "derived" in result.output and "controller minus random" in result.output
    return path


def same_retraining(a: Path, b: Path) -> None:
    assert comparable(RunFolder(a).records()) == comparable(RunFolder(b).records())
    assert comparable(checkpoint.read_json(a / "result.json")) == comparable(checkpoint.read_json(b / "result.json"))


def test_it_is_the_three_commands_one_after_the_other(whole: Path, tmp_path: Path) -> None:
    search = ["search", *TINIER_OPTIONS, "--seed", "3", "--output", tmp_path / "search"]
    assert enas(*search).exit_code == 0
    assert_same_run(RunFolder(whole), RunFolder(tmp_path / "search"))
    for name, options in (("retrain", []), ("resnet20", ["--reference", "resnet20"])):
        retrain = ["retrain", tmp_path / "search", *options, *RETRAIN, "--seed", "3"]
        assert enas(*retrain).exit_code == 0
        same_retraining(whole / name, tmp_path / "search" / name)


def test_interrupted_in_every_step(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    with search_stops(epoch=1, seed=3):
        assert enas("run", *RUN, "--seed", "3", "--output", path).exit_code == 130
    assert not (path / "retrain").exists()
    with retraining_stops(epoch=1, reference=False):
        assert enas("run", "--resume", path).exit_code == 130
    with retraining_stops(epoch=0, reference=True):
        assert enas("run", "--resume", path).exit_code == 130
    assert (path / "retrain" / "result.json").exists() and not (path / "resnet20" / "result.json").exists()
    assert enas("run", "--resume", path).exit_code == 0
    assert_same_run(RunFolder(path), RunFolder(whole))
    for name in PARTS:
        same_retraining(path / name, whole / name)
    finished = enas("run", "--resume", path)
    assert finished.exit_code == 0 and finished.output.count("is finished") == 3 and "derived" in finished.output


@pytest.mark.parametrize(("owner", "method"), [(Standalone, "score"), (TensorBoard, "finish")])
def test_a_signal_after_the_last_step_of_the_search(whole: Path, tmp_path: Path, owner: type, method: str) -> None:
    """While the last finalist is scored, or the result stands already: the retraining must not begin."""
    path = tmp_path / "run"
    with signalled(owner, method, signal.SIGTERM):
        stopped = enas("run", *RUN, "--seed", "3", "--output", path)
    assert stopped.exit_code == 143, stopped.output
    assert f"stopped by SIGTERM: the state is saved; go on with --resume and the run's folder, {path}" in stopped.output
    assert (path / "result.json").exists() and not (path / "retrain").exists()
    with signalled(TensorBoard, "finish", signal.SIGINT):  # of the retraining: its test set is read
        assert enas("run", "--resume", path).exit_code == 130
    assert (path / "retrain" / "result.json").exists() and not (path / "resnet20").exists()
    with signalled(TensorBoard, "finish", signal.SIGTERM):
        stopped = enas("run", "--resume", path)
    assert stopped.exit_code == 143 and f"{path} is finished" in stopped.output
    assert enas("run", "--resume", path).exit_code == 0
    for name in PARTS:
        same_retraining(path / name, whole / name)


def test_a_cutout_of_the_preset_that_is_too_large(tmp_path: Path) -> None:
    """Digits have 8 pixels, the preset's cutout 16."""
    retrain = ["--retrain-epochs", "1", "--retrain-set", "width=2", "--retrain-set", "sgd.batch_size=399"]
    arguments = ["--preset", "cifar10-fast", *TINIER_OPTIONS, "--data", "digits", *retrain]
    result = enas("run", *arguments, "--output", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "warning: retraining goes without the preset's cutout of 16: the images have 8 pixels" in result.output
    assert checkpoint.read_json(tmp_path / "run" / "retrain" / "config.json")["data"]["cutout"] == 0
    typed = ["--retrain-set", "data.cutout=16", "--output", tmp_path / "typed"]
    fails("run", *arguments, *typed, match="--cutout must be smaller than the images' 8 pixels, but got 16")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--retrain-set", "sgd.lrr=1"], "--retrain-set: there is no setting sgd.lrr"),
        (["--retrain-set", "epochs"], "must be key=value"),
        (["--retrain-epochs", "0"], "epochs must be at least 1"),
        (["--retrain-set", "sgd.lr_min=3"], "the lowest learning rate"),
        (["--retrain-set", "arch=macro:0"], "must leave the architecture and the images to the search"),
        (["--retrain-set", "data.name=pets"], "must leave the architecture and the images to the search"),
        (["--retrain-set", "data.split_seed=4"], "must leave the architecture and the images to the search"),
        (["--retrain-set", "data.cutout=8"], "--cutout must be smaller"),
        (["--retrain-set", "depth=2"], "--retrain-set: space macro scales by width alone, but got depth"),
        (
            ["--set", "space.layers=1", "--retrain-set", "sgd.auxiliary_weight=0.4"],
            "--retrain-set: an auxiliary classifier needs a network of three stages",
        ),
        (["--set", "controller.lrr=1"], "there is no setting controller.lrr"),
        (["--output", "taken"], "must be new or empty"),
    ],
)
def test_bad_settings_show_before_the_search(
    arguments: list[str], match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    fails("run", *TINIER_OPTIONS, "--output", "run", *arguments, match=match)
    assert not list(tmp_path.rglob("*.json"))


def test_printed_settings_can_be_read_back(tmp_path: Path) -> None:
    printed = enas("run", *RUN, "--print-config").output
    assert "# batch_size = 128" in printed and "# the retraining" in printed
    (tmp_path / "c.toml").write_text(printed)
    assert enas("search", "--config", tmp_path / "c.toml", "--print-config").output == printed.split("# the retr")[0]


def test_folders_that_it_did_not_begin(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((whole / "config.json").read_bytes())
    fails("run", "--resume", tmp_path, match="must be a folder of enas run")
    fails("run", "--resume", tmp_path / "none", match="must be a run folder")
    fails("run", "--resume", whole, "--reference", "resnet20", match="goes with no other option")


def test_another_training_in_its_place_is_not_taken_for_its_own(whole: Path, tmp_path: Path) -> None:
    for name in ("config.json", "result.json", "steps.json"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    assert enas("retrain", tmp_path, *RETRAIN, "--seed", "3", "--epochs", "1").exit_code == 0
    fails("run", "--resume", tmp_path, match="its settings are others; move it away")
