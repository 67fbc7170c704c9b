"""Searches that judge each architecture by itself, from the command line: by a table, and by full training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from enas import checkpoint
from enas.config import PRESETS, SEARCHERS, judged_alone
from enas.evaluators import Table
from enas.plan import TRAINING_COST
from enas.runs import RunFolder
from enas.spaces import nasbench_macro
from enas.tables import load_table
from tests.samples import whole_cells, whole_macro, write_cells
from tests.test_cli import enas, fails
from tests.test_search import comparable

CPU = ["--device", "cpu", "--set", "threads=1"]
CHILDREN = [*CPU, "--evaluator", "full-training", "--space", "chain", "--precision", "float32", "--child-epochs", "1"]
CHILDREN += ["--set", "space.min_layers=1", "--set", "space.max_layers=2", "--set", "space.filters=4"]


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "chains.json"
    path.write_text(json.dumps(whole_macro()))
    return path


def looked_up(path: Path, table: Path, *more: str) -> Any:
    """The result of a search in `path` by that table."""
    result = enas("search", *CPU, "--evaluator", "table", "--table", table, *more, "--output", path)
    assert result.exit_code == 0, result.output
    return checkpoint.read_json(path / "result.json")


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_every_searcher_on_a_table(chains: Path, tmp_path: Path, searcher: str) -> None:
    found = looked_up(tmp_path, chains, "--searcher", searcher, "--evaluations", "30")
    table = load_table(chains)
    records = RunFolder(tmp_path).records()
    children = [child for record in records for child in record["children"]]
    assert found["evaluations"] == records[-1]["evaluations"] == len(children) == 30
    networks = table.network[table.positions([nasbench_macro.from_published(c["arch"][15:]) for c in children])]
    assert len(set(networks)) == 30  # none twice
    (pick,) = table.positions([nasbench_macro.from_published(found["text"].partition(":")[2])])
    best = max(children, key=lambda child: child["accuracy"])
    assert found["text"] == best["arch"]
    finalist = found["finalists"][0]
    assert finalist["true_accuracy"] == table.test[pick]
    assert finalist["true_rank"] == 1 + sum(table.test > table.test[pick])
    shown = enas("show", tmp_path).output
    assert f"true test {table.test[pick]:.4f}" in shown and "finalist: validation" in shown


def test_what_a_table_says_beside_the_score(chains: Path) -> None:
    table = Table(load_table(chains))
    # an identity behind a stage's first layer is nothing, wherever it stands
    one, other = (nasbench_macro.from_published(code) for code in ("02012100", "02021100"))
    assert table.network(one) != table.network(other)
    shifted = [nasbench_macro.from_published(code) for code in ("11201000", "11210000")]
    assert table.network(shifted[0]) == table.network(shifted[1])
    macs = int(table.accuracies.macs[table.accuracies.positions([one])[0]])
    assert table.flops(one) == 2 * TRAINING_COST * macs * 50 * 50_000
    heard: list[int] = []
    table.score([one, other, one], heard.append)
    table.score([one], heard.append)
    assert heard == [2, 0]


def test_a_table_may_move_but_not_change(chains: Path, tmp_path: Path) -> None:
    first = looked_up(tmp_path / "run", chains, "--evaluations", "20")
    moved = tmp_path / "moved.json"
    shutil.copy(chains, moved)
    assert "is finished" in enas("search", "--resume", tmp_path / "run", "--table", moved).output
    assert checkpoint.read_json(tmp_path / "run" / "config.json")["table"] == str(moved)
    changed = json.loads(chains.read_text())
    changed["22222222"]["test_acc"][0] += 0.1
    other = tmp_path / "other.json"
    other.write_text(json.dumps(changed))
    fails("search", "--resume", tmp_path / "run", "--table", other, match="the table that it began with")
    assert checkpoint.read_json(tmp_path / "run" / "result.json") == first


def test_cells(tmp_path: Path) -> None:
    found = looked_up(tmp_path / "run", write_cells(tmp_path / "cells.csv", whole_cells()), "--evaluations", "20")
    assert found["space"]["name"] == "nasbench201"
    assert found["text"].startswith("nasbench201:") and found["finalists"][0]["ranked"] == 15_625


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--evaluator", "table"], "--table FILE goes with --evaluator table"),
        (["--table", "x.json"], "--table FILE goes with --evaluator table"),
        (["--evaluator", "table", "--table", "none.json"], "none.json"),
        (
            ["--evaluator", "table", "--table", "TABLE", "--space", "macro"],
            "--space must be the table's, nasbench-macro",
        ),
        (["--evaluator", "table", "--table", "TABLE", "--reward", "loss"], "--reward must be accuracy"),
        (["--evaluator", "table", "--table", "TABLE", "--width", "8"], "--width must be left out"),
        (["--evaluator", "table", "--table", "TABLE", "--workers", "2"], "--workers must be left out"),
        (["--evaluator", "full-training", "--epochs", "3"], "--epochs must be left out with --evaluator full-training"),
        (["--evaluator", "full-training", "--budget", "5m"], "--budget sizes the search with shared weights only"),
        (["--evaluations", "7"], "--evaluations must be left out with --evaluator shared-weights"),
        (["--sampling", "sandwich", "--architectures-per-step", "1"], "needs at least two architectures in a step"),
        (["--sampling", "fair", "--set", "controller.warmup_epochs=0"], "which only warm-up and searcher random train"),
        (["--child-epochs", "7"], "--child-epochs must be left out with --evaluator shared-weights"),
    ],
)
def test_options_that_do_not_go_together(chains: Path, tmp_path: Path, options: list[str], match: str) -> None:
    given = [str(chains) if option == "TABLE" else option for option in options]
    fails("search", *given, "--output", tmp_path / "run", match=match)
    assert not (tmp_path / "run").exists()


def test_run_needs_images(chains: Path, tmp_path: Path) -> None:
    fails("run", "--evaluator", "table", "--table", chains, "--output", tmp_path / "run", match="images to retrain on")
    assert not (tmp_path / "run").exists()


def test_full_training_and_what_is_kept_of_it(tmp_path: Path) -> None:
    """A run whose last generation is lost trains nobody again and comes to the same end."""
    sizes = ["--evaluations", "3", "--generation", "2"]
    result = enas("search", *CHILDREN, *sizes, "--output", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "the best of 3 networks" in result.output
    path = tmp_path / "run"
    before, records = checkpoint.read_json(path / "result.json"), RunFolder(path).records()
    assert [len(record["children"]) for record in records] == [2, 1] and before["config"]["objective"]["power"] == 3
    assert records[-1]["best_reward"] == pytest.approx(records[-1]["best_accuracy"] ** 3, rel=1e-6)
    children = (path / "children.jsonl").read_text()
    for name in ("result.json", "checkpoint.pt"):
        (path / name).unlink()
    result = enas("search", "--resume", path)
    assert result.exit_code == 0, result.output
    assert (path / "children.jsonl").read_text() == children
    assert comparable(checkpoint.read_json(path / "result.json")) == comparable(before)
    assert comparable(RunFolder(path).records()) == comparable(records)


def test_the_controller_learns_otherwise_from_such_rewards() -> None:
    base, _ = PRESETS["quick"](None)
    table, full = judged_alone(base, "table"), judged_alone(base, "full-training")
    assert table.controller == full.controller != base.controller
    assert (table.objective.power, full.objective.power) == (1, 3)
    printed = enas("search", "--evaluator", "full-training", "--print-config").output
    assert "lr = 0.01" in printed and 'advantage_scale = "running"' in printed and "power = 3.0" in printed
    typed = enas("search", "--evaluator", "full-training", "--set", "controller.lr=0.5", "--print-config").output
    assert "lr = 0.5" in typed


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--evaluator", "full-training", "--generation", "1"], "--generation must be at least 2 with searcher"),
        (["--evaluator", "full-training", "--ray-address", "auto"], "--ray-address goes with --executor ray"),
        (["--evaluator", "full-training", "--set", "weights.steps=5"], "weights.steps=5 must be left out"),
    ],
)
def test_settings_that_would_do_nothing(tmp_path: Path, options: list[str], match: str) -> None:
    fails("search", *options, "--output", tmp_path / "run", match=match)
    assert not (tmp_path / "run").exists()


def test_a_short_evolution_has_a_small_population(chains: Path, tmp_path: Path) -> None:
    """Else it would be random search: 40 evaluations would not fill a population of 50."""
    found = {}
    for name in ("random", "evolution"):
        looked_up(tmp_path / name, chains, "--searcher", name, "--evaluations", "40")
        found[name] = [child["arch"] for record in RunFolder(tmp_path / name).records() for child in record["children"]]
    assert found["random"][:10] == found["evolution"][:10] and found["random"][10:20] != found["evolution"][10:20]


def test_several_seeds_with_a_table_that_moved(chains: Path, tmp_path: Path) -> None:
    table = tmp_path / "first.json"
    shutil.copy(chains, table)
    run = [*CPU, "--evaluator", "table", "--table", table, "--evaluations", "20", "--seeds", "2"]
    assert enas("search", *run, "--output", tmp_path / "run").exit_code == 0
    whole = checkpoint.read_json(tmp_path / "run" / "result.json")
    for path in (tmp_path / "run", tmp_path / "run" / "seed-1"):
        (path / "result.json").unlink()
    printed = enas("show", tmp_path / "run").output
    assert "seed 0: finished" in printed and "seed 1: 20 of 20 networks" in printed
    moved = table.rename(tmp_path / "moved.json")
    result = enas("search", "--resume", tmp_path / "run", "--table", moved)
    assert result.exit_code == 0, result.output
    assert checkpoint.read_json(tmp_path / "run" / "result.json")["statistics"] == whole["statistics"]
    assert "true test accuracy, from the table" in enas("show", tmp_path / "run").output


def test_after_a_search_by_a_table(chains: Path, tmp_path: Path) -> None:
    """It has neither images to retrain on nor shared weights to score by."""
    looked_up(tmp_path / "run", chains, "--evaluations", "10")
    fails("retrain", tmp_path / "run", "--epochs", "1", match="give --data digits")
    fails("score", tmp_path / "run", "--random", "3", match="must be a search with shared weights, but its evaluator")
    assert 'name = "digits"' in enas("retrain", tmp_path / "run", "--data", "digits", "--print-config").output
