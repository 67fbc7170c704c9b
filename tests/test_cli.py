"""The command line: the whole path on tiny runs, and every kind of bad input."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from enas import checkpoint
from enas.cli import main
from tests.test_search import TINY

TINY_OPTIONS = [part for text in TINY for part in ("--set", text)]
RETRAIN = ["--epochs", "2", "--set", "precision=float32", "--set", "device=cpu", "--batch-size", "128"]


def enas(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def fails(*arguments: str | Path, match: str) -> None:
    """The command must end with code 2 and one line that begins with `error:` and contains `match`."""
    result = enas(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert match in line
    assert "Traceback" not in result.output


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a finished tiny search."""
    path = tmp_path_factory.mktemp("cli") / "run"
    result = enas("search", *TINY_OPTIONS, "--output", path)
    assert result.exit_code == 0, result.output
    assert f"enas retrain {path}" in result.output
    baseline = json.loads((path / "result.json").read_text())["random_baseline"]
    assert "controller minus random" in result.output and f", {baseline['images']} validation images)" in result.output
    return path


def test_commands_to_copy_are_quoted_where_a_shell_needs_it(searched: Path, tmp_path: Path) -> None:
    """Both what a finished run names next and what an error says to do."""
    run = tmp_path / "a run; of mine"
    shutil.copytree(searched, run)
    derived = enas("derive", run, "--epochs", "1", "--output", run / "other")
    assert derived.exit_code == 0, derived.output
    shown = next(line for line in derived.output.splitlines() if "enas show" in line)
    assert shlex.split(shown)[1:] == ["enas", "show", str(run / "other")]
    (run / "result.json").unlink()
    result = enas("derive", run)
    said = result.output[result.output.index("enas search --resume") :]
    assert result.exit_code == 2 and shlex.split(said) == ["enas", "search", "--resume", str(run)]


@pytest.fixture(scope="module")
def retrained(searched: Path) -> Path:
    result = enas("retrain", searched, *RETRAIN)
    assert result.exit_code == 0, result.output
    return searched / "retrain"


def test_help_needs_no_torch() -> None:
    code = (
        "import sys, enas.cli; enas.cli.main(['search', '--help'], standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_version() -> None:
    assert enas("--version").output.startswith("enas, version ")


def test_every_setting_of_a_preset_survives_the_toml_file(tmp_path: Path) -> None:
    for preset, *space in (("quick",), ("cpu", "--space", "chain"), ("cifar10-macro",)):
        printed = enas("search", "--preset", preset, *space, "--set", "data.cutout=2", "--print-config").output
        (tmp_path / "c.toml").write_text(printed)
        assert enas("search", "--config", tmp_path / "c.toml", "--print-config").output == printed


def test_options_beat_the_file_and_set_beats_options(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("seed = 1\nepochs = 5\n[weights]\nbatch_size = 7\n")
    arguments = ["--config", tmp_path / "c.toml", "--epochs", "6", "--seed", "3", "--set", "seed=4"]
    printed = enas("search", *arguments, "--print-config").output
    assert "batch_size = 7" in printed and "\nepochs = 6\n" in printed and "seed = 4\n" in printed


def test_a_typed_space_beats_the_one_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(enas("search", "--seed", "7", "--width", "6", "--print-config").output)
    printed = enas("search", "--config", tmp_path / "c.toml", "--space", "micro", "--print-config").output
    assert 'name = "micro"' in printed and "layers" not in printed and "seed = 7\n" in printed
    assert "width = 16\n" in printed, "the file's width is of another space"
    printed = enas("search", "--config", tmp_path / "c.toml", "--space", "macro", "--print-config").output
    assert printed == (tmp_path / "c.toml").read_text()
    (tmp_path / "c.toml").write_text("space = 3\n")
    fails("search", "--config", tmp_path / "c.toml", "--space", "micro", match="space must be a table")


def test_a_typed_preset_beats_the_one_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('preset = "quick"\nepochs = 5\n')
    printed = enas("search", "--config", tmp_path / "c.toml", "--preset", "cpu", "--print-config").output
    expected = enas("search", "--preset", "cpu", "--epochs", "5", "--print-config").output
    assert printed == expected and 'preset = "cpu"' in printed
    assert 'preset = "quick"' in enas("search", "--config", tmp_path / "c.toml", "--print-config").output
    for assignment in ("preset=cpu", " preset = cpu"):
        fails("search", "--set", assignment, "--print-config", match="a preset must be given with --preset")
    (tmp_path / "c.toml").write_text("preset = 3\n")
    fails("search", "--config", tmp_path / "c.toml", match="preset must be one of")


@pytest.mark.parametrize(
    ("cutout", "side", "expected"),
    [(0, 32, 16), (0, 16, 0), (8, 32, 8), (8, 12, 8), (20, 32, 20)],
    ids=["the preset's", "too large", "typed", "typed for small images", "typed, larger"],
)
def test_cutout_of_a_retraining(searched: Path, tmp_path: Path, cutout: int, side: int, expected: int) -> None:
    """The preset's retraining has one of 16, its search none."""
    values = json.loads((searched / "result.json").read_text())
    values["config"]["preset"], values["config"]["data"]["cutout"] = "cifar10-fast", cutout
    (tmp_path / "result.json").write_text(json.dumps({**values, "input_shape": [1, side, side]}))
    printed = enas("retrain", tmp_path / "result.json", "--print-config").output
    assert f"\ncutout = {expected}\n" in printed
    assert ("warning: retraining goes without the preset's cutout" in printed) == (not expected)


def test_show(searched: Path, retrained: Path) -> None:
    text = enas("show", searched).output
    assert text.startswith("macro:") and "layer 1: " in text and text.count("finalist: ") == 2
    values = json.loads(enas("show", searched, "--json").output)
    assert values["arch"]["space"] == "macro" and values["params"] > 0
    arch = values["text"]
    assert enas("show", arch).output.startswith(arch)
    assert "269,722 parameters, 40,551,040 MACs" in enas("show", "resnet20:").output
    assert "test accuracy" in enas("show", retrained).output


def test_retrain_writes_result_and_model(searched: Path, retrained: Path) -> None:
    result = json.loads((retrained / "result.json").read_text())
    assert result["text"] == json.loads((searched / "result.json").read_text())["text"]
    assert result["test_images"] == 600 and 0 <= result["test_accuracy"] <= 1
    with safe_open(retrained / "model.safetensors", framework="pt") as file:
        header = file.metadata()
        numbers = sum(file.get_tensor(name).numel() for name in file.keys() if "running" not in name)
    assert header["arch"] == result["text"]
    assert numbers == result["params"]
    again = json.loads(enas("evaluate", retrained, "--data", "digits", "--precision", "float32", "--json").output)
    assert again["test_accuracy"] == result["test_accuracy"] and again["test_loss"] == result["test_loss"]


def test_retrain_resumes_as_if_never_stopped(retrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from enas.standalone import Standalone

    arch = json.loads((retrained / "result.json").read_text())["text"]
    original = Standalone.train_epoch

    def interrupted(self: Standalone, *args: Any) -> Any:
        if self.epoch == 1:
            raise KeyboardInterrupt
        return original(self, *args)

    # macro's width is not part of the architecture's text
    arguments = ["retrain", arch, *RETRAIN, "--width", "4", "--output", tmp_path / "r"]
    with monkeypatch.context() as patch:
        patch.setattr(Standalone, "train_epoch", interrupted)
        stopped = enas(*arguments)
    assert stopped.exit_code == 130 and "--resume" in stopped.output
    assert enas("retrain", "--resume", tmp_path / "r").exit_code == 0
    whole = enas(*arguments[:-1], tmp_path / "w")
    assert whole.exit_code == 0
    # not the files' bytes: safetensors writes its header in no fixed order
    (a, a_header), (b, b_header) = (checkpoint.load_model(tmp_path / name / "model.safetensors") for name in "rw")
    assert a_header == b_header and a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_reference_runs_with_the_same_recipe(searched: Path) -> None:
    result = enas("retrain", searched, "--reference", "resnet20", *RETRAIN, "--width", "4")
    assert result.exit_code == 0, result.output
    values = json.loads((searched / "resnet20" / "result.json").read_text())
    assert values["text"] == "resnet20:" and values["config"]["epochs"] == 2


def test_tensorboard_holds_every_epoch_once_also_after_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from enas.phases import Search

    original = Search.train_searcher

    def interrupted(self: Search) -> Any:
        if self.epoch == 1:
            raise KeyboardInterrupt
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Search, "train_searcher", interrupted)
        assert enas("search", *TINY_OPTIONS, "--output", tmp_path / "run").exit_code == 130
    assert "1 of 3 epochs" in enas("show", tmp_path / "run").output
    assert enas("search", "--resume", tmp_path / "run").exit_code == 0
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    for tag in ("weights/loss", "proxy_accuracy/random", "controller/entropy", "choices_op/conv_3x3"):
        assert [event.step for event in events.Scalars(tag)] == [0, 1, 2], tag
    assert [event.step for event in events.Scalars("controller/reward")] == [1, 2]
    assert "architecture/best/text_summary" in events.Tags()["tensors"]


def images(path: Path, classes: dict[str, int], size: int = 8) -> Path:
    generator = torch.Generator().manual_seed(0)
    for name, count in classes.items():
        folder = path / "train" / name
        folder.mkdir(parents=True)
        for i in range(count):
            pixels = torch.randint(256, (size, size, 3), generator=generator, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / f"{i}.png")
    return path


def test_search_and_retrain_an_image_folder(tmp_path: Path) -> None:
    data = images(tmp_path / "pets", {"cat": 40, "dog": 40})
    result = enas("search", *TINY_OPTIONS, "--data", data, "--output", tmp_path / "run", "--batch-size", "16")
    assert result.exit_code == 0, result.output
    result = enas("retrain", tmp_path / "run", *RETRAIN, "--batch-size", "16")
    assert result.exit_code == 0, result.output
    values = json.loads((tmp_path / "run" / "retrain" / "result.json").read_text())
    assert values["classes"] == ["cat", "dog"] and values["test_images"] == 12  # 15 % of each class
    fails("evaluate", tmp_path / "run" / "retrain", "--data", "digits", match="must have the model's shape")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--set", "controller.lrr=1"], "there is no setting controller.lrr; did you mean lr?"),
        (["--set", "nothing"], "--set must be key=value"),
        (["--set", "controller.lr=fast"], "controller.lr must be a number"),
        (["--set", "controller.lr=0"], "controller.lr must be greater than 0"),
        (["--set", "weights.batch_size=1"], "weights.batch_size must be at least 2"),
        (["--set", "epochs=1.5"], "epochs must be a whole number"),
        (["--set", "space=macro"], "space must be a table"),
        (["--set", "space.name=resnet20"], "has no decisions"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--layers", "0"], "No such option"),
        (["--data", "no-such-folder"], "there is no folder"),
        (["--data", "imagenet"], "which is not downloaded"),
        (["--preset", "cpu"], "give --data"),
        (["--device", "tpu"], "device must be auto, cpu, cuda"),
        (["--config", "missing.toml"], "must be a readable TOML file"),
        (["--resume", "no-such-run"], "must be a run folder"),
        (["--resume", "x", "--seed", "1"], "goes with no other option"),
        (["--image-size", "3"], "image_size must be at least 4"),
        (["--cutout", "8"], "--cutout must be smaller"),
        (["--epochs", "10"], "the controller must have epochs to learn in"),
        (["--lr-max", "0.0001"], "the lowest learning rate must not be above"),
    ],
)
def test_bad_options(arguments: list[str], match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"  # a folder that no other test writes into
    here.mkdir()
    monkeypatch.chdir(here)
    result = enas("search", *(["--output", str(tmp_path / "run")] if "--resume" not in arguments else []), *arguments)
    assert result.exit_code == 2 and match in result.output and "Traceback" not in result.output
    assert os.listdir() == []
    assert not (tmp_path / "run" / "config.json").exists(), "nothing may be left behind that looks like a run"


def test_a_run_folder_is_never_overwritten(searched: Path, retrained: Path, tmp_path: Path) -> None:
    before = (searched / "result.json").read_bytes()
    fails("search", *TINY_OPTIONS, "--output", searched, match="must not hold a run")
    fails("retrain", searched, *RETRAIN, match="must not hold a run")
    assert (searched / "result.json").read_bytes() == before
    (tmp_path / "file").write_text("")
    fails("search", "--output", tmp_path / "file", match="is a file")
    fails("search", "--output", tmp_path / "file" / "run", match="must be writable")


@pytest.mark.parametrize(
    ("target", "match"),
    [
        ("no-such-run", "there must be a run folder, a result.json or an architecture"),
        ("macro:", "must have L(L+1)/2 choices"),
        ("macro:0-3", "must have L(L+1)/2 choices"),
        ("macro:9", "layer1/op must be in 0..5, but got 9"),
        ("macro:0-3é", "choices must be the characters"),
        ("atlas:0", "space must be one of"),
        ("macro:03-120-1", "dashes must separate the parts"),
        ("macro:0-31-", "dashes must separate the parts"),
        ("macro:" + "0" * 5050, "layers must be at most 64"),
        ("../../x:1", "must look like"),
    ],
)
def test_bad_architectures(target: str, match: str, tmp_path: Path) -> None:
    fails("retrain", target, "--output", tmp_path / "run", match=match)
    assert not (tmp_path / "run" / "config.json").exists()


def test_other_files_in_the_output_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "mine.txt").write_text("mine")
    fails("search", *TINY_OPTIONS, "--output", tmp_path, match="must be new or empty")
    assert (tmp_path / "tensorboard" / "mine.txt").read_text() == "mine"
    assert os.listdir(tmp_path) == ["tensorboard"]


@pytest.mark.parametrize("values", [{}, {"finalists": 3}, {"finalists": [{}]}, {"random_baseline": None}])
def test_damaged_results_of_finished_runs(searched: Path, tmp_path: Path, values: dict[str, Any]) -> None:
    for name in ("config.json", "result.json"):
        (tmp_path / name).write_bytes((searched / name).read_bytes())
    damaged = {**json.loads((searched / "result.json").read_text()), **values} if values else values
    (tmp_path / "result.json").write_text(json.dumps(damaged))
    fails("search", "--resume", tmp_path, match="must be a")


def test_evaluate_uses_the_test_images_of_the_training(tmp_path: Path) -> None:
    data = images(tmp_path / "pets", {"cat": 20, "dog": 20})
    split = ["--set", "data.test_fraction=0.4", "--set", "data.split_seed=7"]
    arguments = ["retrain", "macro:0", "--data", data, *RETRAIN, "--batch-size", "8", *split, "--width", "4"]
    assert enas(*arguments, "--output", tmp_path / "r").exit_code == 0
    trained = json.loads((tmp_path / "r" / "result.json").read_text())
    result = enas("evaluate", tmp_path / "r", "--data", data, "--precision", "float32", "--json")
    again = json.loads(result.output)
    assert again["test_images"] == trained["test_images"] == 16
    assert again["test_loss"] == trained["test_loss"]


def test_text_architectures_and_reference_are_retrained_at_their_own_width(searched: Path) -> None:
    printed = enas("retrain", "macro:0", "--preset", "cpu", "--print-config").output
    assert "\nwidth = 16\n" in printed
    printed = enas("retrain", searched, "--preset", "cifar10-macro", "--reference", "resnet20", "--print-config").output
    assert "# width =" in printed
    fails("retrain", "macro:0", "--reference", "resnet20", match="leave one out")


def test_resume_wants_the_right_kind_of_folder(searched: Path, retrained: Path) -> None:
    fails("search", "--resume", retrained, match="must be the folder of a search")
    fails("retrain", "--resume", searched, match="must be the folder of a retraining")
    fails("retrain", retrained, match="it is a retraining's")


def test_resnet_has_its_one_architecture(tmp_path: Path) -> None:
    fails("retrain", "resnet20:1", "--output", tmp_path / "run", match="must have 0 choices")
    fails("retrain", match="retrain needs a run folder")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 99},
        {"kind": "recipe"},
        {"arch": None},
        {"arch": {"schema": 1, "space": "macro", "choices": [0, "x"]}},
        {"arch": {"schema": 1, "space": "macro", "choices": [0] * 3}, "space": {"name": "macro", "layers": 1}},
        {"input_shape": [1, 8]},
        {"input_shape": "888"},
        {"classes": 7},
        {"config": {"epochs": "many"}},
        {"config": [1]},
        {"space": {"name": "macro", "width": -1}},
    ],
)
def test_hostile_result_files(searched: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    values = json.loads((searched / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps({**values, **change}))
    for command in ("show", "retrain"):
        result = enas(command, tmp_path / "result.json")
        assert result.exit_code == 2 and result.output.startswith("error: "), result.output
    assert sorted(os.listdir(tmp_path)) == ["result.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}'])
def test_files_that_are_no_results(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    fails("show", tmp_path / "result.json", match="result.json")
    fails("retrain", tmp_path / "result.json", match="result.json")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\0\0\0\0\0\0\0{}      "])
def test_files_that_are_no_models(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    fails("evaluate", tmp_path, "--data", "digits", match="model.safetensors must be")
    fails("evaluate", tmp_path / "missing", "--data", "digits", match="must be a safetensors file")


def test_unfinished_search_cannot_be_retrained(searched: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((searched / "config.json").read_text())
    fails("retrain", tmp_path, match=f"finish it: enas search --resume {tmp_path}")
    fails("retrain", tmp_path / "..", match="must be a run folder")


def test_commands_in_the_readme_parse() -> None:
    readme = Path(__file__).parents[1] / "README.md"
    lines = [line.split("#")[0].split() for line in readme.read_text().splitlines() if line.startswith("enas ")]
    assert len(lines) >= 5
    for _, name, *arguments in lines:
        command = main.commands[name]
        assert isinstance(command, click.Command)
        command.make_context(name, arguments).close()
