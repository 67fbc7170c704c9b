"""What pages say beyond figures: no sentence of a search that judged each network by itself says more than is so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from enas import config
from enas.cli.output import print_found
from enas.config import RetrainConfig, SearchConfig
from enas.objective import number
from enas.report import answer, search, searches
from enas.report.blocks import Pictures, Section, Table, Text
from enas.report.networks import compared
from enas.report.what import Repeat, Searched, Several, Trained

AGAIN = Repeat("enas search", "", "repeat.toml")
CHANCE = "flattered by chance"


def judged(evaluator: str = "full-training", space: str = "nasbench-macro", **values: Any) -> Searched:
    """A finished search in which each network was judged by itself."""
    best = {"text": "a:0", "accuracy": 0.9, "reward": 0.8, "params": 1234, "macs": 5678}
    if evaluator == "table":
        best |= {"true_accuracy": 0.9, "true_rank": 3, "ranked": 99}
    result: dict[str, Any] = {"text": "a:0", "evaluations": 20, "failed": 0, "random_baseline": None, "costs": None}
    result |= {"finalists": [best], "elapsed_s": 1.0, "device": "cpu", "precision": "float32", "threads": 1, **values}
    settings = config.update(SearchConfig(), {"evaluator": evaluator, "space": {"name": space}})
    result = {"config": config.to_dict(settings), **result}
    return Searched("run", settings, (), result, "enas search --resume run", 1, AGAIN)


def costs(**bounds: Any) -> dict[str, Any]:
    each = {"found": 3.4567, "limit": None, "target": None, **bounds}
    return {"width": None, "depth": None, "costs": {"latency_ms": each}}


def text_of(section: Section) -> str:
    found = []
    for block in section.blocks:
        if isinstance(block, Text):
            found.append(block.text)
        if isinstance(block, Table):
            found += [cell.text for row in block.cells for cell in row]
        if isinstance(block, Pictures):
            found += [picture.caption for picture in block.pictures]
    return " | ".join(found)


def test_the_best_of_many_trained_networks_is_flattered() -> None:
    text = " ".join(answer.of_search(judged()))
    assert "it is the best of the 20 networks" in text and CHANCE in text
    assert "has 90.00 % validation accuracy, the best of 20 networks." in text


def test_with_a_target_the_best_has_the_best_reward(capsys: pytest.CaptureFixture[str]) -> None:
    run = judged(costs=costs(target=4.5), failed=2)
    print_found(Path("run"), run.result)  # type: ignore[arg-type]
    assert "0.9000 accuracy, the best reward of 20 networks, of which 2 failed" in capsys.readouterr().out
    text = " ".join(answer.of_search(run))
    assert "it has the best reward of the 20 networks that were judged each by itself" in text
    assert "90.00 % validation accuracy and the best reward of 20 networks, of which 2 failed." in text
    assert "others may be more accurate" in text and CHANCE not in text and "the best of" not in text
    assert "it is the best of the 20 networks" in " ".join(answer.of_search(judged(costs=costs(limit=4.5))))
    by_loss = judged(config={"objective": {"metric": "loss"}})
    assert "it has the best reward of the 20 networks" in " ".join(answer.of_search(by_loss))


@pytest.mark.parametrize("space", ["nasbench201", "nasbench-macro"])
def test_a_table_is_not_judged_by_chance_and_may_know_one_accuracy_alone(space: str) -> None:
    run = judged("table", space)
    text, finalists = " ".join(answer.of_search(run)), text_of(search.finalists_section(run))
    one = space == "nasbench-macro"
    assert CHANCE not in text and "judged again" not in text and "rank 3 of 99 in the table" in text
    assert ("In this table validation and test accuracy are one figure" in text) == one
    assert ("which the search did not see" in finalists) == (not one)
    assert ("this is its validation accuracy too" in finalists) == one


@pytest.mark.parametrize(("evaluator", "scored"), [("table", "looked up in the table"), ("full-training", "scored on")])
def test_fronts_say_what_scored(evaluator: str, scored: str) -> None:
    row = {"text": "a:0", "accuracy": 0.9, "costs": {"latency_ms": 3.4567}}
    text = text_of(search.fronts_section(judged(evaluator, archive=[row])))
    assert f"everything that was {scored}" in text and "| 3.46 |" in f"| {text} |"


def test_latencies_keep_their_fractions() -> None:
    run = judged(costs=costs(limit=4.567, target=3.5))
    text = " ".join(answer.of_search(run))
    assert "3.46 ms are within the limit of 4.57 and 3.46 ms are 1 % below the target of 3.5." in text
    assert "| ms | 3.46 | 4.57 | 3.5 |" in text_of(search.costs_section(run))
    assert [number(value) for value in (999.4, 999.7, 0.25)] == ["999", "1,000", "0.25"]


def network(name: str, accuracy: float) -> Trained:
    result = {"test_accuracy": accuracy, "test_images": 100}
    return Trained(name, RetrainConfig(), (), result, "enas retrain", AGAIN)


def test_an_interval_that_includes_nothing_shows_nothing() -> None:
    (text,) = compared([network("retrain", 0.9), network("resnet20", 0.89)])
    assert "The found network is not shown to be better or worse than resnet20" in text
    assert "is better than" in compared([network("retrain", 0.9), network("resnet20", 0.5)])[0]


def test_several_seeds_have_one_unit_for_deviations() -> None:
    found = {"words": "accuracy", "count": 2, "mean": 0.9, "sd": 0.0123, "low": 0.8, "high": 0.95}
    result = {"runs": [{}, {}], "statistics": {"accuracy": found}, "elapsed_s": 1.0}
    run = Several("all", SearchConfig(), result, {}, 2, "enas search", AGAIN)
    assert "standard deviation 1.23 points" in " ".join(answer.of_several(run))
    assert "| 90.00 % | 1.23 points |" in text_of(searches.statistics_section(run))
    begun = Several("all", SearchConfig(), None, {}, 2, "enas search", AGAIN)
    assert "complete" not in answer.of_several(begun)[0]
