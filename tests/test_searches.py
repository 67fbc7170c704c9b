"""`enas search --seeds`: ordinary runs, one after the other, and what they have in common."""

from __future__ import annotations

import json
import math
import signal
import statistics
from pathlib import Path

import pytest

from enas import checkpoint
from enas.aggregate import MEASURES, aggregate, summary
from enas.errors import UserError
from enas.phases import Search
from enas.runs import RunFolder
from enas.tracking import TensorBoard
from tests.stops import TINIER_OPTIONS, search_stops, signalled, stopping
from tests.test_cli import enas, fails
from tests.test_search import assert_same_run, comparable

T_2 = 4.302653  # scipy.stats.t.ppf(0.975, 2)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished searches."""
    path = tmp_path_factory.mktemp("seeds") / "all"
    result = enas("search", *TINIER_OPTIONS, "--seed", "5", "--seeds", "3", "--output", path)
    assert result.exit_code == 0, result.output
    assert "over the seeds" in result.output
    return path


def test_each_is_an_ordinary_run(searched: Path, tmp_path: Path) -> None:
    assert sorted(path.name for path in searched.iterdir() if path.is_dir()) == ["seed-5", "seed-6", "seed-7"]
    assert enas("search", *TINIER_OPTIONS, "--seed", "6", "--output", tmp_path / "alone").exit_code == 0
    assert_same_run(RunFolder(searched / "seed-6"), RunFolder(tmp_path / "alone"))
    assert "is finished" in enas("search", "--resume", searched / "seed-6").output


def test_the_statistics_are_those_of_the_runs(searched: Path) -> None:
    found = checkpoint.read_json(searched / "result.json")
    assert (found["kind"], found["seeds"]) == ("searches", [5, 6, 7])
    results = [checkpoint.read_json(searched / f"seed-{seed}" / "result.json") for seed in (5, 6, 7)]
    baselines = [result["random_baseline"] for result in results]
    expected = {
        "controller_minus_random": [b["controller"]["mean"] - b["random"]["mean"] for b in baselines],
        "relative_gain_percent": [100 * (b["controller"]["mean"] / b["random"]["mean"] - 1) for b in baselines],
        "standalone_accuracy": [result["finalists"][0]["standalone_accuracy"] for result in results],
        "params": [result["finalists"][0]["params"] for result in results],
        "macs": [result["finalists"][0]["macs"] for result in results],
    }
    assert found["statistics"].keys() == expected.keys() <= MEASURES.keys()  # the others are of other evaluators
    for key, values in expected.items():
        figure, mean, sd = found["statistics"][key], statistics.mean(values), statistics.stdev(values)
        half = T_2 * sd / math.sqrt(3)
        numbers = [figure[name] for name in ("mean", "sd", "low", "high")]
        assert numbers == pytest.approx([mean, sd, mean - half, mean + half], rel=1e-5), key
        assert [run[key] for run in found["runs"]] == pytest.approx(values, rel=1e-5)
    assert "proxy accuracy" in found["statistics"]["relative_gain_percent"]["words"]


def test_summary_of_few_values() -> None:
    assert summary([None]) == {"count": 0, "mean": None, "sd": None, "low": None, "high": None}
    assert summary([None, 2.0]) == {"count": 1, "mean": 2.0, "sd": None, "low": None, "high": None}
    two = summary([1.0, None, 3.0])  # scipy.stats.t.ppf(0.975, 1) = 12.706205
    assert (two["count"], two["mean"], two["sd"]) == (2, 2.0, pytest.approx(math.sqrt(2)))
    assert (two["low"], two["high"]) == (pytest.approx(-10.706205), pytest.approx(14.706205))


def test_show(searched: Path) -> None:
    printed = enas("show", searched).output
    figures = checkpoint.read_json(searched / "result.json")["statistics"]
    assert len(figures) > 4 and all(figure["words"] in printed for figure in figures.values())
    assert printed.count("controller minus random") == 4 and "Yang et al. 2020" in printed
    assert enas("show", searched / "result.json").output == printed
    assert json.loads(enas("show", searched, "--json").output) == checkpoint.read_json(searched / "result.json")
    fails("show", searched, "--output", "x.svg", match="--output applies to one run")
    fails("show", searched, "--width", "8", match="--width applies to one run")


@pytest.mark.slow
def test_interrupted_searches_go_on(searched: Path, tmp_path: Path) -> None:
    path = tmp_path / "all"
    with search_stops(epoch=1, seed=6):
        assert enas("search", *TINIER_OPTIONS, "--seed", "5", "--seeds", "3", "--output", path).exit_code == 130
    printed = enas("show", path).output
    assert "seed 5: finished" in printed and "seed 6: 1 of 2" in printed and "seed 7: not begun" in printed
    assert f"--resume {path}\n" in printed
    far = [
        (run["seed"], run["finished"], run["done"]) for run in json.loads(enas("show", path, "--json").output)["runs"]
    ]
    assert far == [(5, True, 2), (6, False, 1), (7, False, 0)]
    assert enas("search", "--resume", path / "seed-6").exit_code == 0  # one of them alone
    assert not (path / "result.json").exists()
    with search_stops(epoch=1, seed=7):
        assert enas("search", "--resume", path).exit_code == 130
    result = enas("search", "--resume", path)
    assert result.exit_code == 0 and "seed-6 is finished" in result.output
    assert comparable(checkpoint.read_json(path / "result.json")) == comparable(
        checkpoint.read_json(searched / "result.json")
    )
    before = (path / "result.json").stat().st_mtime_ns
    again = enas("search", "--resume", path)
    assert again.exit_code == 0 and "is finished" in again.output and "over the seeds" in again.output
    assert (path / "result.json").stat().st_mtime_ns == before


def test_a_signal_after_the_last_step_of_one_of_them(tmp_path: Path) -> None:
    path = tmp_path / "all"
    with signalled(TensorBoard, "finish", signal.SIGTERM):
        result = enas("search", *TINIER_OPTIONS, "--seeds", "2", "--output", path)
    assert result.exit_code == 143 and f"go on with --resume and the run's folder, {path}\n" in result.output
    assert (path / "seed-0" / "result.json").exists() and not (path / "seed-1").exists()


def test_a_budget_is_each_ones(tmp_path: Path) -> None:
    assert "K times of it in all" in " ".join(enas("search", "--help").output.split())
    with stopping(Search, "train_shared_weights", lambda search: True):
        sizes = [
            part
            for text in TINIER_OPTIONS
            if text != "--set" and not text.startswith("epochs=")
            for part in ("--set", text)
        ]
        result = enas("search", *sizes, "--budget", "5m", "--seeds", "2", "--output", tmp_path / "all")
    assert "2 searches, each with the whole budget of 5m" in result.output


def test_epochs_that_a_budget_changed(tmp_path: Path) -> None:
    path = tmp_path / "all"
    with search_stops(epoch=1, seed=1):
        enas("search", *TINIER_OPTIONS, "--seeds", "2", "--output", path)
    records = path / "seed-1" / "records.jsonl"
    records.write_text(records.read_text().replace('"epochs": 2', '"epochs": 7'))
    assert "seed 1: 1 of 7 epochs" in enas("show", path).output


def test_what_is_refused(searched: Path, tmp_path: Path) -> None:
    assert enas("search", "--seeds", "1", "--output", tmp_path / "x").exit_code == 2
    fails("search", *TINIER_OPTIONS, "--seeds", "2", "--output", searched, match="must not hold a run")
    last = ["--seed", str(2**31 - 1)]
    fails("search", *TINIER_OPTIONS, *last, "--seeds", "2", "--output", tmp_path / "x", match="seed must be at most")
    fails("search", "--resume", searched, "--seeds", "2", match="goes with no other option")
    assert not (tmp_path / "x").exists()
    fails("retrain", searched, match="give one of its folders")
    fails("score", searched, "macro:0-00", match="give one of its folders")
    fails("run", "--resume", searched, match="must be a folder of enas run")


def test_searches_that_differ_in_more_than_their_seed(searched: Path) -> None:
    results = {f"seed-{seed}": checkpoint.read_json(searched / f"seed-{seed}" / "result.json") for seed in (5, 6)}
    assert aggregate(results)["seeds"] == [5, 6]
    moved = {**results["seed-6"]["config"], "data": {**results["seed-6"]["config"]["data"], "name": "elsewhere"}}
    assert aggregate({**results, "seed-6": {**results["seed-6"], "config": moved}})["seeds"] == [5, 6]
    budget = [{**result, "config": {**result["config"], "budget": "5s"}} for result in results.values()]
    budget[1]["config"]["epochs"] += 7  # what a budget decides may differ
    assert aggregate(dict(zip(results, budget, strict=True)))["seeds"] == [5, 6]
    for change in ({"images": "others"}, {"config": {**moved, "epochs": 4}}):
        with pytest.raises(UserError, match="must have one configuration"):
            aggregate({**results, "seed-6": {**results["seed-6"], **change}})


@pytest.mark.parametrize("steps", ["{", "[]", '{"schema": 1, "kind": "searches", "seeds": "2", "images": "x"}'])
def test_damaged_steps(searched: Path, tmp_path: Path, steps: str) -> None:
    (tmp_path / "config.json").write_bytes((searched / "config.json").read_bytes())
    (tmp_path / "steps.json").write_text(steps)
    for command in (["search", "--resume"], ["run", "--resume"], ["show"]):
        result = enas(*command, tmp_path)
        assert result.exit_code == 2 and "error: " in result.output, result.output
