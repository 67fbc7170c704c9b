"""The search that judges each architecture by itself: its budget, its records, and going on after a crash."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import torch

from enas import checkpoint, config, spaces
from enas.config import MacroOptions, SearchConfig
from enas.errors import UserError
from enas.evaluators import OnWork
from enas.generations import IDLE, generations
from enas.graph import signature
from enas.interrupts import Stopped, StopRequest
from enas.objective import Scores
from enas.records import GenerationRecord
from enas.runs import RunFolder, identity
from enas.runtime import Runtime, start
from enas.spaces import Architecture, MacroSpace
from tests.toys import macro

TIMES = ("_s", "versions")


class Judge:
    """Knows the truth: the more of the operations are the last one, the better. Some networks fail.

    crash_at: the evaluation at which it raises. calls: what it was asked for.
    """

    classes = ("a", "b", "c", "d", "e")
    fingerprint = "truth"

    def __init__(self, space: MacroSpace, fails: bool = False, crash_at: int = -1) -> None:
        self.space, self.fails, self.crash_at = space, fails, crash_at
        self.calls: list[Architecture] = []
        self.closed = False
        self.unlucky: set[str] = set()  # architectures that fail too

    def network(self, arch: Architecture) -> str:
        return signature(self.space.graph(arch))

    def score(self, archs: Sequence[Architecture], on_work: OnWork = lambda units: None) -> Scores:
        accuracy = []
        for arch in archs:
            if len(self.calls) == self.crash_at:
                raise KeyboardInterrupt
            self.calls.append(arch)
            fails = self.fails or arch.choices[0] == 2 or spaces.to_text(self.space, arch) in self.unlucky
            good = sum(arch.choices[i] for i in (0, 1, 3)) / 15
            accuracy.append(math.nan if fails else good)
            on_work(1)
        values = torch.tensor(accuracy)
        return Scores(values, 1 - values, 10)

    def work_units(self, evaluations: int) -> int:
        return evaluations

    def forecast_s(self, evaluations: int) -> float | None:
        return None

    def flops(self, arch: Architecture) -> float:
        return 100.0

    def facts(self, arch: Architecture) -> dict[str, Any]:
        return {"twice": 2 * arch.choices[0]}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


SPACE = macro(3)
CPU = SearchConfig(device="cpu", precision="float32", threads=1)


def settings(**changes: Any) -> SearchConfig:
    base = dataclasses.replace(CPU, space=MacroOptions(layers=3, width=4), evaluator="full-training")
    values = {"evaluations": 25, "generation": 6, "controller": {"hidden": 8, "lr": 0.05}, **changes}
    return config.update(base, values)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return start(CPU)


def records(
    path: Path, judge: Judge, run_config: SearchConfig, runtime: Runtime, stop: StopRequest | None = None
) -> Iterator[GenerationRecord]:
    path.mkdir(exist_ok=True)
    return generations(
        run_config, SPACE, judge, RunFolder(path), runtime, identity(run_config, judge.fingerprint), stop=stop
    )


def comparable(value: Any) -> Any:
    """The value without times and versions."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items() if not key.endswith(TIMES)}
    return [comparable(item) for item in value] if isinstance(value, list) else value


def outcome(path: Path) -> Any:
    folder = RunFolder(path)
    return comparable([folder.records(), checkpoint.read_json(folder.result)])


@pytest.mark.parametrize("searcher", ["reinforce", "random"])
def test_budget_records_and_result(tmp_path: Path, runtime: Runtime, searcher: str) -> None:
    judge = Judge(SPACE)
    found = list(records(tmp_path, judge, settings(searcher=searcher), runtime))
    networks = {judge.network(arch) for arch in judge.calls}
    assert len(networks) == found[-1].evaluations == 25  # exactly, counted in different networks
    assert judge.closed
    children = [child for record in found for child in record.children]
    assert [child.arch for child in children] == [spaces.to_text(SPACE, arch) for arch in judge.calls]
    assert sum(child.new for child in children) == 25
    assert all(len(record.children) <= 6 for record in found)
    result = checkpoint.read_json(tmp_path / "result.json")
    rewards = {child.arch: child.reward for child in children if child.new and not math.isnan(child.reward or 0.0)}
    best = sorted(rewards.values(), reverse=True)[:5]  # type: ignore[type-var]
    assert [finalist["reward"] for finalist in result["finalists"]] == best
    assert rewards[result["text"]] == best[0] == found[-1].best_reward
    assert result["failed"] == sum(child.new for child in children if child.arch.startswith("macro:2"))
    assert result["finalists"][0]["twice"] == 2 * result["arch"]["choices"][0]
    assert result["random_baseline"] is None
    assert found[-1].flops == result["flops"] == 2500


@pytest.mark.parametrize("crash_at", [3, 17, 24])
def test_resumed_equals_uninterrupted(tmp_path: Path, runtime: Runtime, crash_at: int) -> None:
    list(records(tmp_path / "whole", Judge(SPACE), settings(), runtime))
    with pytest.raises(KeyboardInterrupt):
        list(records(tmp_path / "cut", Judge(SPACE, crash_at=crash_at), settings(), runtime))
    list(records(tmp_path / "cut", Judge(SPACE), settings(), runtime))
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


def test_a_signal_ends_it_after_a_generation(tmp_path: Path, runtime: Runtime) -> None:
    stop = StopRequest()
    running = records(tmp_path / "cut", Judge(SPACE), settings(), runtime, stop)
    next(running)
    stop.number = 2
    with pytest.raises(Stopped):
        next(running)
    list(records(tmp_path / "cut", Judge(SPACE), settings(), runtime))
    list(records(tmp_path / "whole", Judge(SPACE), settings(), runtime))
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


def test_the_controller_learns(tmp_path: Path, runtime: Runtime) -> None:
    found = list(records(tmp_path, Judge(SPACE), settings(evaluations=200, generation=10), runtime))
    rewards = [record.reward or 0.0 for record in found]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.1


def test_nothing_new_ends_it(tmp_path: Path, runtime: Runtime) -> None:
    one = settings(space={"layers": 1}, searcher="random")  # six networks
    space = macro(1)
    judge = Judge(space)
    judge.score = lambda archs, on_work=lambda units: None: Scores(torch.ones(len(archs)), torch.ones(len(archs)), 1)  # type: ignore[method-assign]
    ids = identity(one, judge.fingerprint)
    found = list(generations(one, space, judge, RunFolder(tmp_path), runtime, ids))
    assert found[-1].evaluations == 6
    assert sum(not any(child.new for child in record.children) for record in found) >= IDLE


def test_all_failed(tmp_path: Path, runtime: Runtime) -> None:
    with pytest.raises(UserError, match="all 25 failed"):
        list(records(tmp_path, Judge(SPACE, fails=True), settings(), runtime))
    assert RunFolder(tmp_path).records()[-1]["best_arch"] is None


def test_a_first_failure_alone_is_no_end(tmp_path: Path, runtime: Runtime) -> None:
    judge = Judge(SPACE)
    first = next(records(tmp_path / "probe", Judge(SPACE), settings(generation=2), runtime)).children
    judge.unlucky = {child.arch for child in first}
    found = list(records(tmp_path / "run", judge, settings(generation=2), runtime))
    assert found[0].failed == 2 and found[0].best_arch is None
    assert found[-1].evaluations == 25 and found[-1].best_arch is not None


def test_stopped_within_a_generation(tmp_path: Path, runtime: Runtime) -> None:
    """What was begun is asked for again, and the time that it took is not forgotten."""
    stop = StopRequest()
    judge = Judge(SPACE)
    original = judge.score

    def score(archs: Sequence[Architecture], on_work: OnWork = lambda units: None) -> Scores:
        if len(judge.calls) == 12:
            time.sleep(0.3)
            stop.number = 15
        return original(archs, on_work)

    judge.score = score  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        list(records(tmp_path / "cut", judge, settings(), runtime, stop))
    assert len(judge.calls) == 13  # in the third generation
    assert checkpoint.load(tmp_path / "cut" / "checkpoint.pt")["elapsed_s"] > 0.3
    list(records(tmp_path / "cut", Judge(SPACE), settings(), runtime))
    list(records(tmp_path / "whole", Judge(SPACE), settings(), runtime))
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


def test_another_configuration_is_refused(tmp_path: Path, runtime: Runtime) -> None:
    next(records(tmp_path, Judge(SPACE), settings(), runtime))
    with pytest.raises(UserError, match="configuration"):
        records(tmp_path, Judge(SPACE), settings(seed=1), runtime)
    # where the table lies is no part of it
    records(tmp_path, Judge(SPACE), dataclasses.replace(settings(), table="elsewhere"), runtime)
