"""`enas export`: every format, what it is compared on, and every kind of bad input."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from enas import checkpoint, config, spaces
from enas.config import DataConfig, RetrainConfig
from enas.data import DataSet, load
from enas.export import files
from enas.retraining import MODEL, load_model, save_model
from enas.runs import RunFolder
from enas.spaces import SearchSpace
from tests.exported import module, trained
from tests.test_cli import enas, fails
from tests.toys import chain, macro, micro, random_archs

DIGITS = DataConfig(name="digits")
SPACES = ("macro", "micro", "chain")


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(DIGITS, torch.device("cpu"))


def retrained(path: Path, data: DataSet, space: SearchSpace, **settings: Any) -> Path:
    """The folder of a finished retraining: what `enas export` reads of one."""
    (arch,) = random_archs(space, 1, seed=4)
    path.mkdir(parents=True)
    save_model(path / MODEL, trained(space.graph(arch)), space, arch, data, DIGITS)
    stored = config.update(RetrainConfig(data=DIGITS), {"arch": spaces.to_text(space, arch), **settings})
    RunFolder(path).store(stored)
    return path


@pytest.fixture
def small(digits: DataSet, tmp_path: Path) -> Path:
    return retrained(tmp_path / "run", digits, macro(3, digits.input_shape, digits.num_classes))


def space_of(name: str, data: DataSet) -> SearchSpace:
    shape, classes = data.input_shape, data.num_classes
    if name == "chain":
        return chain(shape, classes)
    return macro(3, shape, classes) if name == "macro" else micro(2, shape, classes)


def logits_of(path: Path, images: Tensor) -> Tensor:
    network, _ = load_model(path)
    with torch.inference_mode():
        return network.eval()(images)  # type: ignore[no-any-return]


def test_python_and_weights(small: Path, tmp_path: Path, digits: DataSet) -> None:
    run = tmp_path / "searched"  # as `enas run` leaves it
    run.mkdir()
    small.rename(run / "retrain")
    stored = config.update(RunFolder(run / "retrain").config(RetrainConfig()), {"sgd": {"dropout": 0.3}})
    RunFolder(run / "retrain").store(stored)
    result = enas("export", run, "--to", "python", "--to", "safetensors")
    assert result.exit_code == 0, result.output
    assert "60 test images of digits" in result.output and "same class for 60 of 60 images" in result.output
    assert "run in a process without enas: logits differ by at most" in result.output and "tolerance" in result.output
    made = run / "retrain" / "export"
    assert sorted(path.name for path in made.iterdir()) == ["network.py", "network.safetensors"]
    names = module((made / "network.py").read_text())
    assert names["CLASSES"] == digits.classes and names["MEAN"] == digits.mean and names["STD"] == digits.std
    network = names["Network"]()
    assert network.drop_rate == 0.3
    network.load_pretrained(made / "network.safetensors")
    x = torch.randn(3, *digits.input_shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network.eval()(x), logits_of(run / "retrain" / MODEL, x), rtol=0, atol=1e-5)
    with safe_open(made / "network.safetensors", framework="pt") as file:
        said = file.metadata()
    assert said["arch"].startswith("macro:") and json.loads(said["classes"]) == list(digits.classes)
    assert json.loads(said["mean"]) == list(digits.mean)


@pytest.mark.parametrize("names", [SPACES[:1], pytest.param(SPACES[1:], marks=pytest.mark.slow)], ids=" and ".join)
def test_torch_export_runs_without_enas(names: tuple[str, ...], digits: DataSet, tmp_path: Path) -> None:
    x = torch.randn(5, *digits.input_shape, generator=torch.Generator().manual_seed(0))
    torch.save(x, tmp_path / "x.pt")
    wanted = {}
    for name in names:
        run = retrained(tmp_path / name, digits, space_of(name, digits))
        target = tmp_path / "out" / f"{name}.pt2"
        result = enas("export", run, "--to", "torch-export", "--output", target, "--json")
        assert result.exit_code == 0, result.output
        (said,) = json.loads(result.output)["exports"]
        assert said["files"] == [str(target)] and said["largest_difference"] <= said["tolerance"]
        wanted[target] = logits_of(run / MODEL, x)
    code = """
import sys, torch
sys.modules["enas"] = None
x, out, *paths = sys.argv[1:]
found = []
for path in paths:
    known = {"metadata.json": ""}
    program = torch.export.load(path, extra_files=known).module()
    found.append((program(torch.load(x)), known["metadata.json"]))
torch.save(found, out)
"""
    out = tmp_path / "y.pt"
    subprocess.run([sys.executable, "-c", code, tmp_path / "x.pt", out, *wanted], check=True)
    for (logits, known), expected in zip(torch.load(out, weights_only=True), wanted.values(), strict=True):
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
        assert json.loads(json.loads(known)["mean"]) == list(digits.mean)


@pytest.mark.parametrize("name", SPACES)
def test_onnx(name: str, digits: DataSet, tmp_path: Path) -> None:
    for package in files.ONNX_PACKAGES:
        pytest.importorskip(package)
    import onnxruntime

    run = retrained(tmp_path / name, digits, space_of(name, digits))
    result = enas("export", run, "--to", "onnx", "--output", tmp_path / "net.onnx")
    assert result.exit_code == 0, result.output
    assert "run by onnxruntime" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "net.onnx"])  # one file
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    known = session.get_modelmeta().custom_metadata_map
    assert json.loads(known["classes"]) == list(digits.classes) and json.loads(known["std"]) == list(digits.std)
    for count in (1, 5):
        x = torch.randn(count, *digits.input_shape, generator=torch.Generator().manual_seed(count))
        (logits,) = session.run(["logits"], {"images": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), logits_of(run / MODEL, x), rtol=1e-5, atol=1e-5)


def test_nothing_is_replaced(small: Path) -> None:
    target = small / "export" / "network.safetensors"
    target.parent.mkdir()
    target.write_text("mine")
    for formats in (["--to", "safetensors"], ["--to", "python"]):
        fails("export", small, *formats, match=f"must not replace a file, but {target} is there")
    assert target.read_text() == "mine" and len(list(target.parent.iterdir())) == 1


def test_a_file_that_appears_meanwhile_is_kept(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, agree = small / "export" / "network.safetensors", files.agreement  # the second file

    def slowly(*arguments: Any) -> Any:
        target.write_text("mine")
        return agree(*arguments)

    monkeypatch.setattr(files, "agreement", slowly)
    fails("export", small, "--to", "torch-export", "--to", "safetensors", match="must not replace a file")
    assert target.read_text() == "mine" and len(list(target.parent.iterdir())) == 1


def test_what_disagrees_is_not_written(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = files.weights

    def wrong(*arguments: Any) -> dict[str, Tensor]:
        return {name: tensor * 1.01 if tensor.ndim > 1 else tensor for name, tensor in real(*arguments).items()}

    monkeypatch.setattr(files, "weights", wrong)
    fails("export", small, "--to", "safetensors", match="--to safetensors must give the network's logits within")
    assert not (small / "export").exists()


def test_random_images_where_there_are_no_real_ones(small: Path, tmp_path: Path) -> None:
    stored = RunFolder(small).config(RetrainConfig())
    RunFolder(small).store(config.update(stored, {"data": {"name": str(tmp_path / "gone")}}))
    result = enas("export", small, "--to", "safetensors")
    assert result.exit_code == 0, result.output
    assert "64 random images (no real ones: " in result.output and "there is no folder" in result.output
    fails("export", small, "--to", "python", "--output", "a.py", "--data", tmp_path / "gone", match="no folder")
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((small / MODEL).read_bytes())
    result = enas("export", alone, "--to", "safetensors")
    assert result.exit_code == 0 and "random images (nobody says which ones it was trained on" in result.output


def test_folders_without_a_network(small: Path, tmp_path: Path) -> None:
    fails("export", tmp_path / "nowhere", "--to", "python", match="there is no")
    fails("export", tmp_path, "--to", "python", match="must hold a retrained network")
    (small / MODEL).rename(tmp_path / "kept")
    fails("export", small, "--to", "python", match="must hold a retrained network")
    (small / MODEL).write_bytes(b"no model")
    fails("export", small, "--to", "python", match="must be a safetensors file of enas")
    search = tmp_path / "search"
    (search / "retrain").mkdir(parents=True)
    RunFolder(search).store(config.SearchConfig())
    fails("export", search, "--to", "python", match=f"finish the search first: enas search --resume {search}")
    RunFolder(search).result.write_text("{}")
    fails("export", search, "--to", "python", match=f"train it first: enas retrain {search}")
    RunFolder(search / "retrain").store(RetrainConfig())
    fails("export", search, "--to", "python", match=f"finish it: enas retrain --resume {search / 'retrain'}")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"mean": [float("nan")]}, "means and positive deviations"),
        ({"std": [0.0]}, "means and positive deviations"),
        ({"std": ["0.5"]}, "means and positive deviations"),
        ({"mean": [0.1, 0.2]}, "means and positive deviations"),
        ({"classes": [{"a": 1}] * 10}, "names of its classes"),
    ],
)
def test_headers_are_checked(small: Path, changes: dict[str, Any], match: str) -> None:
    tensors, text = checkpoint.load_model(small / MODEL)
    checkpoint.save_model(small / MODEL, tensors, {**text, **{k: json.dumps(v) for k, v in changes.items()}})
    fails("export", small, "--to", "python", match=match)
    assert not (small / "export").exists()


@pytest.mark.parametrize(
    ("output", "to", "match"),
    [
        ("my-net.py", "python", "a name that Python can import"),
        ("torch.py", "python", "a name that Python can import"),
        ("class.py", "python", "a name that Python can import"),
        ("json", "python", "a name that Python can import"),
        ("net.onnx", "python", "--output must end with .py"),
        (".", "python", "is a folder"),
        ("file/net.py", "python", "must be a folder to write in"),
    ],
)
def test_outputs_are_checked(small: Path, tmp_path: Path, output: str, to: str, match: str) -> None:
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.iterdir())
    fails("export", small, "--to", to, "--output", tmp_path / output, match=match)
    assert sorted(tmp_path.iterdir()) == before


def test_missing_packages_are_named(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if "onnx" in name else real(name, *rest))
    fails("export", small, "--to", "onnx", match="pip install 'enas[onnx]'")
