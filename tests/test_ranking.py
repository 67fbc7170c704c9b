"""The figures of benchmarks/ranking.py, on numbers of which they are known."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from tests.toys import all_archs, nasbench_macro

pytestmark = pytest.mark.usefixtures("benchmarks")


def test_figures_of_perfect_reversed_and_senseless_scores() -> None:
    from correlation import figures

    draws = np.random.default_rng(0)
    truth, macs = draws.random(400), draws.integers(20_000_000, size=400)
    perfect = figures(truth * 3 - 1, truth, macs)
    assert list(perfect.values()) == pytest.approx([1.0] * len(perfect))
    reversed_ = figures(-truth, truth, macs)
    assert reversed_["tau"] == reversed_["tau_bands"] == pytest.approx(-1) and reversed_["precision_top_percent"] == 0
    senseless = figures(draws.random(400), truth, macs)
    assert abs(senseless["tau"]) < 0.15 and abs(senseless["spearman"]) < 0.2
    assert figures(np.ones(400), truth, macs)["tau"] == 0


def test_bands_leave_out_what_size_explains() -> None:
    """A score that knows the size alone ranks well, but within bands no better than chance."""
    from correlation import figures

    draws = np.random.default_rng(0)
    macs = draws.integers(100_000_000, size=2000)
    truth = macs / 1e8 + 0.2 * draws.random(2000)
    found = figures((macs // 5_000_000).astype(float), truth, macs)
    assert found["tau"] > 0.8 and abs(found["tau_bands"]) < 0.02


def test_a_score_that_is_no_number_ranks_last() -> None:
    from correlation import figures

    truth, macs = np.arange(100.0), np.zeros(100, dtype=np.int64)
    scores = truth.copy()
    scores[0] = np.nan
    assert figures(scores, truth, macs)["tau"] == pytest.approx(1)
    scores[99] = np.nan
    assert figures(scores, truth, macs)["precision_top_percent"] == 0


def test_bootstrap_errors_fall_with_the_number_of_networks() -> None:
    from correlation import resampled

    errors = []
    for count in (100, 1600):
        draws = np.random.default_rng(1)
        truth = draws.random(count)
        scores, macs = truth + 0.3 * draws.random(count), np.zeros(count, dtype=np.int64)
        errors.append(resampled(scores, truth, macs, draws)["tau"])
    assert 2.5 < errors[0] / errors[1] < 6


def test_a_recipe_is_a_name(tmp_path: Path) -> None:
    import ranking

    arguments = ["--table", "t.json", "--data", "digits", "--budget", "flops=1e12", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(ranking.main, [*arguments, "--recipe", "a/b"])
    assert result.exit_code == 2 and "--recipe must be letters" in result.output and not (tmp_path / "out").exists()


def test_a_curve_joins_recipes_that_there_are(tmp_path: Path) -> None:
    import ranking
    from ranking_table import curve

    out = tmp_path / "out"
    out.mkdir()
    taus = {"loss": {"tau": 0.5}, "effects": {"tau": 0.7}}
    voted = {**taus, "vote": {"tau": 0.6}}  # without zero-cost proxies there is no vote
    costs = {"a": (1e13, voted), "b": (1e15, voted), "c": (1e14, taus)}
    recipes = {name: {"runs": [{"flops": flops, "scores": scores}]} for name, (flops, scores) in costs.items()}
    report = {"table": "t", "recipes": recipes}
    curve(report, ["a", "b"], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000
    (out / "ranking.json").write_text(json.dumps(report))
    arguments = ["--table", "t.json", "--data", "digits", "--budget", "flops=1e12", "--output", str(out)]
    for names in (["a", "d"], ["new"]):
        more = [part for name in names for part in ("--curve", name)]
        result = CliRunner().invoke(ranking.main, [*arguments, "--recipe", "new", *more])
        assert result.exit_code == 2 and "--curve must name two recipes" in result.output


def test_chance_is_the_mean_over_all_choices_of_ten() -> None:
    import ranking

    truth = np.random.default_rng(0).random(12)
    table = SimpleNamespace(test=truth)
    found = ranking.chance(table, np.arange(12))
    best = [max(truth[list(ten)]) for ten in itertools.combinations(range(12), 10)]
    assert found == pytest.approx({"mean": truth.mean(), "best_of_ten": np.mean(best), "best": truth.max()})


def test_what_is_picked_of_some_networks() -> None:
    from ranking import picked_of_some

    draws = np.random.default_rng(0)
    truth, values = draws.random(12), draws.random(12)
    values[3] = np.nan  # worse than all others
    ordered = np.where(np.isnan(values), -1, values)
    picks = [truth[max(some, key=lambda i: ordered[i])] for some in itertools.combinations(range(12), 5)]
    found = picked_of_some(values, truth, 5)
    assert found == pytest.approx({"count": 5, "mean": np.mean(picks), "sd": np.std(picks)})
    assert picked_of_some(values, truth, 12)["mean"] == pytest.approx(truth[np.nanargmax(values)])


def test_the_rank_of_a_pick_counts_networks_and_what_is_better_than_chance() -> None:
    """Also those that share an accuracy; the same network under two names counts once."""
    import ranking
    import ranking_table

    space = nasbench_macro()
    archs = all_archs(space)[:6]
    table = SimpleNamespace(
        test=np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.6]),
        macs=np.array([5, 4, 3, 2, 1, 1]),
        network=np.array([0, 1, 2, 3, 4, 4]),
        space=space,
        arch=lambda position: archs[position],
    )
    scores = np.array([0.0, 0.0, 0.0, 3.0, 1.0])
    found = ranking.picked(table, np.arange(5), scores, np.inf)
    assert (found["accuracy"], found["rank"]) == (0.7, 4)
    assert ranking.picked(table, np.arange(5), scores, 1)["rank"] == 1
    runs = [{"scores": {"loss": {"pick": {"accuracy": a}, "pick_under_cap": None}}} for a in (0.7, 0.8)]
    (line,) = ranking_table.gains({"recipes": {"r": {"runs": runs}}, "chance": {"mean": 0.6}})
    assert "+15.00 points" in line and "2 seeds" in line


def test_bands_without_networks_say_nothing() -> None:
    from correlation import figures

    truth = np.arange(30.0)
    assert math.isnan(figures(truth, truth, np.arange(30) * 10_000_000)["tau_bands"])


def test_a_cap_has_to_leave_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ranking

    table = SimpleNamespace(network=np.arange(60), macs=np.arange(60) * 1_000_000, arch=lambda position: None)
    monkeypatch.setattr(ranking, "load_table", lambda path: table)
    arguments = ["--table", "t.json", "--data", "digits", "--budget", "flops=1e12", "--output", str(tmp_path / "out")]
    for cap in ("8", "9"):  # the latter: enough of all, but not of the drawn ones
        more = ["--recipe", "a", "--cap", cap, "--networks", "50"]
        result = CliRunner().invoke(ranking.main, [*arguments, *more])
        assert result.exit_code == 2 and "--cap must leave 10 " in result.output
    assert not (tmp_path / "out" / "settings.json").exists()
