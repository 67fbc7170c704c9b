"""`enas score`: the same numbers as the search's own, from a folder that stays as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from enas import checkpoint, config, spaces
from enas.cli import main
from enas.config import SearchConfig
from enas.data import load
from enas.runs import RunFolder, identity
from enas.runtime import generator
from enas.searchers import uniform
from tests.stops import search_stops
from tests.test_cli import TINY_OPTIONS, enas, fails


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("score") / "run"
    result = enas("search", *TINY_OPTIONS, "--set", "derive.finalists=4", "--reward", "loss", "--output", path)
    assert result.exit_code == 0, result.output
    return path


def contents(path: Path) -> dict[str, Any]:
    """Everything in a folder: names, bytes and times of change."""
    return {
        str(file.relative_to(path)): (file.read_bytes() if file.is_file() else None, file.stat().st_mtime_ns)
        for file in path.rglob("*")
    }


def scores(run: Path, *arguments: str | Path, text: bytes | None = None) -> dict[str, Any]:
    result: Result = CliRunner().invoke(main, ["score", str(run), *map(str, arguments), "--json"], input=text)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_finalists_get_the_scores_of_the_result_to_the_last_digit(searched: Path) -> None:
    finalists = checkpoint.read_json(searched / "result.json")["finalists"]
    for finalist in finalists:
        del (
            finalist["standalone_accuracy"],
            finalist["training_loss"],
            finalist["rungs"],
        )  # what shared weights do not give
    texts = [finalist["text"] for finalist in finalists]
    assert len(set(texts)) == 4
    before = contents(searched)
    alone = [row for text in texts for row in scores(searched, text)["architectures"]]
    assert alone == finalists
    # the company and the order do not matter; the best comes first, and each once
    together = scores(searched, *texts[::-1], texts[0], "macro:0-00-000", "macro:5-01-111")["architectures"]
    assert [row for row in together if row["text"] in texts] == sorted(finalists, key=lambda f: -f["reward"])
    rewards = [row["reward"] for row in together]
    assert rewards == sorted(rewards, reverse=True) and len(rewards) == 6
    assert contents(searched) == before, "scoring must not write into the run"


def test_random_architectures_beside_them(searched: Path) -> None:
    run_config = RunFolder(searched).config(SearchConfig())
    space = spaces.build(run_config.space, (1, 8, 8), 10)
    texts = [spaces.to_text(space, arch) for arch in uniform(space, 9, generator(run_config.seed, "score"))]
    each = {row["text"]: row for row in scores(searched, *texts)["architectures"]}
    accuracy = [each[text]["proxy_accuracy"] for text in texts]
    found = scores(searched, "macro:1-10-010", "--random", "9")
    mean = sum(accuracy) / 9
    assert found["random"]["count"] == 9 and found["images"] == 299 and found["epoch"] == found["epochs"] == 3
    assert found["random"]["proxy_accuracy"]["mean"] == pytest.approx(mean)
    assert found["random"]["proxy_accuracy"]["sd"] ** 2 == pytest.approx(sum((a - mean) ** 2 for a in accuracy) / 8)
    (row,) = found["architectures"]
    assert row["above_random"] == sum(each[text]["reward"] < row["reward"] for text in texts) / 9
    printed = enas("score", searched, "macro:1-10-010", "--random", "9").output
    assert "above random" in printed and "9 uniform random architectures" in printed and "3 of 3 epochs" in printed
    assert scores(searched, "--random", "2")["architectures"] == []


def test_architectures_from_a_file_and_from_standard_input(searched: Path, tmp_path: Path) -> None:
    text = b"macro:0-00-000\n\n  macro:5-01-111  \n"
    (tmp_path / "archs.txt").write_bytes(text)
    typed = scores(searched, "macro:0-00-000", "macro:5-01-111")
    assert scores(searched, "--file", tmp_path / "archs.txt") == typed
    assert scores(searched, "macro:5-01-111", "--file", "-", text=text) == typed


def test_unfinished_search(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with search_stops(epoch=1):
        assert enas("search", *TINY_OPTIONS, "--output", path).exit_code == 130
    before = contents(path)
    early = scores(path, "macro:1-10-010")
    assert early["epoch"] == 1 and contents(path) == before
    assert enas("search", "--resume", path).exit_code == 0
    late = scores(path, "macro:1-10-010")
    assert late["epoch"] == 3 and late["architectures"] != early["architectures"]


def test_another_device_than_the_runs(searched: Path, tmp_path: Path) -> None:
    """A run that says it was made on another device: its own wants that one, --device does not."""
    path = tmp_path / "run"
    shutil.copytree(searched, path)
    folder = RunFolder(path)
    elsewhere = config.update(folder.config(SearchConfig()), {"device": "cuda:77"})
    state = checkpoint.load(folder.checkpoint)
    data = load(elsewhere.data, torch.device("cpu"))
    checkpoint.save(
        folder.checkpoint, {**state, "identity": identity(elsewhere, data.fingerprint(), data.augmentation)}
    )
    folder.store(elsewhere)
    fails("score", path, "macro:1-10-010", match="device cuda:77 must exist")
    own = scores(searched, "macro:1-10-010")["architectures"]
    assert scores(path, "macro:1-10-010", "--device", "cpu")["architectures"] == own


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["macro:0-00-000", "macro:6-00-000"], "architecture 2: layer1/op must be in 0..5, but got 6"),
        (["macro:0-00"], "architecture 1: an architecture of this macro space must have 6 choices"),
        (["macro:000-000"], "architecture 1: dashes must separate the parts"),
        (["resnet20:"], "architecture 1: the architecture must belong to space macro"),
        (["macro:0-00-000", "--file", "archs.txt"], "line 3 of archs.txt: an architecture must look like"),
        (["--file", "bytes.txt"], "--file must be readable text, but bytes.txt"),
        ([], "give architectures, --file or --random"),
        (["--file", "none.txt"], "--file must be readable text, but none.txt: "),
        (["--file", "empty.txt"], "give architectures, --file or --random"),
    ],
)
def test_refused_before_anything_is_loaded(
    arguments: list[str], match: str, searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*arguments: Any) -> None:
        raise AssertionError("nothing may be loaded")

    monkeypatch.setattr("enas.data.load", loaded)
    monkeypatch.setattr(checkpoint, "load", loaded)
    monkeypatch.chdir(tmp_path)
    Path("archs.txt").write_text("macro:0-00-000\n\nmacro\n")
    Path("bytes.txt").write_bytes(b"\xff\n")
    Path("empty.txt").write_text("\n\n")
    fails("score", searched, *arguments, match=match)


def test_folders_that_cannot_be_scored(searched: Path, tmp_path: Path) -> None:
    fails("score", tmp_path, "macro:0-00-000", match="must be a run folder")
    (tmp_path / "config.json").write_bytes((searched / "config.json").read_bytes())
    fails("score", tmp_path, "macro:0-00-000", match="has no checkpoint yet")
    assert enas("score", searched, "--random", "1").exit_code == 2
