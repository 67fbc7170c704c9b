"""Full training: what a child is worth, the cache, and successive halving."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from enas import checkpoint
from enas.config import FullTrainingConfig, ObjectiveConfig, StandaloneConfig
from enas.data import DataSet, split
from enas.errors import UserError
from enas.evaluators import FullTraining, workers
from enas.evaluators.cache import Curve
from enas.evaluators.child import Child, Course, Epoch, train_child
from enas.graph import signature
from enas.objective import Scores, rewards
from enas.runtime import Runtime
from enas.spaces import Architecture, SearchSpace
from enas.standalone import Standalone
from enas.training import Diverged
from tests import children
from tests.children import CPU, IMAGES, quality, small_data
from tests.full_trainings import ALL, SGD, SPACE, Here, full, here, lines
from tests.toys import micro


@pytest.fixture(scope="module")
def data() -> DataSet:
    return small_data()


# ---- what a child is worth


def test_a_child_is_worth_the_best_of_its_last_epochs() -> None:
    nan = math.nan
    curve = Curve((0.9, 0.2, 0.5, 0.4, 0.5), (0.1, 0.7, 0.6, 0.5, 0.2))
    assert curve.best(5, 5) == (0.9, 0.1)
    assert curve.best(5, 4) == (0.5, 0.6)  # of two equal ones the first
    assert curve.best(4, 1) == (0.4, 0.5)
    assert curve.best(2, 5) == (0.9, 0.1)
    assert Curve((0.9, 0.2), (nan, 1.0)).best(2, 2) == (0.2, 1.0)  # an accuracy without a finite loss is luck
    assert Curve((0.9, 0.2), (nan, nan)).best(2, 2) is None


@pytest.mark.parametrize(("power", "expected"), [(1.0, [0.5, 0.9]), (3.0, [0.125, 0.729])])
@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_the_reward_is_raised_to_a_power(metric: str, power: float, expected: list[float]) -> None:
    values = torch.tensor([0.5, 0.9, math.nan])
    scores = Scores(values, -values.log(), 10)
    found = rewards(scores, ObjectiveConfig(metric=metric, power=power))
    torch.testing.assert_close(found, torch.tensor([*expected, math.nan]), equal_nan=True)


@given(st.integers(1, 500), st.integers(0, 9).filter(lambda eta: eta != 1), st.integers(1, 20))
def test_rungs_grow_by_a_factor_up_to_the_end(epochs: int, eta: int, first: int) -> None:
    rungs = FullTrainingConfig(epochs=epochs, halving_eta=eta, halving_first=first).rungs
    assert rungs[-1] == epochs and all(rung >= first for rung in rungs[:-1])
    assert len(rungs) == 1 if eta == 0 else rungs[0] // eta < first
    assert all(later // eta == earlier for earlier, later in zip(rungs, rungs[1:], strict=False))


def test_epochs_of_a_child_on_average() -> None:
    assert FullTrainingConfig(epochs=8).epochs_each == 8
    assert FullTrainingConfig(epochs=8, halving_eta=2).epochs_each == 2 + 2 / 2 + 4 / 4  # all, a half, a quarter


def test_a_halving_that_stops_nobody_is_refused() -> None:
    with pytest.raises(UserError, match="halving_eta must be 0 .off. or at least 2, but got 1"):
        FullTrainingConfig(halving_eta=1)


def test_children_are_trained_as_networks_on_their_own(data: DataSet, tmp_path: Path) -> None:
    """In processes: equal to training the same networks here, and to other numbers of workers; images are counted."""
    archs = [ALL[0], ALL[4], ALL[0]]
    evaluator = here(data, tmp_path / "here")
    expected = evaluator.score(archs)
    train, validation = split(data.train, 0.25, 0)
    child = evaluator._child(evaluator_network(evaluator, ALL[4]), 3)
    network = Standalone(SPACE.graph(ALL[4]), data, train, SGD, 3, child.seed, CPU)
    seen = []
    for _ in range(3):
        network.train_epoch()
        seen.append(network.score(validation))
    best = max(seen, key=lambda scores: scores.accuracy.item())
    assert (expected.accuracy[1], expected.loss[1]) == (best.accuracy[0], best.loss[0])
    for count in (1, 2):
        heard: list[int] = []
        with full(data, tmp_path / str(count), workers=count) as parallel:
            scores = parallel.score(archs, heard.append)
        assert torch.equal(scores.accuracy, expected.accuracy) and torch.equal(scores.loss, expected.loss)
        assert scores.images == len(validation) and not scores.failed.any() and parallel.trained == 6
        assert sum(heard) == 2 * 3 * 32 and 0 in heard  # steps of whole batches; and chances to stop
        assert {line["threads"] for line in lines(tmp_path / str(count))} == {1}
    assert expected.accuracy.max() > 0.5  # it does learn


def evaluator_network(evaluator: FullTraining, arch: Architecture) -> Any:
    graph = evaluator.graph(arch)
    return types.SimpleNamespace(arch=arch, graph=graph, key=(signature(graph), evaluator.seed, evaluator.identity))


def test_threads_are_shared_out(data: DataSet, tmp_path: Path) -> None:
    def threads(have: int, count: int, wanted: int) -> int:
        config = FullTrainingConfig(workers=count, threads=wanted)
        runtime = Runtime(torch.device("cpu"), torch.float32, have)
        with FullTraining(SPACE, config, data, data.train, data.test, runtime, 0, tmp_path) as evaluator:
            assert isinstance(evaluator.workers, workers.LocalWorkers)
            return evaluator.workers.course.run.threads

    assert [threads(8, count, 0) for count in (1, 3, 4, 16)] == [8, 2, 2, 1]
    assert threads(8, 3, 5) == 5


# ---- the cache


def test_equal_networks_are_trained_once(data: DataSet, tmp_path: Path) -> None:
    """Micro: the two sides of a node swapped. A later evaluator on the same folder trains nothing."""
    space = micro(1, classes=3, width=2)
    arch = Architecture("micro", (0, 1, 0, 1, 0, 1, 2, 2))
    swapped = Architecture("micro", (1, 0, 1, 0, 0, 1, 2, 2))
    for other in space_archs(space, arch):
        if other != arch and signature(space.graph(other)) == signature(space.graph(arch)):
            swapped = other
            break
    else:
        pytest.fail("no other architecture has this network")
    assert space.graph(arch) != space.graph(swapped)
    first = here(data, tmp_path, space=space, epochs=1)
    scores = first.score([arch, swapped, arch])
    assert first.trained == 1 and len(set(scores.loss.tolist())) == 1 and len(lines(tmp_path)) == 1
    heard: list[int] = []
    second = here(data, tmp_path, space=space, epochs=1)
    again = second.score([swapped, arch], heard.append)
    assert second.trained == 0 and not heard and again.loss.tolist() == scores.loss.tolist()[:2]
    # what decides a result is in the key
    for change in ({"epochs": 2}, {"sgd": StandaloneConfig(batch_size=8)}, {"seed": 1}):
        other_run = here(data, tmp_path, **{"space": space, "epochs": 1, **change})
        assert other_run.score([arch]).loss[0] != scores.loss[0] and other_run.trained == other_run.settings.epochs
    fewer = here(small_data(45), tmp_path, space=space, epochs=1)
    fewer.score([arch])
    assert fewer.trained == 1
    # what does not decide it is not
    third = here(data, tmp_path, space=space, epochs=1, workers=2, last=1, child_timeout_minutes=1.0, threads=2)
    third.score([arch])
    assert third.trained == 0


def space_archs(space: SearchSpace, arch: Architecture) -> list[Architecture]:
    """Architectures that differ from this one in two choices that are swapped."""
    found = []
    for i in range(len(arch.choices)):
        for j in range(i):
            choices = list(arch.choices)
            choices[i], choices[j] = choices[j], choices[i]
            if all(c < len(d.labels) for c, d in zip(choices, space.decisions, strict=True)):
                found.append(Architecture(arch.space, tuple(choices)))
    return found


# ---- successive halving


def test_halving_saves_epochs_and_keeps_the_best(data: DataSet, tmp_path: Path) -> None:
    evaluator = here(data, tmp_path, children.well, epochs=8, halving_eta=2, halving_first=2, last=1)
    assert evaluator.settings.rungs == (2, 4, 8)
    judgements = evaluator.judge([ALL[op] for op in (3, 0, 5, 2, 4, 1)])
    # of six the best three go on from 2, the best one of these from 4
    assert [judgement.epochs for judgement in judgements] == [4, 2, 8, 2, 4, 2]
    for op, judgement in zip((3, 0, 5, 2, 4, 1), judgements, strict=True):
        assert judgement.accuracy == quality(op, judgement.epochs) and judgement.failure is None
    assert max(judgements, key=lambda judgement: judgement.accuracy) is judgements[2]


def test_halving_judges_by_the_batch_alone(data: DataSet, tmp_path: Path) -> None:
    """What earlier batches found out beyond a rung does not change who goes on, nor what the others are worth."""
    changes: dict[str, Any] = {"epochs": 4, "halving_eta": 2, "halving_first": 2, "last": 2}
    fresh = here(data, tmp_path / "fresh", children.well, **changes).judge(ALL[:4])
    evaluator = here(data, tmp_path / "known", children.well, **changes)
    evaluator.judge([ALL[0]])  # alone, it is trained to the end
    assert evaluator.judge(ALL[:4]) == fresh
    assert here(data, tmp_path / "known", children.well, **changes).judge(ALL[:4]) == fresh


def test_a_child_that_fails_later_is_judged_alike_when_that_is_known(data: DataSet, tmp_path: Path) -> None:
    """Else a run that goes on from before the batch would give its place to another child."""
    changes: dict[str, Any] = {"epochs": 4, "halving_eta": 2, "halving_first": 2}
    first = here(data, tmp_path, diverges_late, **changes).judge(ALL[:3])
    assert [judgement.epochs for judgement in first] == [2, 2, 3]
    assert [judgement.failure is None for judgement in first] == [True, True, False]
    again = here(data, tmp_path, diverges_late, **changes)
    assert list(map(repr, again.judge(ALL[:3]))) == list(map(repr, first)) and again.trained == 0


def diverges_late(course: Course, child: Child) -> Any:
    for epoch in range(1, child.until + 1):
        if epoch > 3:
            raise Diverged("too far")
        yield Epoch(IMAGES, quality(children.operation(child), epoch), 1.0)


def test_of_equal_children_the_first_go_on(data: DataSet, tmp_path: Path) -> None:
    def equal(course: Course, child: Child) -> Any:
        for _ in range(child.until):
            yield Epoch(IMAGES, 0.5, 1.0)

    evaluator = here(data, tmp_path, equal, epochs=4, halving_eta=2)
    for archs in (ALL[:4], ALL[3::-1]):
        assert [judgement.epochs for judgement in evaluator.judge(archs)] == [4, 4, 2, 2]


def test_failed_children_do_not_go_on(data: DataSet, tmp_path: Path) -> None:
    evaluator = here(data, tmp_path, fails_but_last, epochs=4, halving_eta=2)
    judgements = evaluator.judge([*ALL[:2], ALL[5]])
    assert [judgement.epochs for judgement in judgements] == [1, 1, 4]
    assert [math.isnan(judgement.accuracy) for judgement in judgements] == [True, True, False]


def fails_but_last(course: Course, child: Child) -> Any:
    yield Epoch(IMAGES, 0.99, 0.1)
    if children.operation(child) < 5:
        raise ValueError("it was too good")
    for _ in range(child.until - 1):
        yield Epoch(IMAGES, 0.1, 2.0)


def test_a_child_goes_on_from_where_it_stopped(data: DataSet, tmp_path: Path) -> None:
    """To the same end, bit for bit, as without a stop, and without repeating an epoch."""
    whole = here(data, tmp_path / "whole", epochs=4)
    expected = {arch: whole.judge([arch])[0] for arch in ALL[:3]}
    evaluator = here(data, tmp_path / "halves", epochs=4, halving_eta=2)
    judgements = evaluator.judge(ALL[:3])
    winner = [judgement.epochs for judgement in judgements].index(4)
    assert judgements[winner] == expected[ALL[winner]]
    assert evaluator.trained == 3 * 2 + 2 and whole.trained == 3 * 4
    assert not (tmp_path / "halves" / "paused").exists()


def broken_states(path: Path) -> list[Callable[[], object]]:
    state = checkpoint.load(path)
    return [
        lambda: path.write_bytes(b"no checkpoint"),
        lambda: checkpoint.save(path, {"training": {}, "epochs": state["epochs"]}),
        lambda: checkpoint.save(path, {**state, "epochs": [(0.5, 1.0)] * 9}),
        lambda: checkpoint.save(path, {**state, "training": {**state["training"], "optimizer": {}}}),
        path.unlink,
    ]


def test_a_broken_state_costs_time_and_nothing_else(data: DataSet, tmp_path: Path) -> None:
    evaluator = here(data, tmp_path, epochs=2)
    assert isinstance(evaluator.workers, Here)
    course, graph, state = evaluator.workers.course, SPACE.graph(ALL[0]), tmp_path / "state.pt"

    def train(until: int) -> list[Epoch]:
        return list(train_child(course, Child(graph, 5, until, str(state))))

    first, whole = train(1), list(train_child(course, Child(graph, 5, 2)))
    figures = [(epoch.accuracy, epoch.loss) for epoch in whole]
    assert [(epoch.accuracy, epoch.loss) for epoch in first] == figures[:1] and state.exists()
    kept = state.read_bytes()
    again = train(2)
    assert [epoch.images for epoch in again] == [0, 32] and [(e.accuracy, e.loss) for e in again] == figures
    for spoil in broken_states(state):
        state.write_bytes(kept)
        spoil()
        again = train(2)
        assert [epoch.images for epoch in again] == [32, 32] and [(e.accuracy, e.loss) for e in again] == figures
    unwritable = Child(graph, 5, 1, str(tmp_path / "children.jsonl" / "state.pt"))
    (tmp_path / "children.jsonl").write_text("a file, not a folder")
    assert len(list(train_child(course, unwritable))) == 1
