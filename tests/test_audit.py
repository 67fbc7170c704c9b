"""The trust report: its statistics on numbers of which the answer is known, and the command."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scipy.stats import kendalltau

from enas import audit, checkpoint, searchers, spaces
from enas.audit import Tau, rank_correlation
from enas.cli.targets import restored
from enas.config import SearchConfig
from enas.runs import RunFolder
from enas.scoring import ProxyScores
from tests.test_cli import TINY_OPTIONS, enas, fails

TINY_AUDIT = ("--audit", "6", "--child-epochs", "1", "--set", "audit.pool=12", "--set", "audit.repeats=2")


def proxy(values: list[float]) -> ProxyScores:
    found: Any = SimpleNamespace(reward=values, accuracy=values, loss=[-value for value in values], effects=None)
    return found  # type: ignore[no-any-return]


def test_tau_is_scipys_and_its_interval_is_fiellers() -> None:
    a, b = [1.0, 2, 3, 4, 5, 6, 7, 8], [1.0, 3, 2, 5, 4, 8, 7, 6]
    found = rank_correlation(a, b)
    tau = kendalltau(a, b).statistic
    half = 1.96 * math.sqrt(0.437 / 4)
    assert found.tau == pytest.approx(tau)
    assert found.low == pytest.approx(math.tanh(math.atanh(tau) - half), abs=1e-4)
    assert found.high == pytest.approx(math.tanh(math.atanh(tau) + half), abs=1e-4)


def test_a_perfect_ranking_of_few_is_not_certain() -> None:
    few = rank_correlation([1.0, 2, 3, 4, 5], [1.0, 2, 3, 4, 5])
    assert few.tau == pytest.approx(1) and few.low is not None and 0 < few.low < 0.8
    many = rank_correlation(list(range(100)), list(range(100)))
    assert many.low is not None and many.low > 0.99


def test_no_ranking_where_all_are_the_same() -> None:
    assert rank_correlation([1.0] * 6, [1.0, 2, 3, 4, 5, 6]) == Tau(None, None, None)
    report = audit.assess(proxy([0.1] * 6), [0.5, 0.51, 0.52, 0.5, 0.49, 0.5], [0.6, 0.61])
    assert report["verdict"] == "better than random" and "says the same of all" in report["sentence"]


@pytest.mark.parametrize(
    ("found", "verdict", "beaten"),
    [
        ([0.80, 0.81, 0.79], "better than random", 10),
        ([0.60, 0.61, 0.59], "worse than random", 0),
        ([0.700, 0.705, 0.695], "no better than random", 5),
    ],
)
def test_verdicts(found: list[float], verdict: str, beaten: int) -> None:
    random = [0.65 + 0.01 * i for i in range(11)]
    report = audit.assess(proxy(random), random, found)
    assert (report["verdict"], report["beaten"]) == (verdict, beaten if verdict != "better than random" else 11)
    assert verdict in report["sentence"] and f"of {len(random)} uniform" in report["sentence"]
    assert report["tau"]["reward"]["tau"] == report["tau"]["loss"]["tau"] == pytest.approx(1)
    low, high = report["found_minus_random"]["low"], report["found_minus_random"]["high"]
    assert low < sum(found) / len(found) - 0.7 < high


def test_failed_trainings_are_left_out_and_counted() -> None:
    random = [0.1, math.nan, 0.3, 0.2, 0.4, 0.5]
    report = audit.assess(proxy([1, 100, 3, 2, 4, 5]), random, [0.9, math.nan, 0.91])
    assert report["failed"] == 1 and report["tau"]["reward"]["tau"] == pytest.approx(1)
    assert audit.assess(proxy([1, 2, 3, 4, 5]), [math.nan, 1, 1, 1, 1], [0.9, 0.9])["verdict"] == "unknown"
    assert audit.assess(proxy([1, 2, 3, 4, 5]), [1, 1, 1, 1, 1], [0.9, math.nan])["verdict"] == "unknown"


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "run"
    result = enas("search", *TINY_OPTIONS, *TINY_AUDIT, "--output", path)
    assert result.exit_code == 0, result.output
    report = checkpoint.read_json(path / "result.json")["audit"]
    assert f"audit         {report['sentence']}" in result.output
    return path


def test_the_report_of_a_search(audited: Path) -> None:
    values = checkpoint.read_json(audited / "result.json")
    report = values["audit"]
    assert report["networks"] == 6 and report["epochs"] == 1 and report["failed"] == 0
    assert report["found"]["text"] == values["text"] and len(report["found"]["standalone_accuracy"]) == 2
    assert len({row["text"] for row in report["random"]}) > 1
    rewards = [row["reward"] for row in report["random"]]
    assert rewards == sorted(rewards, reverse=True)  # one of each slice of the pool, the best first
    accuracies = [row["standalone_accuracy"] for row in report["random"]]
    tau = kendalltau(rewards, accuracies).statistic
    assert report["tau"]["reward"]["tau"] == (None if math.isnan(tau) else pytest.approx(tau))
    assert report["flops"] > 0 and report["verdict"] in report["sentence"]
    assert report["sentence"] in enas("show", audited).output
    again = enas("search", "--resume", audited)
    assert again.exit_code == 0 and report["sentence"] in again.output
    assert checkpoint.read_json(audited / "result.json") == values


def test_a_second_audit_trains_nothing_again_and_adds_what_is_asked_for(audited: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(audited, tmp_path / "run"))
    before = checkpoint.read_json(run / "result.json")["audit"]
    lines = (run / "audit" / "children.jsonl").read_text().splitlines()
    again = enas("audit", run, "--json")
    assert again.exit_code == 0, again.output
    after = json.loads(again.stdout)
    for report in (before, after):
        del report["elapsed_s"]
    assert after == before
    assert (run / "audit" / "children.jsonl").read_text().splitlines() == lines
    more = enas("audit", run, "--repeats", "3")
    assert more.exit_code == 0 and "audit         the found" in more.output
    report = checkpoint.read_json(run / "result.json")["audit"]
    assert report["found"]["standalone_accuracy"][:2] == before["found"]["standalone_accuracy"]
    assert len((run / "audit" / "children.jsonl").read_text().splitlines()) == len(lines) + 1


def test_an_audit_that_was_cut_short_goes_on(audited: Path, tmp_path: Path) -> None:
    """The search is finished; its resumption owes the audit, and what was trained by then is kept."""
    run = Path(shutil.copytree(audited, tmp_path / "run"))
    values = checkpoint.read_json(run / "result.json")
    report = values.pop("audit")
    checkpoint.write_json(run / "result.json", values)
    kept = (run / "audit" / "children.jsonl").read_text().splitlines()[:3]
    (run / "audit" / "children.jsonl").write_text("\n".join(kept) + "\n")
    result = enas("search", "--resume", run)
    assert result.exit_code == 0 and report["sentence"] in result.output
    found = checkpoint.read_json(run / "result.json")["audit"]
    assert found["random"] == report["random"] and found["found"] == report["found"]


def test_the_chosen_are_spread_over_the_range_of_the_proxy(audited: Path) -> None:
    """Of twelve sorted ones in six slices: one of each pair."""
    folder = RunFolder(audited)
    state = restored(folder.config(SearchConfig()), folder)
    work = audit.Audit(state, spaces.from_json(checkpoint.read_json(audited / "result.json")["arch"]), state.config)
    everyone = searchers.uniform(state.space, 12, state.draws("audit"))
    scores = ProxyScores(state, everyone, state.evaluator.score(everyone, state.validation_batches()))
    order = [everyone[i] for i in scores.ranked(range(12))]
    chosen = work.chosen(lambda images: None).archs
    assert len(chosen) == 6 and all(arch in order[2 * i : 2 * i + 2] for i, arch in enumerate(chosen))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "--audit", "3"], "audit.networks must be 0 (no report) or at least 5 to tell a thing, but got 3"),
        (["search", "--evaluator", "full-training", "--audit", "6"], "--audit must be left out"),
        (["search", "--workers", "2"], "where it does nothing without --audit"),
        (["audit", "RUN", "--networks", "0"], "--networks must be at least 5, but got 0"),
        (["audit", "RUN", "--child-epochs", "0"], "epochs must be at least 1"),
        (["audit", "nowhere"], "must be a run folder"),
    ],
)
def test_wrong_inputs(arguments: list[str], words: str, audited: Path, tmp_path: Path) -> None:
    before = (audited / "result.json").read_bytes()
    fails(*[audited if word == "RUN" else word for word in arguments], match=words)
    assert (audited / "result.json").read_bytes() == before
