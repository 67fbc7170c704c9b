"""The arithmetic of the benchmarks' tables."""

from __future__ import annotations

import math
import statistics
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from enas.config import NasBench201Options

pytestmark = pytest.mark.usefixtures("benchmarks")


def find(side: str, text: str, cost: float) -> Any:
    from efficiency import Find

    return Find(side, f"size {text}", text, cost, 100 * cost)


def test_cost_of_an_accuracy() -> None:
    from efficiency import reached

    costs, accuracies = np.array([1.0, 4.0, 9.0]), np.array([0.5, 0.4, 0.7])
    assert reached(costs, accuracies, 0.5) == 0.0  # already with the first
    assert math.isinf(reached(costs, accuracies, 0.71))
    assert reached(costs, accuracies, 0.7) == pytest.approx(9)
    assert reached(costs, accuracies, 0.6) == pytest.approx(6)  # half way from 4 to 9, in logarithms


def test_factors_say_what_is_a_bound() -> None:
    from efficiency import FULL, factors

    reinforce, random = FULL
    finds = [find("ENAS", "a", 2.0), find("ENAS", "worse", 2.0), find("ENAS", "better", 2.0)]
    finds += [find(side, text, cost) for side in FULL for text, cost in (("b", 10.0), ("c", 40.0))]
    precise = {"a": [0.65, 0.65001], "worse": [0.1, 0.1001], "better": [0.9, 0.9001], "b": [0.6, 0.60001]}
    found = factors(finds, precise | {"c": [0.7, 0.70001]})
    assert [(entry["size"][5:], entry["rival"]) for entry in found] == [
        (text, side) for text in ("a", "worse", "better") for side in (reinforce, random)
    ]
    exact, below, above = (found[i]["time_s"] for i in (0, 2, 4))
    assert exact["factor"] == "10"  # sqrt(10 * 40) / 2
    assert set(below.values()) == {"below 5"} and set(above.values()) == {"above 20"}
    vague = factors(finds, precise | {"c": [0.5, 0.9]})[0]["flops"]
    assert vague["high"] == "above 20"  # two retrainings that differ say nothing of the mean


def test_recipes_must_agree() -> None:
    from efficiency import check_recipes

    one = {"config": {"epochs": 8, "sgd": {"lr_max": 0.1}, "data": {}, "seed": 0}}
    check_recipes([one, {"config": {**one["config"], "seed": 1}}])
    with pytest.raises(SystemExit, match="one recipe, but there are 2"):
        check_recipes([one, {"config": {**one["config"], "epochs": 9}}])


def test_ranks_and_paired_differences() -> None:
    from searchers import summary

    truth = np.array([0.91, 0.93, 0.92, 0.94])
    best, second = [94.0] * 5, [93.0] * 5
    everyone = {"random": np.array([second, best, second]), "evolution": np.array([best, best, best])}
    found = summary(truth, np.array([best, best, second]), everyone)
    assert found["rank"] == pytest.approx([4 / 3] * 5) and found["mean"] == pytest.approx([281 / 3] * 5)
    gap = found["minus"]["random"][0]
    half = 4.302653 * statistics.stdev([1, 0, 0]) / math.sqrt(3)  # of Student's t with two degrees of freedom
    assert (gap["mean"], gap["low"], gap["high"]) == pytest.approx((1 / 3, 1 / 3 - half, 1 / 3 + half), rel=1e-5)


def test_runs_that_never_get_there_count() -> None:
    from judged import quantiles

    assert quantiles([5.0, None, 1.0, 3.0, 2.0]).tolist() == [1.0, 3.0, math.inf]


def test_what_was_found_beside_chance() -> None:
    from judged import better_than_chance

    table: Any = SimpleNamespace(
        network=np.array([0, 0, 2, 3]), test=np.array([0.5, 0.5, 0.7, 0.9]), macs=np.array([1e6, 1e6, 2e6, 9e6])
    )
    gap = better_than_chance(table, [0.69, 0.71], 5)
    half = 12.706205 * statistics.stdev([0.69, 0.71]) / math.sqrt(2)  # Student's t with one degree of freedom
    assert gap == pytest.approx({"random": 0.6, "mean": 0.1, "low": 0.1 - half, "high": 0.1 + half}, rel=1e-4)
    assert better_than_chance(table, [0.7, 0.7], None)["random"] == pytest.approx(0.7)


def test_predictions_are_as_good_as_meant_or_not() -> None:
    from latency import errors, ranks, reached

    measured = np.array([10.0, 20.0, 30.0, 40.0])
    predicted = np.array([10.9, 20.0, 32.7, 30.0])
    found = {**errors(predicted, measured), **ranks(predicted, measured)}
    assert found["median_error"] == pytest.approx(0.09) and found["tau"] == pytest.approx(2 / 3)
    repeated = {"tau": 0.7, "spearman": found["spearman"] / 0.95}
    assert reached(found, repeated, 1) and reached(found, repeated, 64) and reached(found, repeated, 8) is None
    assert not reached(found, {**repeated, "tau": 0.71}, 1)
    assert not reached({**found, "median_error": 0.11}, repeated, 64)
    assert reached({**found, "median_error": 0.11}, repeated, 1)


def test_what_finalists_figures_would_have_found() -> None:
    """The most accurate one by its accuracy, the one of the least loss by its loss; the vote's own first without."""
    from judged import looked_up, trained

    arch = {"schema": 1, "space": "nasbench-macro", "choices": [0] * 8}
    table = SimpleNamespace(
        test=np.array([0.91, 0.94, 0.92]), macs=np.array([5, 6, 7]), positions=lambda archs: np.arange(len(archs))
    )
    rows = [(0.2, 0.7, 1.2), (0.1, 0.6, 1.0), (0.9, 0.7, 1.1)]  # vote, accuracy, loss
    finalists = [
        {"text": f"n{i}", "arch": arch, "vote": vote, "standalone_accuracy": accuracy, "training_loss": loss}
        for i, (vote, accuracy, loss) in enumerate(rows)
    ]
    for each in finalists:
        each["rungs"] = [{"epochs": 3} | {name: each[name] for name in ("standalone_accuracy", "training_loss")}]
    settings = {"criterion": "vote", "finalist_criterion": "training-loss", "finalist_epochs": 3, "halving_eta": 0}
    result: dict[str, Any] = {"text": "n0", "config": {"derive": settings}, "finalists": finalists}
    found = looked_up(table, result)
    assert (found["truth"], found["macs"]) == (0.91, 5) and [each["truth"] for each in found["finalists"]] == [
        *(0.91, 0.94, 0.92)
    ]
    assert {name: each["pick"] for name, each in found["by"].items()} == {
        **{"no training": 0.92, "accuracy": 0.92, "training-loss": 0.94}  # of two accuracies the vote's better one
    }
    assert [each["tau"] for each in found["by"].values()] == pytest.approx([-1 / 3, -2 / 6**0.5, 1])
    assert trained([found, found])[-1].startswith("- training-loss: 94.00 % (sd 0.00), tau among them 1.00")
    assert [(each["epochs"], each["finalists"]) for each in found["rungs"]] == [(3, 3)]
    assert found["rungs"][0]["tau"] == pytest.approx({"accuracy": -2 / 6**0.5, "training-loss": 1})
    for each, loss in zip(finalists[1:], (0.4, 0.5), strict=True):  # two of them went on
        each["rungs"] = [*each["rungs"], {"epochs": 9, "standalone_accuracy": 0.8, "training_loss": loss}]
    on = looked_up(table, result)
    assert [(each["epochs"], each["finalists"]) for each in on["rungs"]] == [(3, 3), (9, 2)]
    assert trained([on, on])[-1].endswith(
        "after 9 epochs, 2 finalists: tau by accuracy 0.00, 0.00; by training-loss 1.00, 1.00"
    )
    assert on["rounds"] == [{"finalists": 3, "best": 0.94, **on["by"]["training-loss"]}]
    finalists[1]["round"] = 2
    two = looked_up(table, result)
    assert two["by"]["no training"]["pick"] == 0.92 and two["by"]["training-loss"] == on["by"]["training-loss"]
    assert [(each["finalists"], each["best"], each["pick"]) for each in two["rounds"]] == [
        *((2, 0.92, 0.92), (3, 0.94, 0.94))
    ]
    assert trained([two, two])[-1] == (
        "- after round 2, 3 finalists: 94.00 % (sd 0.00): 94.00, 94.00; the best of them 94.00 %"
    )
    settings["halving_eta"] = 2
    assert looked_up(table, result)["by"].keys() == {"no training", "training-loss"}
    for each in finalists:
        each["rungs"] = [{"epochs": 3, "standalone_accuracy": None, "training_loss": None}]
    assert looked_up(table, result)["by"]["training-loss"] == {"pick": 0.92, "tau": 0.0}  # all have failed
    settings["finalist_epochs"] = 0
    assert "by" not in looked_up(table, result) and trained([looked_up(table, result)]) == []


def test_how_judged_networks_are_derived() -> None:
    from judged import deriving

    space = SimpleNamespace(options=NasBench201Options())
    table: Any = SimpleNamespace(space=space)
    assert deriving("photos", None, table, ("derive.samples=9",)) == [
        *("--data", "photos", "--set", "derive.samples=9")
    ]
    limited = deriving("photos", 50.0, table, ())
    assert limited[2:4] == ["--limit", "macs=50000000.0"]
    assert limited[5::2] == ["objective.width=16", "objective.depth=5"]
