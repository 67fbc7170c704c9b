"""`enas export`: what to do where there is no network, what fails on the way, and operations of one's own."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from enas import checkpoint, config, spaces
from enas.cli.output import print_retrain_result
from enas.config import CustomOptions, RetrainConfig, SearchConfig
from enas.data import DataSet
from enas.export import files
from enas.retraining import MODEL
from enas.runs import STEPS, RunFolder
from enas.spaces import source
from tests.test_cli import enas, fails
from tests.test_custom_space import OWN_OPS
from tests.test_export_files import digits, logits_of, retrained, small  # noqa: F401

OWN = {"space": config.to_dict(CustomOptions(source="my.py:Mine", sha256="0"))}


def begun(path: Path, run_config: SearchConfig | RetrainConfig, kind: str | None = None, done: bool = False) -> Path:
    """A folder of a run. kind: of the command that does several. done: whether it has a result."""
    path.mkdir()
    RunFolder(path).store(run_config)
    if kind is not None:
        checkpoint.write_json(path / STEPS, {"schema": 1, "kind": kind})
    if done:
        RunFolder(path).result.write_text("{}")
    return path


@pytest.mark.parametrize("own", [{}, OWN])
def test_ways_to_a_network(tmp_path: Path, own: dict[str, Any]) -> None:
    search, training = config.update(SearchConfig(), own), config.update(RetrainConfig(), own)
    option = " --space my.py:Mine" if own else ""
    cases: list[tuple[SearchConfig | RetrainConfig, str | None, bool, str]] = [
        (training, None, False, "finish it: enas retrain --resume {}" + option),
        (training, None, True, "its training is finished, so restore the file or train it again"),
        (search, None, False, "finish the search first: enas search --resume {}" + option),
        (search, None, True, "train it first: enas retrain {}" + option),
        (search, "run", False, "finish it: enas run --resume {}" + option),
        (search, "run", True, "finish it: enas run --resume {}" + option),
        (search, "searches", True, "give one of its searches"),
    ]
    for number, (run_config, kind, done, way) in enumerate(cases):
        path = begun(tmp_path / str(number), run_config, kind, done)
        fails("export", path, "--to", "python", match=f"but it has none; {way.format(path)}")
    search_with_training = begun(tmp_path / "searched", search, done=True)
    below = begun(search_with_training / "retrain", training)
    fails("export", search_with_training, "--to", "python", match=f"finish it: enas retrain --resume {below}{option}")


@pytest.mark.parametrize("text", ['{"name": "another program"}', "[", "{}"])
def test_a_strange_configuration_beside_a_model(small: Path, text: str) -> None:  # noqa: F811
    (small / "config.json").write_text(text)
    result = enas("export", small / MODEL, "--to", "safetensors")
    assert result.exit_code == 0, result.output
    (small / MODEL).unlink()
    fails("export", small, "--to", "python", match="it has none; check the path")


def test_weights_that_are_no_numbers(small: Path) -> None:  # noqa: F811
    tensors, text = checkpoint.load_model(small / MODEL)
    tensors = {name: tensor * torch.nan if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    checkpoint.save_model(small / MODEL, tensors, text)
    fails("export", small, "--to", "python", match="must give finite logits, but its own are not")
    assert not (small / "export").exists()


@pytest.mark.parametrize("to", ["torch-export", "onnx"])
def test_an_exporter_that_fails_leaves_nothing(
    small: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    to: str,
) -> None:
    if to == "onnx":
        for package in files.ONNX_PACKAGES:
            pytest.importorskip(package)

    def failing(*arguments: Any, **more: Any) -> Any:
        raise RuntimeError("cannot trace\nfurther lines")

    monkeypatch.setattr(torch.export if to == "torch-export" else torch.onnx, "export", failing)
    output = tmp_path / "a" / "b" / "c" / f"n{files.SUFFIXES[to]}"
    match = f"--to {to} must be possible with this network, but: RuntimeError: cannot trace; give another --to"
    fails("export", small, "--to", to, "--output", output, match=match)
    assert not (tmp_path / "a").exists()


def test_a_full_disk_is_not_called_a_wrong_folder(
    small: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*arguments: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "agreement", full)
    fails("export", small, "--to", "safetensors", match=f"possible in {small / 'export'}, but: No space left on device")
    assert not (small / "export").exists()


def test_operations_of_ones_own_are_traced(
    digits: DataSet,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = f"{OWN_OPS}:Branches"
    space = spaces.build(source.load(spec), digits.input_shape, digits.num_classes)
    run = retrained(tmp_path / "run", digits, space)
    for name in ("python", "safetensors"):
        match = f"--to {name} must be of operations of enas, whose code it writes, but the network has squeeze; give"
        fails("export", run, "--to", name, "--to", "torch-export", "--space", spec, match=match)
    assert not (run / "export").exists()
    installed = all(importlib.util.find_spec(package) for package in files.ONNX_PACKAGES)
    formats = ["torch-export", "onnx"] if installed else ["torch-export"]
    result = enas("export", run, *(part for name in formats for part in ("--to", name)), "--space", spec)
    assert result.exit_code == 0, result.output
    assert sorted(path.suffix for path in (run / "export").iterdir()) == sorted(files.SUFFIXES[f] for f in formats)
    program = torch.export.load(run / "export" / "network.pt2").module()
    for count in (1, 150):
        x = torch.randn(count, *digits.input_shape, generator=torch.Generator().manual_seed(count))
        torch.testing.assert_close(program(x), logits_of(run / MODEL, x), rtol=1e-5, atol=1e-5)

    stored = RunFolder(run).config(RetrainConfig())
    arch = spaces.from_text(stored.arch)
    values = {"schema": 1, "kind": "retrain", "arch": arch.to_json(), "text": stored.arch, "classes": digits.classes}
    values |= {"space": config.to_dict(space.options), "input_shape": digits.input_shape, "params": 1, "macs": 1}
    values |= {"test_accuracy": 0.5, "test_images": 1, "elapsed_s": 1.0, "config": config.to_dict(stored)}
    RunFolder(run).result.write_text(json.dumps(values))
    print_retrain_result(run, values)
    assert f"enas export {run} --to torch-export --space {spec}" in capsys.readouterr().out
