"""The trust report: its statistics on numbers of which the answer is known, and the command."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scipy.stats import kendalltau

from enas import audit, checkpoint, spaces
from enas.audit import Tau, rank_correlation, spread_places
from enas.config import AuditConfig, SearchConfig
from enas.graph import signature
from enas.jobs.targets import restored
from enas.runs import RunFolder
from enas.scoring import ProxyScores
from enas.spaces import Architecture
from tests.test_cli import TINY_OPTIONS, enas, fails
from tests.test_report import reported
from tests.toys import all_archs

TINY_AUDIT = ("--audit", "10", "--child-epochs", "1", "--set", "audit.pool=24", "--set", "audit.repeats=2")


def proxy(values: list[float]) -> ProxyScores:
    found: Any = SimpleNamespace(
        reward=values, accuracy=values, loss=[-value for value in values], others={}, criterion="reward"
    )
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
    assert few.tau == few.high == pytest.approx(1) and few.low is not None and 0 < few.low < 0.8
    many = rank_correlation(list(range(100)), list(range(100)))
    assert many.low is not None and many.low > 0.99


def test_no_ranking_where_all_are_the_same() -> None:
    assert rank_correlation([1.0] * 6, [1.0, 2, 3, 4, 5, 6]) == Tau(None, None, None)
    one_score = audit.assess(proxy([0.1] * 6), [0.5, 0.51, 0.52, 0.5, 0.49, 0.5], [0.6, 0.61], 2)
    one_accuracy = audit.assess(proxy([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), [0.5] * 6, [0.6, 0.61], 2)
    for report in (one_score, one_accuracy):
        assert report["verdict"] == "better than random" and "cannot be told" in report["sentence"]


@pytest.mark.parametrize(
    ("found", "verdict", "beaten"),
    [
        ([0.80, 0.81, 0.79], "better than random", 11),
        ([0.60, 0.61, 0.59], "worse than random", 0),
        ([0.700, 0.705, 0.695], "no better than random", 5),
    ],
)
def test_verdicts(found: list[float], verdict: str, beaten: int) -> None:
    random = [0.65 + 0.01 * i for i in range(11)]
    report = audit.assess(proxy(random), random, found, 7)
    assert (report["verdict"], report["beaten"]) == (verdict, beaten)
    assert f"is {verdict}: after 7 epochs" in report["sentence"] and f"ahead of {beaten} of them" in report["sentence"]
    assert report["tau"]["reward"]["tau"] == report["tau"]["loss"]["tau"] == pytest.approx(1)
    low, high = report["found_minus_random"]["low"], report["found_minus_random"]["high"]
    assert low < sum(found) / len(found) - 0.7 < high


def test_failed_trainings_are_left_out_and_counted() -> None:
    random = [0.1, math.nan, 0.3, 0.2, 0.4, 0.5]
    report = audit.assess(proxy([1, 100, 3, 2, 4, 5]), random, [0.9, math.nan, 0.91], 2)
    assert report["failed"] == 2 and report["tau"]["reward"]["tau"] == pytest.approx(1)
    assert report["sentence"].endswith("; 2 trainings failed")
    for accuracy, found in (([math.nan, 1, 1, 1, 1], [0.9, 0.9]), ([1.0] * 5, [0.9, math.nan])):
        assert audit.assess(proxy([1, 2, 3, 4, 5]), accuracy, found, 2)["verdict"] == "unknown"


def test_a_proxy_that_failed_ranks_last() -> None:
    accuracy = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    report = audit.assess(proxy([math.nan, 2, 3, 4, 5, 6]), accuracy, [0.9, 0.9], 2)
    assert report["tau"]["loss"]["tau"] == pytest.approx(1)


def test_places_are_spread_and_begin_alike() -> None:
    few, many = spread_places(200, 10), spread_places(200, 25)
    assert many[:10] == few and len(set(many)) == 25
    gaps = [b - a for a, b in zip([0, *sorted(many)], [*sorted(many), 200], strict=True)]
    assert max(gaps) <= 13
    assert sorted(spread_places(24, 24)) == list(range(24))


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
    assert report["networks"] == 10 and report["epochs"] == 1 and report["failed"] == 0
    assert report["found"]["text"] == values["text"] and len(report["found"]["standalone_accuracy"]) == 2
    assert len({row["text"] for row in report["random"]}) > 1
    rewards = [row["reward"] for row in report["random"]]
    accuracies = [row["standalone_accuracy"] for row in report["random"]]
    tau = kendalltau(rewards, accuracies).statistic
    assert report["tau"]["reward"]["tau"] == (None if math.isnan(tau) else pytest.approx(tau))
    assert report["flops"] > 0 and report["verdict"] in report["sentence"]
    assert report["sentence"] in enas("show", audited).output
    again = enas("search", "--resume", audited)
    assert again.exit_code == 0 and report["sentence"] in again.output
    assert checkpoint.read_json(audited / "result.json") == values


def test_the_page_of_a_search_with_an_audit(audited: Path, tmp_path: Path) -> None:
    page, values = reported(audited, tmp_path / "a.html"), checkpoint.read_json(audited / "result.json")
    report = values["audit"]
    assert report["sentence"] in page.text and f"finds it {report['verdict']}" in page.text
    assert all(row["text"] in page.text for row in report["random"]) and "no audit" not in page.text
    assert all(f"{100 * row['standalone_accuracy']:.2f} %" in page.text for row in report["random"])
    run = Path(shutil.copytree(audited, tmp_path / "run"))
    checkpoint.write_json(run / "result.json", {name: value for name, value in values.items() if name != "audit"})
    page = reported(run)
    assert "The search is finished, but not its audit" in page.text and "is not done yet" in page.text


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


def test_more_networks_cost_only_themselves(audited: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(audited, tmp_path / "run"))
    before = checkpoint.read_json(run / "result.json")["audit"]
    assert enas("audit", run, "--networks", "12").exit_code == 0
    after = checkpoint.read_json(run / "result.json")["audit"]
    assert after["random"][:10] == before["random"] and len(after["random"]) == 12
    assert after["found"] == before["found"]


def test_the_chosen_are_spread_over_the_range_of_the_proxy(audited: Path) -> None:
    folder = RunFolder(audited)
    state = restored(folder.config(SearchConfig()), folder)
    work = audit.Audit(state, spaces.from_json(checkpoint.read_json(audited / "result.json")["arch"]), state.config)
    pool = work.pool
    scores = ProxyScores(state, pool, state.evaluator.score(pool, state.validation_batches()))
    order = [pool[i] for i in scores.ranked(range(len(pool)))]
    chosen = work.chosen(lambda units: None)
    assert chosen.archs == [order[place] for place in spread_places(len(pool), 10)]
    assert chosen.reward == [scores.reward[pool.index(arch)] for arch in chosen.archs]


def test_one_network_is_one_witness(audited: Path) -> None:
    folder = RunFolder(audited)
    state = restored(folder.config(SearchConfig()), folder)
    many = dataclasses.replace(state.config, audit=AuditConfig(networks=3000))
    work = audit.Audit(state, Architecture("macro", (0,) * len(state.space.decisions)), many)
    count = len({signature(state.space.graph(arch)) for arch in work.pool})
    assert count == len(work.pool) == work.networks == work.trainings - 3
    assert count <= len({signature(state.space.graph(arch)) for arch in all_archs(state.space)}) < 3000


def test_where_every_training_fails_the_report_says_so(tmp_path: Path) -> None:
    run = tmp_path / "run"
    hopeless = ("--set", "full_training.sgd.lr_max=1e12")
    result = enas("search", *TINY_OPTIONS, *TINY_AUDIT, *hopeless, "--output", run)
    assert result.exit_code == 0 and "12 trainings failed, too many to tell anything" in result.output
    assert checkpoint.read_json(run / "result.json")["audit"]["verdict"] == "unknown"
    assert audit.assess(proxy([1.0, 2, 3]), [0.1, 0.2, 0.3], [0.2, 0.3], 1)["sentence"].startswith("there are 3 diff")


def work_adds_up(run: Path) -> None:
    """In an audit that has everything already, and in one that has nothing."""
    folder = RunFolder(run)
    found = spaces.from_json(checkpoint.read_json(run / "result.json")["arch"])
    for _ in range(2):
        state = restored(folder.config(SearchConfig()), folder)
        work, done = audit.Audit(state, found, state.config), list[int]()
        work.run(done.append)
        assert sum(done) == work.units and min(done) >= 0
        shutil.rmtree(run / "audit", ignore_errors=True)


def test_work_adds_up_also_where_networks_are_known(audited: Path, tmp_path: Path) -> None:
    work_adds_up(Path(shutil.copytree(audited, tmp_path / "run")))


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["vote", "effects"])
def test_other_criteria_are_audited_and_the_checkpoint_stays(criterion: str, tmp_path: Path) -> None:
    run, sizes = tmp_path / "run", ("--set", "derive.effects_from=20", "--set", "checkpoint_minutes=1e-9")
    result = enas("search", *TINY_OPTIONS, *TINY_AUDIT, "--criterion", criterion, *sizes, "--output", run)
    assert result.exit_code == 0, result.output
    report = checkpoint.read_json(run / "result.json")["audit"]
    assert report["criterion"] == criterion and criterion in report["tau"]
    values = [row[criterion] for row in report["random"]]
    tau = kendalltau(values, [row["standalone_accuracy"] for row in report["random"]]).statistic
    assert report["tau"][criterion]["tau"] == pytest.approx(tau)
    before = (run / "checkpoint.pt").read_bytes()
    assert enas("audit", run, "--networks", "12").exit_code == 0
    work_adds_up(run)
    assert (run / "checkpoint.pt").read_bytes() == before


@pytest.mark.slow
def test_several_seeds_have_their_audits_in_common(tmp_path: Path) -> None:
    result = enas("search", *TINY_OPTIONS, *TINY_AUDIT, "--seeds", "2", "--output", tmp_path / "runs")
    assert result.exit_code == 0 and "audit: minus random" in result.output, result.output
    statistics = checkpoint.read_json(tmp_path / "runs" / "result.json")["statistics"]
    assert statistics["audit_gap"]["count"] == 2


@pytest.mark.parametrize("command", ["search", "audit"])
def test_a_signal_in_an_audit(command: str, audited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was trained is kept, and the words say how to go on; also where the signal comes at the very end."""
    run = Path(shutil.copytree(audited, tmp_path / "run"))
    values = checkpoint.read_json(run / "result.json")
    report = values.pop("audit")
    checkpoint.write_json(run / "result.json", values)
    arguments = ("search", "--resume", run) if command == "search" else ("audit", run)
    for name in ("trained", "_sentence"):
        whole = getattr(audit.Audit if name == "trained" else audit, name)

        def raised(*given: Any, whole: Any = whole) -> Any:
            signal.raise_signal(signal.SIGTERM)
            return whole(*given)

        with monkeypatch.context() as patch:
            patch.setattr(audit.Audit if name == "trained" else audit, name, raised)
            stopped = enas(*arguments)
        assert stopped.exit_code == 143 and "Traceback" not in stopped.output
        assert ("audit" in checkpoint.read_json(run / "result.json")) == (name == "_sentence")
        if name == "trained":
            assert ("--resume" if command == "search" else "the same command goes on") in stopped.output
    assert enas(*arguments).exit_code == 0
    assert checkpoint.read_json(run / "result.json")["audit"]["random"] == report["random"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "--audit", "3"], "audit.networks must be 0 (no report) or at least 10 to tell a thing, but got 3"),
        (["search", "--evaluator", "full-training", "--audit", "16"], "--audit must be left out"),
        (["search", "--workers", "2"], "where it does nothing without --audit"),
        (["search", "--audit", "16", "--set", "full_training.halving_eta=3"], "halving_eta is 3; set it to 0"),
        (["audit", "RUN", "--networks", "0"], "--networks must not be 0"),
        (["audit", "RUN", "--networks", "9"], "at least 10 to tell a thing, but got 9"),
        (["audit", "RUN", "--child-epochs", "0"], "epochs must be at least 1"),
        (["audit", "nowhere"], "must be a run folder"),
    ],
)
def test_wrong_inputs(arguments: list[str], words: str, audited: Path, tmp_path: Path) -> None:
    before = (audited / "result.json").read_bytes()
    fails(*[audited if word == "RUN" else word for word in arguments], match=words)
    assert (audited / "result.json").read_bytes() == before
