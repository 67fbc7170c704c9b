"""`enas show`: text, JSON, pictures, unfinished runs, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from enas import spaces
from enas.config import MicroOptions
from enas.spaces import Architecture
from tests.test_cli import RETRAIN, TINY_OPTIONS, enas, fails


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny search, with a finished retraining below it."""
    path = tmp_path_factory.mktemp("show") / "run"
    for command in (["search", *TINY_OPTIONS, "--output", path], ["retrain", path, *RETRAIN]):
        result = enas(*command)
        assert result.exit_code == 0, result.output
    return path


@pytest.fixture
def unfinished(searched: Path, tmp_path: Path) -> Path:
    """The same search after two of its epochs."""
    path = tmp_path / "unfinished"
    path.mkdir()
    shutil.copy(searched / "config.json", path)
    lines = (searched / "records.jsonl").read_text().splitlines(keepends=True)
    (path / "records.jsonl").write_text("".join(lines[:2]))
    return path


@pytest.fixture
def untrained(searched: Path, tmp_path: Path) -> Path:
    """The same retraining after its first epoch."""
    path = tmp_path / "untrained"
    path.mkdir()
    shutil.copy(searched / "retrain" / "config.json", path)
    (path / "records.jsonl").write_text((searched / "retrain" / "records.jsonl").read_text().splitlines()[0] + "\n")
    return path


def svg_texts(path: Path) -> set[str]:
    return {element.text or "" for element in ElementTree.parse(path).iter() if element.tag.endswith("}text")}


def test_an_architecture_is_drawn_and_still_described(tmp_path: Path) -> None:
    file = tmp_path / "a.svg"
    plain = enas("show", "macro:0-31-201", "--image-size", "16")
    result = enas("show", "macro:0-31-201", "--image-size", "16", "--output", file)
    assert result.output == f"{plain.output}picture of the architecture: {file}\n"
    assert {"conv_3x3", "sep_conv_5x5", "sep_conv_3x3", "16x16", "4x4", "macro, 3 layers"} <= svg_texts(file)
    values = json.loads(enas("show", "resnet20:", "--json", "--output", tmp_path / "r.png").output)
    assert values["output"] == str(tmp_path / "r.png") and values["params"] == 269_722
    assert (tmp_path / "r.png").stat().st_size > 10_000


def test_cells_are_drawn_beside_the_network(tmp_path: Path) -> None:
    space = spaces.build(MicroOptions(nodes=2), (3, 32, 32), 10)
    first = Architecture("micro", (0, 1, 0, 1, 2, 1, 2, 3, 0, 0, 4, 4, 1, 2, 0, 1))
    arch = spaces.to_text(space, first)
    result = enas("show", arch, "--output", tmp_path / "a.svg")
    shown = svg_texts(tmp_path / "a.svg")
    assert result.exit_code == 0, result.output
    assert {"normal cell", "reduction cell", "cell k-2", "cell k-1", "node 1", "node 2", "output"} <= shown
    assert {"sep_conv_5x5", "avg_pool_3x3", "identity", "max_pool_3x3", "sep_conv_3x3", "images 32x32x3"} <= shown


def test_a_run_and_its_choices_are_drawn(searched: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a.svg", tmp_path / "b.svg"
    result = enas("show", searched, "--output", a, "--choices", b)
    assert result.output.endswith(f"picture of the architecture: {a}\npicture of the choices: {b}\n")
    operations = [line.split()[2].rstrip(",") for line in result.output.splitlines() if line.startswith("  layer ")]
    assert len(operations) == 3 and {*operations, "4 channels"} <= svg_texts(a)
    assert {"conv_3x3", "max_pool_3x3", "skip", "yes", "epoch", "3"} <= svg_texts(b)
    values = json.loads(enas("show", searched / "result.json", "--json", "--choices", b).output)
    assert values["choices"] == str(b) and values["finished"] is True and values["kind"] == "search"
    assert enas("show", searched / "retrain", "--output", a).exit_code == 0
    wide = enas("show", searched, "--width", "8", "--output", a)
    assert wide.exit_code == 0 and "8 channels" in svg_texts(a)


def test_unfinished_search(unfinished: Path, tmp_path: Path) -> None:
    text = enas("show", unfinished).output
    assert "2 of 3 epochs" in text and f"enas search --resume {unfinished}" in text and "best of the last" in text
    result = enas("show", unfinished, "--json", "--choices", tmp_path / "c.png")
    values = json.loads(result.output)
    assert result.exit_code == 0 and (tmp_path / "c.png").exists()
    assert (values["kind"], values["finished"], values["epochs_done"]) == ("search", False, 2)
    assert (
        values["config"]["epochs"] == values["epochs"] == 3
        and values["best_arch"] in text
        and 0 <= values["best_proxy_accuracy"] <= 1
    )
    records = (unfinished / "records.jsonl").read_text()
    (unfinished / "records.jsonl").write_text(records.replace('"epochs": 3', '"epochs": 7'))
    assert "2 of 7 epochs" in enas("show", unfinished).output, "a budget of time changes the plan"
    (unfinished / "records.jsonl").unlink()
    assert json.loads(enas("show", unfinished, "--json").output)["epochs_done"] == 0
    fails("show", unfinished, "--choices", tmp_path / "d.png", match="needs a search with an epoch done")
    fails("show", unfinished, "--output", tmp_path / "d.png", match="need a finished run")
    fails("show", unfinished, "--width", "8", match="need a finished run")
    assert sorted(os.listdir(tmp_path)) == ["c.png", "unfinished"]


def test_unfinished_retraining(untrained: Path) -> None:
    text = enas("show", untrained).output
    assert "1 of 2 epochs" in text and f"enas retrain --resume {untrained}" in text and "trains macro:" in text
    values = json.loads(enas("show", untrained, "--json").output)
    assert (values["kind"], values["finished"], values["epochs_done"]) == ("retrain", False, 1)
    assert values["text"] in text and 0 <= values["train_accuracy"] <= 1
    record = json.loads((untrained / "records.jsonl").read_text())
    (untrained / "records.jsonl").write_text(json.dumps({**record, "train_loss": None}))
    assert "last epoch: loss -," in enas("show", untrained).output
    (untrained / "config.json").write_text('{"sgd": 3}')
    fails("show", untrained, match="must be the folder of a retraining")


@pytest.mark.parametrize(
    "change",
    [{"best_arch": ...}, {"choice_shares": None}, {"choice_shares": {}}, {"choice_shares": {"op": {"a": "x"}}}],
)
def test_damaged_records(unfinished: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    first, second = (json.loads(line) for line in (unfinished / "records.jsonl").read_text().splitlines())
    second = {name: value for name, value in {**second, **change}.items() if value is not ...}
    (unfinished / "records.jsonl").write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    fails("show", unfinished, "--choices", tmp_path / "c.svg", match="records.jsonl must be an intact result")
    assert not (tmp_path / "c.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([""], "there must be a run folder, a result.json or an architecture such as macro:0-31, but '' is none"),
        (["  "], "but '  ' is none"),
        (["no-such-run"], "but 'no-such-run' is none"),
        (["{run}/checkpoint.pt"], "is another file; try: enas show {run}"),
        (["{run}/retrain/model.safetensors"], "is another file; try: enas show {run}/retrain"),
        (["{run}/config.json"], "must be a result of enas search or retrain"),
        (["{run}/tensorboard"], "must be a run folder with a config.json"),
        (["{run}", "--image-size", "32"], "--image-size applies to architectures only, but {run} is a run"),
        (["{run}/result.json", "--channels", "3"], "--channels applies to architectures only"),
        (["{run}/retrain", "--classes", "10"], "--classes applies to architectures only"),
        (["macro:0", "--choices", "c.svg"], "--choices applies to searches only, but macro:0 is an architecture"),
        (["{run}/retrain", "--choices", "c.svg"], "--choices needs a search with an epoch done"),
        (["macro:0", "--output", "a.pdf"], "must end in .svg or .png or .txt, but got 'a.pdf'"),
        (["macro:0", "--output", "a"], "must end in .svg or .png or .txt"),
        (["{run}", "--choices", "a.txt"], "must end in .svg or .png, but got 'a.txt'"),
        (["{run}", "--choices", "missing/a.svg"], "the picture's folder must exist, but missing does not"),
        (["macro:9", "--output", "a.svg"], "layer1/op must be in 0..5"),
    ],
)
def test_what_cannot_be_shown(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    fails("show", *(argument.format(run=searched) for argument in arguments), match=match.format(run=searched))
    assert os.listdir(tmp_path) == []


def test_tensorboard_of_a_search_and_of_a_retraining(searched: Path) -> None:
    for path, figure in ((searched, "final/controller_minus_random"), (searched / "retrain", "final/test_accuracy")):
        events = EventAccumulator(str(path / "tensorboard")).Reload()
        result = json.loads((path / "result.json").read_text())
        assert "architecture/final" in events.Tags()["images"] and figure in events.Tags()["scalars"]
        assert events.Scalars("final/elapsed_s")[0].value == pytest.approx(result["elapsed_s"])
        assert ("choices" in events.Tags()["images"]) == (result["kind"] == "search")
