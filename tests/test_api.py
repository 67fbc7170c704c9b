"""`import enas`: the same runs as the command line's, from Python."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import enas
from enas import config
from enas.api.calls import _as_begun
from enas.config import DataConfig, RetrainConfig, SearchConfig
from enas.data import keep_arrays, load
from enas.phases import Search
from tests.stops import signalled
from tests.test_cli import enas as command
from tests.test_custom_space import EXAMPLE

PACKAGE = Path(enas.__file__).parent
TINY: dict[str, Any] = {
    "epochs": 2,
    "device": "cpu",
    "precision": "float32",
    "weights": {"batch_size": 32, "steps": 3},
    "controller": {
        "warmup_epochs": 1,
        "updates": 2,
        "architectures_per_update": 4,
        "batch_size": 16,
    },
    "derive": {
        "samples": 4,
        "random": 4,
        "finalists": 1,
        "finalist_epochs": 1,
        "random_per_epoch": 3,
        "images_per_epoch": 16,
    },
}
SPACE = {"source": f"{EXAMPLE}:MySpace", "width": 4, "arguments": {"blocks": 1}}


def arrays(count: int = 60) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images [N, C, H, W] of three classes, each with a brightness of its own."""
    labels = np.arange(count) % 3
    noise = np.random.default_rng(0).integers(0, 100, (count, 3, 12, 12))
    return (noise + 70 * labels[:, None, None, None]).astype(np.uint8), labels


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> enas.Run:
    path = tmp_path_factory.mktemp("api") / "run"
    return enas.search(arrays(), SPACE, output=path, limit={"params": 2000}, progress=False, **TINY)


def test_names_are_few_and_imported_late() -> None:
    assert len(enas.__all__) <= 20
    for name in enas.__all__:
        assert getattr(enas, name) is not None
        assert not (PACKAGE / f"{name}.py").exists(), "a module of that name would hide it"
        assert not (PACKAGE / name).exists()
    with pytest.raises(AttributeError, match="no attribute 'atlas'"):
        _ = enas.atlas
    code = "import sys, enas; enas.CustomSpace; assert 'torch' not in sys.modules; enas.search"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_tells_what_it_found(found: enas.Run, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert found.finished
    assert found.text == found.result["text"] and found.text.startswith("my-space:")
    assert found.arch.to_json() == found.result["arch"]
    assert 0 < found.costs["params"] <= 2000
    assert [record["kind"] for record in found.records].count("epoch") == 2
    found.show(tmp_path / "picture.png")
    assert found.text in capfd.readouterr().out
    assert (tmp_path / "picture.png").exists()
    html = found._repr_html_()
    assert "data:image/png;base64," in html and "op " in html
    assert command("show", found.path, "--space", f"{EXAMPLE}:MySpace").exit_code == 0


def test_retrain_and_network(found: enas.Run) -> None:
    trained = found.retrain(epochs=2, progress=False, sgd={"batch_size": 16})
    assert trained.path == found.path / "retrain"
    assert trained.result["per_class"] and trained.costs["params"] > 0
    images = torch.from_numpy(arrays()[0]).float() / 255
    mean, std = (torch.tensor(trained.normalisation[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        logits = found.network()((images - mean) / std)
    assert logits.shape == (60, 3)
    with pytest.raises(enas.UserError, match="must not hold a run"):
        enas.retrain(found, progress=False)


def test_derive_within_another_limit(found: enas.Run) -> None:
    smaller = found.derive(limit={"params": 1100}, progress=False, output=found.path / "smaller")
    assert smaller.costs["params"] <= 1100


def test_interrupted_and_resumed(tmp_path: Path, capfd: pytest.CaptureFixture[str], found: enas.Run) -> None:
    path = tmp_path / "run"
    call: dict[str, Any] = {"output": path, "limit": {"params": 2000}, "resume": True, **TINY}
    with signalled(Search, "train_searcher", signal.SIGINT), pytest.raises(KeyboardInterrupt, match=r"load\('.*resume"):
        enas.search(arrays(), SPACE, **call)
    assert "search" in capfd.readouterr().err  # the progress bar
    run = enas.load(path)
    assert not run.finished and "not finished" in repr(run) and "<pre>" in run._repr_html_()
    with pytest.raises(enas.UserError, match="must be finished"):
        _ = run.result
    with pytest.raises(enas.UserError, match="its epochs is 2 instead of 3"):
        enas.search(arrays(), SPACE, **{**call, "epochs": 3})
    finished = enas.search(arrays(), SPACE, progress=False, **call)
    assert capfd.readouterr().err == ""
    assert finished.text == found.text  # as if it had never stopped
    assert enas.load(path).resume(progress=False).text == found.text


def test_a_profile_may_be_named_by_another_path() -> None:
    begun = config.update(SearchConfig(), {"objective": {"profile": "/there/cpu.json"}})
    wanted = config.update(SearchConfig(), {"objective": {"profile": "cpu.json"}})
    assert _as_begun(wanted, begun, Path("run")) == wanted
    with pytest.raises(enas.UserError, match=r"its objective\.profile is '/there/cpu.json' instead of None"):
        _as_begun(SearchConfig(), begun, Path("run"))


def test_a_budget_excuses_only_the_sizes_that_it_decides() -> None:
    begun = config.update(SearchConfig(), {"budget": "40m", "epochs": 7, "seed": 1, "weights": {"steps": 50}})
    wanted = config.update(SearchConfig(), {"budget": "40m", "seed": 1})
    assert _as_begun(wanted, begun, Path("run")) == begun
    other = config.update(wanted, {"derive": {"criterion": "vote"}})
    with pytest.raises(enas.UserError, match="its derive.criterion is 'own' instead of 'vote'"):
        _as_begun(other, begun, Path("run"))
    with pytest.raises(enas.UserError, match="its seed is 1 instead of 2"):
        _as_begun(config.update(wanted, {"seed": 2}), begun, Path("run"))
    with pytest.raises(enas.UserError, match="its budget is '40m' instead of '2h'"):
        _as_begun(config.update(wanted, {"budget": "2h", "epochs": 7, "weights": {"steps": 50}}), begun, Path("run"))


def test_a_class_is_a_space_too(tmp_path: Path) -> None:
    from enas.examples.my_space import MySpace

    run = enas.search(arrays(), {**SPACE, "source": MySpace}, output=tmp_path / "run", progress=False, **TINY)
    stored = json.loads((run.path / "config.json").read_text())["space"]
    assert stored["source"] == f"{EXAMPLE}:MySpace"
    assert stored["arguments"] == {"blocks": 1}


@pytest.mark.parametrize(
    ("call", "match"),
    [
        ({"epoch": 3}, "did you mean epochs"),
        ({"preset": "atlas"}, "preset must be one of quick"),
        ({"space": "atlas"}, "space must be one of macro"),
        ({"space": int}, "derives from enas.CustomSpace"),
        ({"limit": {"ms": 3}}, "costs must be of params, macs"),
        ({"evaluations": 3}, "evaluations must be left out"),
        ({"resume": True}, "resume=True needs output"),
        ({"data": 3}, "data must be a name"),
        ({"data": (arrays()[0],)}, "but got 1 arrays"),
        ({"data": (arrays()[0] / 255, arrays()[1])}, "must be bytes"),
        ({"data": (arrays()[0][:, :, :8], arrays()[1])}, "must be squares"),
        ({"data": (arrays()[0], arrays()[1][:9])}, "a label for each of 60 images"),
        ({"data": (arrays()[0], arrays()[1] * 2)}, "none of class 1"),
        ({"data": (arrays()[0], arrays()[1] / 2)}, "must be whole numbers"),
        ({"data": (*arrays(), arrays()[0][:, :1], arrays()[1])}, "must have the training images' shape"),
    ],
)
def test_what_cannot_be_is_a_user_error_and_leaves_nothing(
    tmp_path: Path, call: dict[str, Any], match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(enas.UserError, match=match) as caught:
        enas.search(**call)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    with pytest.raises(enas.UserError, match="must be a run folder"):
        enas.load(tmp_path)


def test_arrays_in_every_order_are_the_same_images() -> None:
    images, labels = arrays()
    path = keep_arrays((images, labels))
    last = keep_arrays((torch.from_numpy(images).permute(0, 2, 3, 1), list(labels)))
    assert path == last
    data = load(DataConfig(name=str(path)), torch.device("cpu"))
    assert data.classes == ("0", "1", "2") and data.input_shape == (3, 12, 12)
    assert len(data.test) == 9 and len(data.train) == 51
    tested = load(DataConfig(name=str(keep_arrays((images, labels, images[:7], labels[:7])))), torch.device("cpu"))
    assert len(tested.test) == 7 and len(tested.train) == 60
    grey = load(DataConfig(name=str(keep_arrays((images[:, 0], labels))), image_size=8), torch.device("cpu"))
    assert grey.input_shape == (1, 8, 8)


def test_a_file_that_holds_no_images(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(enas.UserError, match="a file of images that enas wrote"):
        load(DataConfig(name=str(path)), torch.device("cpu"))


def test_python_in_the_readme_is_possible() -> None:
    """Every name that it takes from enas exists, every method of a run too, and every argument is a setting."""
    text = (PACKAGE.parent / "README.md").read_text()
    (block,) = re.findall(r"```python\n(import enas\n.*?)```", text, re.DOTALL)
    tree = ast.parse(block)
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names = {name for name in used if re.fullmatch(r"(enas|run|trained)\.\w+", name)}
    assert len(names) >= 9
    for name in names:
        owner, _, attribute = name.partition(".")
        assert hasattr(enas if owner == "enas" else enas.Run, attribute), name
    settings = {field.name for part in (SearchConfig, RetrainConfig) for field in dataclasses.fields(part)}
    named = {keyword.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords}
    assert named <= settings | {"output", "limit"}
