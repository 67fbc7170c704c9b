"""The chain space from the command line: search, picture, retraining, TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from enas import config, spaces
from enas.config import ChainOptions, SearchConfig
from enas.jobs.targets import read_result
from tests.test_cli import RETRAIN, enas, fails
from tests.test_search import TINY
from tests.test_show import svg_texts
from tests.test_tracking import hyperparameters

SIZES = ["space.max_layers=5", "space.kernels=1,3", "space.filters=4,6", "space.hidden=8"]
OPTIONS = [part for text in TINY if not text.startswith("space.") for part in ("--set", text)]


def test_search_show_and_retrain(tmp_path: Path) -> None:
    path, picture, choices = tmp_path / "run", tmp_path / "a.svg", tmp_path / "c.svg"
    sizes = [part for text in SIZES for part in ("--set", text)]
    searched = enas("search", "--space", "chain", *OPTIONS, *sizes, "--output", path)
    assert searched.exit_code == 0, searched.output
    options = ChainOptions(min_layers=3, max_layers=5, kernels=(1, 3), filters=(4, 6), hidden=8)
    stored = json.loads((path / "config.json").read_text())
    assert config.update(SearchConfig(), stored).space == options and stored["space"]["filters"] == [4, 6]
    found = read_result(path)
    assert found.space.options == options
    assert found.values["random_baseline"]["controller_minus_random"]["mean"] > -1

    shown = enas("show", path, "--output", picture, "--choices", choices)
    assert shown.exit_code == 0, shown.output
    assert spaces.to_text(found.space, found.arch) in shown.output
    assert all(line in shown.output for line in found.space.describe(found.arch))
    assert {"images", "classifier", "8x8x1"} <= svg_texts(picture)
    assert {"depth", "layer_type", "height", "filters", "skip", "max_pool_3x3"} <= svg_texts(choices)
    events = EventAccumulator(str(path / "tensorboard")).Reload()
    assert hyperparameters(events)["space.filters"] == "4,6"

    trained = enas("retrain", path, *RETRAIN, "--width", "8")  # twice the filters
    assert trained.exit_code == 0, trained.output
    wide = read_result(path / "retrain")
    assert isinstance(wide.space.options, ChainOptions) and wide.space.options.filters == (8, 12)
    weights = [p for p in (path / "retrain").iterdir() if p.suffix == ".safetensors"]
    again = enas("evaluate", path / "retrain", "--data", "digits", "--precision", "float32", "--json")
    assert len(weights) == 1 and again.exit_code == 0, again.output
    assert json.loads(again.output)["test_accuracy"] == wide.values["test_accuracy"]


def test_what_does_not_go_together_is_refused_before_work_starts(tmp_path: Path) -> None:
    path = tmp_path / "run"
    chain = ["search", "--space", "chain", *OPTIONS, "--output", path]
    fails(*chain, "--set", "space.min_layers=9", match="must not be more than the most, but got min_layers 9")
    fails(*chain, "--set", "space.kernels=3,4", match="space.kernels must be odd")
    fails(*chain, "--set", "space.strides=fast", match="space.strides must be a list of whole numbers")
    fails(*chain, "--width", "8", match="there is no setting space.width")
    fails("show", "chain:0-0000", match="must have")
    assert not (path / "config.json").exists()
