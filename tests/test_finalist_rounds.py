"""Further rounds of finalists: the best neighbours of the best ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from enas import checkpoint, config, finalists, runtime, spaces
from enas.budget import _scaled, describe
from enas.cli import main
from enas.config import DeriveConfig, SearchConfig
from enas.data import DataSet, load, training_images
from enas.finalists import standing
from enas.graph import signature
from enas.interrupts import Stopped
from enas.phases import Search
from enas.plan import Images, Work, derive_work, finalists_work
from enas.runs import RunFolder
from enas.searching import search
from enas.spaces import Architecture
from tests.test_cli import enas
from tests.test_finalists import FOUR, HALVED
from tests.test_interrupts import ask, searching, sessions
from tests.test_search import TINY, assert_same_run, comparable, run, tiny

TWO = "derive.finalist_rounds=2"
INHERITED = "derive.finalist_weights=inherited"
SAMPLES = 10
CHAIN = (TWO, "derive.samples=12", "space.min_layers=1", "space.max_layers=3", "space.filters=4")


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(tiny().data, torch.device("cpu"))


def two_rounds(*more: str) -> SearchConfig:
    return tiny(*HALVED, f"derive.samples={SAMPLES}", TWO, *more)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, digits: DataSet) -> RunFolder:
    one_round = tiny(*HALVED, f"derive.samples={SAMPLES}")
    return run(tmp_path_factory.mktemp("once") / "run", digits, one_round)


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory, digits: DataSet) -> RunFolder:
    return run(tmp_path_factory.mktemp("twice") / "run", digits, two_rounds())


def result(folder: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = checkpoint.read_json(folder.result)
    return found


def of_round(folder: RunFolder, number: int) -> list[dict[str, Any]]:
    """That round's finalists, in the order in which they became that."""
    by_text = {row["text"]: row for row in result(folder)["finalists"]}
    texts = list(dict.fromkeys(record["arch"] for record in folder.records() if record["kind"] == "finalist"))
    return [by_text[text] for text in texts if by_text[text].get("round", 1) == number]


def distance(a: Architecture, b: Architecture) -> int:
    return sum(x != y for x, y in zip(a.choices, b.choices, strict=True))


def test_the_first_round_is_as_without_a_second(once: RunFolder, twice: RunFolder) -> None:
    assert of_round(twice, 1) == of_round(once, 1) and len(of_round(twice, 2)) == 4
    scored = len(result(once)["archive"])
    assert result(twice)["archive"][:scored] == result(once)["archive"]
    assert comparable(result(twice)["random_baseline"]) == comparable(result(once)["random_baseline"])


def test_the_second_round_is_near_the_best_of_the_first(twice: RunFolder, digits: DataSet) -> None:
    state = Search(two_rounds(), digits, twice, runtime.start(two_rounds()))
    by_proxy, by = of_round(twice, 1), ("reward", "accuracy")
    parents = sorted(by_proxy, key=lambda row: standing(row, *by), reverse=True)[: finalists.PARENTS]
    archs = {row["text"]: spaces.from_json(row["arch"]) for row in result(twice)["finalists"]}
    networks = {signature(state.space.graph(arch)) for arch in archs.values()}
    assert len(networks) == 8  # none is another finalist's network
    for row in of_round(twice, 2):
        assert min(distance(archs[row["text"]], archs[parent["text"]]) for parent in parents) in (1, 2)
    # they are the best of those that were scored for them, which the archive has
    near = result(twice)["archive"][-SAMPLES:]
    assert not any(row["random"] for row in near)
    rewards = sorted((row["reward"] for row in near), reverse=True)
    assert [row["reward"] for row in of_round(twice, 2)] == rewards[:4]


def test_the_best_of_all_rounds_wins(twice: RunFolder) -> None:
    """Whichever round it is of; each has its own halving."""
    found = result(twice)
    ordered = sorted(found["finalists"], key=lambda row: standing(row, "reward"), reverse=True)
    assert [row["text"] for row in ordered] == [row["text"] for row in found["finalists"]]
    assert found["text"] == ordered[0]["text"]
    for number in (1, 2):
        assert sorted(len(row["rungs"]) for row in of_round(twice, number)) == [1, 1, 2, 3]


def test_proxies_of_the_second_round_are_the_shared_weights(twice: RunFolder, digits: DataSet) -> None:
    state = Search(two_rounds(), digits, twice, runtime.start(two_rounds()))
    state.read_checkpoint()
    rows = of_round(twice, 2)
    scores = state.evaluator.score([spaces.from_json(row["arch"]) for row in rows], state.validation_batches())
    assert scores.accuracy.tolist() == [row["proxy_accuracy"] for row in rows]


def test_stopped_at_every_step(digits: DataSet, tmp_path: Path) -> None:
    """Also in the second round, where those wait for the next rung that the first one knows nothing of."""
    few = two_rounds("derive.finalists=2", "derive.finalist_epochs=2", "derive.halving_first=1")
    whole, folder = run(tmp_path / "whole", digits, few), RunFolder(tmp_path / "run")
    steps = 2 * 2 * (2 * 1 + 1 * 1)
    assert sessions(folder, few, searching(few, digits), ask, Stopped) >= steps
    assert_same_run(folder, whole)
    ours, theirs = checkpoint.load(folder.checkpoint), checkpoint.load(whole.checkpoint)
    assert ours["macs"] == theirs["macs"] and ours["done"] == theirs["done"]
    assert ours["finalists"] == theirs["finalists"] == {}


def test_all_work_is_planned(twice: RunFolder, digits: DataSet, tmp_path: Path) -> None:
    derive, images = two_rounds().derive, Images(training_images(898, 300), 299)
    one_round = DeriveConfig(finalists=4, finalist_epochs=4, halving_eta=2, halving_first=1)
    assert finalists_work(derive, images) == finalists_work(one_round, images) * 2
    scoring = Work(scoring=(2 * SAMPLES + derive.random) * 299)
    assert derive_work(two_rounds(), images) == scoring + finalists_work(derive, images)
    folder, heard, began = RunFolder(tmp_path / "run"), [], 0
    folder.create(two_rounds())
    for record in search(two_rounds(), digits, folder, runtime.start(two_rounds()), heard.append):
        began = sum(heard) if record.kind == "derive" else began
    assert sum(heard) - began == (Work(scoring=SAMPLES * 299) + finalists_work(derive, images)).units


def parents_of(state: Search, rows: list[dict[str, Any]]) -> set[str]:
    """The texts of those that all neighbours are near to, of a state with these finalists."""
    state.derived["finalists"] = rows
    near = finalists.neighbours(state)
    archs = {row["text"]: spaces.from_json(row["arch"]) for row in rows}
    return {text for text, arch in archs.items() if all(distance(arch, other) <= 2 for other in near)}


def test_the_best_that_has_not_failed_is_whose_neighbours_are_tried(
    twice: RunFolder, digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = Search(two_rounds(), digits, twice, runtime.start(two_rounds()))
    state.read_checkpoint()
    rows = sorted(of_round(twice, 1), key=lambda row: standing(row, "reward", "accuracy"), reverse=True)
    monkeypatch.setattr(finalists, "PARENTS", 1)
    assert parents_of(state, rows) == {rows[0]["text"]}
    failed = {"standalone_accuracy": None, "training_loss": None}
    rows[0] |= {**failed, "rungs": [*rows[0]["rungs"][:-1], {"epochs": 4, **failed}]}
    assert parents_of(state, rows) == {rows[1]["text"]}
    for row in rows[2:]:
        row |= {**failed, "rungs": [{"epochs": 1, **failed}]}
    monkeypatch.setattr(finalists, "PARENTS", 5)
    assert parents_of(state, rows) == {rows[1]["text"]}
    monkeypatch.setattr(finalists, "PARENTS", 1)
    for row in rows:
        row |= {**failed, "rungs": [{"epochs": 1, **failed}]}
    best = max(rows, key=lambda row: float(row["reward"]))
    assert parents_of(state, rows) == {best["text"]}  # all have failed: nothing else is known


def test_limits_hold_in_all_rounds(digits: DataSet, tmp_path: Path) -> None:
    limited = two_rounds("objective.limit_params=450", "derive.samples=40")
    asked: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        allows = spaces.allows
        patch.setattr(spaces, "allows", lambda *arguments: asked.append(allows(*arguments)) or asked[-1])
        found = result(run(tmp_path / "run", digits, limited))
    assert True in asked and False in asked
    assert {row["round"] for row in found["finalists"] if "round" in row} == {2}
    assert max(row["costs"]["params"] for row in found["archive"]) <= 450


def test_a_conditional_space(digits: DataSet, tmp_path: Path) -> None:
    """Where decisions come and go with others, and what nothing depends on is 0."""
    base, _ = config.PRESETS["quick"]("chain")
    own = [text for text in TINY if not text.startswith("space.")]
    tiny_chain = config.from_text(base, [*own, *CHAIN])
    folder = run(tmp_path / "run", digits, tiny_chain)
    space = spaces.build(tiny_chain.space, (1, 8, 8), 10)
    archs = [spaces.from_json(row["arch"]) for row in of_round(folder, 2)]
    assert len(archs) == 2 and all(spaces.settled(space, arch.choices) == arch for arch in archs)


@pytest.mark.slow
def test_derived_and_audited(digits: DataSet, tmp_path: Path) -> None:
    """A search from such a run's shared weights keeps the setting, and an audit knows the run."""
    searched = run(tmp_path / "run", digits, tiny(*FOUR, "derive.finalist_epochs=1", TWO, "seed=3"))
    done = enas("derive", searched.path, "--set", INHERITED, "--output", tmp_path / "again")
    assert done.exit_code == 0, done.output
    found = checkpoint.read_json(tmp_path / "again" / "result.json")
    assert found["config"]["derive"]["finalist_rounds"] == 2
    assert sorted(row.get("round", 1) for row in found["finalists"]) == [1] * 4 + [2] * 4
    audit = enas("audit", tmp_path / "again", "--networks", "10", "--child-epochs", "1", "--repeats", "2")
    assert audit.exit_code == 0, audit.output


def test_rounds_end_with_the_space(digits: DataSet, tmp_path: Path) -> None:
    """Of one layer there are six networks: four finalists, two more, and a third round without any."""
    small = two_rounds("space.layers=1", "derive.finalist_rounds=4", "derive.samples=60")
    folder = run(tmp_path / "run", digits, small)
    rounds = [row.get("round", 1) for row in result(folder)["finalists"]]
    assert sorted(rounds) == [1, 1, 1, 1, 2, 2] and len(result(folder)["archive"]) == 6
    with pytest.MonkeyPatch.context() as patch:  # what finds nothing once finds nothing again
        asked: list[int] = []
        patch.setattr(finalists, "neighbours", lambda state: asked.append(1) or [])
        run(tmp_path / "more", digits, two_rounds("derive.finalist_rounds=9"))
    assert asked == [1]


@pytest.mark.parametrize("criterion", ["vote", "effects"])
def test_what_decides_is_asked_of_neighbours_too(digits: DataSet, tmp_path: Path, criterion: str) -> None:
    few = ("derive.finalist_epochs=1", "derive.samples=6", "derive.effects_from=20", "derive.effects_images=50")
    folder = run(tmp_path / "run", digits, tiny(*FOUR, *few, f"derive.criterion={criterion}", TWO))
    rows = of_round(folder, 2)
    values = [row[criterion] for row in rows]
    assert values == sorted(values, reverse=True) and len(values) == 4
    untrained = checkpoint.load(folder.checkpoint)["derived"].get("untrained", {})
    assert set(untrained) == ({row["text"] for row in result(folder)["archive"]} if criterion == "vote" else set())


def test_in_words(twice: RunFolder, once: RunFolder, tmp_path: Path) -> None:
    assert describe(two_rounds(), 898).endswith(
        "10 + 6 architectures and 10 neighbours to choose from, 4 finalists in each of 2 rounds trained for 4 epochs, "
        "of which one in 2 goes on after 1, 2"
    )
    shown = [CliRunner().invoke(main, ["show", str(folder.path)]).output for folder in (twice, once)]
    assert "finalists: trained in 2 rounds" in shown[0] and "rounds" not in shown[1]
    for folder, expected in ((twice, True), (once, False)):
        page = tmp_path / f"{expected}.html"
        done = CliRunner().invoke(main, ["report", str(folder.path), "--output", str(page)])
        assert done.exit_code == 0 and ('<th scope="col">round</th>' in page.read_text()) == expected


def test_without_training_there_is_one_round() -> None:
    """As a budget may leave it."""
    assert DeriveConfig(finalist_rounds=3, finalist_epochs=0).rounds == 1


def test_a_budget_may_leave_fewer_rounds() -> None:
    few = [_scaled(DeriveConfig(finalist_rounds=5, finalist_epochs=4), scale) for scale in (0.6, 0.1, 0.0)]
    assert [derive.finalist_rounds for derive in few] == [3, 1, 1]
