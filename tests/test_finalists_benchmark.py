"""benchmarks/finalists.py: it trains as a search does, and what it makes of curves, where that is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from enas import checkpoint, runtime
from enas.data import load, training_images
from enas.errors import UserError
from enas.tables import load_table
from tests.samples import whole_macro
from tests.test_finalists import HALVED, finalists
from tests.test_search import run, tiny

pytestmark = pytest.mark.usefixtures("benchmarks")


@pytest.mark.parametrize("weights", ["fresh", "inherited"])
def test_it_trains_as_a_search_does_and_each_once(tmp_path: Path, weights: str) -> None:
    """The same accuracies at the same epochs; also of a search of another version, whose checkpoint is another's."""
    from finalist_curves import Run, Trainer, Trainings

    run_config = tiny(*HALVED, f"derive.finalist_weights={weights}")
    digits = load(run_config.data, torch.device("cpu"))
    folder = run(tmp_path / "seed-0", digits, run_config)
    checkpoint.save(folder.checkpoint, {**checkpoint.load(folder.checkpoint), "schema": 4, "identity": {}})
    search = Run("seed-0", run_config, folder.path, {}, digits.fingerprint(), 1.0)
    trainer = Trainer(search, digits, runtime.start(run_config), None)
    best = finalists(folder)[0]
    curve = Trainings(tmp_path / "trainings.json").curve(trainer, best["text"], weights, 4)
    assert len(curve) == 4
    assert [{"epochs": rung["epochs"], **curve[rung["epochs"] - 1]} for rung in best["rungs"]] == best["rungs"]
    again = Trainings(tmp_path / "trainings.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train", lambda *arguments: pytest.fail("it is known"))
        assert again.curve(trainer, best["text"], weights, 4) == curve
    assert len(Trainer(search, digits, trainer.runtime, 300).train_images) == 300
    assert trainer.images_each == training_images(898, 300)
    small = Trainer(search, digits, trainer.runtime, 300, 4)
    assert small.train_images.images.shape[1:3] == (4, 4)
    other = small.train(best["text"], weights, 1)[0]
    assert 0 <= other["standalone_accuracy"] <= 1 and other["training_loss"] > 0


def test_what_curves_say() -> None:
    from finalist_curves import Finalist
    from finalist_variants import outcome, variants, without

    truths, macs = (0.9, 0.8, 0.95, 0.7), (1, 10, 100, 1000)
    found = [Finalist(f"net:{i}", -i, truth, m) for i, (truth, m) in enumerate(zip(truths, macs, strict=True))]
    accuracies: list[list[float | None]] = [[0.5, 0.6], [0.4, 0.9], [0.6, 0.7], [0.3, None]]
    losses: list[list[float | None]] = [[2.0, 1.0], [2.1, 1.5], [1.9, 1.1], [2.2, None]]
    curves = [
        [{"standalone_accuracy": accuracy, "training_loss": loss} for accuracy, loss in zip(*both, strict=True)]
        for both in zip(accuracies, losses, strict=True)
    ]
    made = {variant.name: variant for variant in variants([2], [2], 1)}
    names = ["fresh, 2 epochs", "fresh, halving by 2 at 1, 2", "fresh, stopped after 1 of 2"]
    assert list(made)[:6:2] == names and list(made)[1:6:2] == [f"{name}, by training loss" for name in names]
    whole, halved, stopped = (outcome(found, curves, made[name], 40, 5) for name in names)
    by_loss = outcome(found, curves, made["fresh, 2 epochs, by training loss"], 40, 5)
    assert (by_loss["pick"], by_loss["flops"], by_loss["failed"]) == (0.9, whole["flops"], 1)
    assert by_loss["tau"] == pytest.approx((5 - 1) / 6)  # of the first, third, second, failed
    assert whole["pick"] == 0.8 and whole["flops"] == 2 * (3 * 2 * 40 + 5) * 1111 and whole["failed"] == 1
    # of 0.6, 0.9, 0.7 and failed the truth is 0.9, 0.8, 0.95 and 0.7
    assert whole["tau"] == pytest.approx((4 - 2) / 6)
    assert halved["pick"] == 0.95 and halved["failed"] == 0  # the fourth is stopped before it fails
    assert halved["flops"] == 2 * ((3 * 40 + 5) * 1111 + (3 * 40 + 5) * 101)
    assert halved["tau"] == pytest.approx(1.0)
    assert stopped["pick"] == 0.95 and stopped["flops"] == 2 * (3 * 40 + 5) * 1111
    untrained = without(found)
    assert (untrained["pick"], untrained["best"], untrained["mean"]) == (0.9, 0.95, pytest.approx(0.8375))


def test_curves_of_earlier_versions_are_refused(tmp_path: Path) -> None:
    from finalist_curves import Trainings

    (tmp_path / "trainings.json").write_text('{"seed-0/fresh/1/net:0": [0.5]}')
    with pytest.raises(UserError, match="must say what trainings were after each epoch, but an earlier version"):
        Trainings(tmp_path / "trainings.json")


def test_means_and_gains() -> None:
    import finalists as benchmark

    def search(pick: float) -> dict[str, Any]:
        trained = [{"variant": "fresh, 1 epochs", "tau": 0.5, "pick": pick, "flops": 2e9, "failed": 0}]
        untrained = {"tau": 0.0, "pick": 0.9, "mean": 0.85, "best": 0.95}
        return {"search_flops": 1e10, "untrained": untrained, "trained": trained}

    found = benchmark.summary([search(0.91), search(0.93)])["fresh, 1 epochs"]
    assert found["gain"]["mean"] == pytest.approx(0.02) and found["share_of_search"] == pytest.approx(0.2)
    assert found["gain"]["half"] == pytest.approx(12.7062 * 0.01, rel=1e-3)  # Student's t with one degree of freedom
    alone = {"finalists": 3, "best": 0.97, "searches": [0], "variants": benchmark.summary([search(0.91)])}
    assert benchmark.rows(alone)[-1] == "| fresh, 1 epochs | 0.0000 | 0.20 | 0.50 | 91.00 | +1.00 |"


def test_what_is_no_folder_of_searches_is_refused(tmp_path: Path) -> None:
    import finalists as benchmark

    rows = "\n".join(f"{arch}" for arch in ("not", "a table"))
    (tmp_path / "t.json").write_text(rows)
    arguments = ["--data", "digits", "--runs", str(tmp_path / "none"), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(benchmark.main, ["--table", str(tmp_path / "t.json"), *arguments])
    assert result.exit_code == 2 and "t.json" in result.output and "Traceback" not in result.output
    with pytest.raises(Exception, match="must hold finished searches seed-0, seed-1"):
        from finalist_curves import found

        found(tmp_path / "none", None)


def test_further_rounds_played_with_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By exact trainings a further round never loses, and it tries neighbours alone."""
    import rounds
    from rounds import Game, Variant, played

    checkpoint.write_json(tmp_path / "table.json", whole_macro())
    table = load_table(tmp_path / "table.json")
    noise = np.random.default_rng(0).standard_normal(len(table))
    monkeypatch.setattr(rounds, "scored", lambda run, space, archs: {"proxy_loss": noise[table.positions(archs)]})
    most = float(np.median(table.macs))
    game = Game(table, tmp_path, most)
    assert (
        set(game.positions) == set(table.network) and game.allowed.sum() == (table.macs[game.positions] <= most).sum()
    )
    game.check(5)
    with pytest.raises(UserError, match="allow more networks than the 1 of --finalists, but allows 1; give"):
        Game(table, tmp_path, float(table.macs.min())).check(1)
    network = 7
    arch = table.arch(int(game.positions[network]))
    for number in game.changed(network):
        same = [other for other in range(len(table)) if table.network[other] == game.positions[number]]
        apart = [sum(a != b for a, b in zip(arch.choices, table.arch(i).choices, strict=True)) for i in same]
        assert min(apart) <= 1
    generator = np.random.default_rng(0)
    one, two = (game._near([network], changes, 300, {network}, generator) for changes in (1, 2))
    assert set(one) == {number for number in game.changed(network) if game.allowed[number]} - {network}
    assert (
        set(one)
        < set(two)
        == set(one)
        | {far for number in game.changed(network) for far in game.changed(number) if game.allowed[far]} - {network}
    )
    found = {
        variant: played([game], variant, samples=40, finalists=5, error=0.0, repeats=20)
        for variant in (Variant(2, 3, 1), Variant(3, 3, 1), Variant(2, 1, 1), Variant(2))
    }
    gains = [each["gain"] for each in found.values()]
    assert min(gains) > 0
    assert [each["tau"] for each in found.values()] == pytest.approx([1.0] * 4)
    assert len({each["first"] for each in found.values()}) == 1
    allowed = int(game.allowed.sum())  # of which more than all there are
    assert played([game], Variant(2), samples=allowed, finalists=allowed, error=0.0, repeats=2)["gain"] == 0
    assert str(Variant(2, 3, 1)) == "2 rounds, parents: 3, changes: 1" and str(Variant(2)) == "more, 2 times as many"
