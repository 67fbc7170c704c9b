"""Full training: what a child is worth, the cache, successive halving, and workers that fail, hang or are stopped."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Sequence
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
from enas.evaluators.child import (
    Answer,
    Child,
    Course,
    End,
    Epoch,
    Failure,
    Train,
    attempt,
    decode,
    encode,
    train_child,
)
from enas.graph import signature
from enas.interrupts import Stopped, StopRequest
from enas.objective import Scores, rewards
from enas.runtime import Runtime
from enas.spaces import Architecture, SearchSpace
from enas.standalone import Standalone, out_of_memory
from enas.training import Diverged
from tests import children
from tests.children import CPU, IMAGES, one_layer, quality, small_data
from tests.toys import macro, micro

SGD = StandaloneConfig(batch_size=16, lr_max=0.05, lr_min=0.001, dropout=0.1)
SPACE = macro(1, classes=3)
ALL = [one_layer(op) for op in range(6)]


@pytest.fixture(scope="module")
def data() -> DataSet:
    return small_data()


def full(
    data: DataSet, folder: Path, train: Train = train_child, space: SearchSpace = SPACE, seed: int = 0, **changes: Any
) -> FullTraining:
    config = FullTrainingConfig(**{"epochs": 3, "sgd": SGD, "threads": 1, **changes})
    return FullTraining(space, config, data, *split(data.train, 0.25, 0), CPU, seed, folder, train)


class Here:
    """Workers without processes: the plain twin. Counts the epochs that it was asked to train."""

    def __init__(self, train: Train, course: Course) -> None:
        self.train, self.course, self.epochs = train, course, 0

    def run(self, children: Sequence[Child]) -> Any:
        for position, child in enumerate(children):
            yield None
            for answer in attempt(self.train, self.course, child):
                self.epochs += isinstance(answer, Epoch) and answer.images > 0
                yield position, decode(encode(answer))

    def close(self) -> None:
        pass


def here(data: DataSet, folder: Path, train: Train = train_child, **changes: Any) -> FullTraining:
    """An evaluator that trains in this process."""
    evaluator = full(data, folder, train, **changes)
    assert isinstance(evaluator.workers, workers.LocalWorkers)
    evaluator.workers.close()
    evaluator.workers = Here(train, evaluator.workers.course)
    return evaluator


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "children.jsonl").read_text().splitlines()]


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


# ---- what goes wrong


def test_a_child_whose_worker_dies_is_one_failed_child(data: DataSet, tmp_path: Path) -> None:
    with full(data, tmp_path, children.crash, workers=2) as evaluator:
        judgements = evaluator.judge(ALL)
        scores = evaluator.score(ALL)  # in this session none is tried again
    kinds = [None if judgement.failure is None else judgement.failure.kind for judgement in judgements]
    assert kinds == ["exception", "killed", "exit", "memory", "exit", None]
    reasons = [judgement.failure.reason for judgement in judgements if judgement.failure is not None]
    assert reasons[0].startswith("KeyError: 'lost\\nfor ever' (children.py, line ")
    assert "SIGKILL" in reasons[1] and "exit code 3" in reasons[2] and "MemoryError" in reasons[3]
    assert judgements[5].accuracy == quality(5, 3)
    assert scores.failed.tolist() == [True] * 5 + [False] and scores.accuracy.isnan().tolist() == [True] * 5 + [False]
    recorded = {line["arch"]: line["failure"] for line in lines(tmp_path)}
    assert len(lines(tmp_path)) == 6 and recorded["macro:1"] == {"kind": "killed", "reason": reasons[1]}
    with full(data, tmp_path, children.well, workers=2) as later:  # circumstances may have changed
        assert not later.score(ALL).failed.any() and later.trained == 5 * 3


def test_a_child_that_hangs_is_ended(data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps once the other child is done and the hanging one has said its last word."""
    jump = 0.0
    work = 0

    def hear(images: int) -> None:
        nonlocal jump, work
        work += images
        if work == IMAGES * 4:
            jump = 7200.0

    clock = types.SimpleNamespace(monotonic=lambda: time.monotonic() + jump)
    monkeypatch.setattr(workers, "time", clock)
    with full(data, tmp_path, children.hang, workers=2, child_timeout_minutes=100) as evaluator:
        judgements = evaluator.judge(ALL[:2], hear)
    assert judgements[0].failure == Failure("timeout", "it was not done after child_timeout_minutes = 100")
    assert judgements[1].accuracy == quality(1, 3) and not evaluator.workers.running  # type: ignore[attr-defined]


def test_signals_to_all_processes_are_the_parents_to_heed(data: DataSet, tmp_path: Path) -> None:
    with full(data, tmp_path, children.deaf, workers=2) as evaluator:
        assert not evaluator.score(ALL[:3]).failed.any()


def test_a_stop_ends_the_workers_and_keeps_what_is_done(data: DataSet, tmp_path: Path) -> None:
    done = 0

    def stop(images: int) -> None:
        nonlocal done
        done += images
        if len(lines(tmp_path)) == 1 and done >= IMAGES * 4:  # the second child is through, the first one hangs
            pids.extend(running.process.pid for running in evaluator.workers.running.values())  # type: ignore[attr-defined]
            raise Stopped(signal.SIGTERM)

    pids: list[int] = []
    (tmp_path / "children.jsonl").touch()
    with full(data, tmp_path, children.hang, workers=2) as evaluator:
        with pytest.raises(Stopped):
            evaluator.judge(ALL[:2], stop)
        assert len(pids) == 1 and not alive(pids[0])
        assert lines(tmp_path)[0]["arch"] == "macro:1"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_no_process_outlives_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    """SIGKILL hits the parent alone; SIGTERM all processes, as of a service manager. The script has no guard."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom tests.children import stoppable\n"
        f"sys.exit(128 + stoppable(Path({str(tmp_path)!r})))\n"
    )
    root = Path(__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert [process.stdout.readline(), process.stdout.readline()] == ["running\n"] * 2
    if number == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, number)
    # the end of its output: no process is left that could write there
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert (tmp_path / "children.jsonl").exists() is False  # and no child counts as failed


def test_a_run_whose_children_all_fail_says_so(data: DataSet, tmp_path: Path) -> None:
    evaluator = here(data, tmp_path / "alike", children.fail_alike)
    assert evaluator.score(ALL[:3]).failed.all()
    with pytest.raises(UserError, match="all 4 so far have failed, the last one because ValueError: nothing"):
        evaluator.score(ALL[3:4])
    mixed = here(data, tmp_path / "mixed", children.crash)
    mixed.score([ALL[5]])
    mixed._failed = {str(i): Failure("killed", "r") for i in range(30)}  # not looked at once a child has succeeded
    assert mixed.score([ALL[0], ALL[3]]).failed.all()
    later = here(data, tmp_path / "mixed", children.fail_alike)  # nor where one did in an earlier session
    assert later.score(ALL[:5]).failed.all()
    repeated = here(data, tmp_path / "repeated", children.fail_alike)
    for _ in range(5):
        assert repeated.score(ALL[:1]).failed.all()  # one network, however often it is asked for


def test_failures_of_many_kinds_take_longer_to_end_a_run(data: DataSet, tmp_path: Path) -> None:
    evaluator = here(data, tmp_path, children.crash)
    evaluator._failed = {str(i): Failure("killed", "r") for i in range(18)}
    assert evaluator.score(ALL[:1]).failed.all()
    with pytest.raises(UserError, match="all 20 so far have failed"):
        evaluator.score(ALL[3:4])


def test_settings_that_no_child_can_be_trained_with_end_the_run(data: DataSet, tmp_path: Path) -> None:
    assert SPACE.graph(ALL[0]).auxiliary is None
    with pytest.raises(UserError, match="an auxiliary classifier needs a network with layers behind it"):
        here(data, tmp_path, sgd=StandaloneConfig(batch_size=16, auxiliary_weight=0.4)).score(ALL[:2])


def test_each_kind_of_failure() -> None:
    def kind(raises: Callable[[], object]) -> str:
        def train(course: Course, child: Child) -> Any:
            yield Epoch(1, 0.5, 0.5)
            raises()

        answers = list(attempt(train, None, None))  # type: ignore[arg-type]
        end = answers[-1]
        assert len(answers) == 2 and isinstance(end, End) and end.failure is not None
        return end.failure.kind

    def raising(error: BaseException) -> Callable[[], object]:
        def now() -> None:
            raise error

        return now

    assert kind(out_of_memory) == kind(raising(torch.OutOfMemoryError("CUDA"))) == kind(raising(MemoryError()))
    assert kind(raising(MemoryError())) == "memory"
    assert kind(lambda: torch.empty(2**60)) == "memory"  # torch has no class of its own for it
    assert kind(raising(RuntimeError("shape"))) == "exception"
    assert kind(raising(UserError("no"))) == "settings"
    with pytest.raises(KeyboardInterrupt):
        kind(raising(KeyboardInterrupt()))


def test_a_child_that_diverges_is_settled(data: DataSet, tmp_path: Path) -> None:
    sgd = StandaloneConfig(batch_size=16, lr_max=1e30, grad_clip=1e30)
    for _ in range(2):
        evaluator = here(data, tmp_path, sgd=sgd)
        judgement = evaluator.judge(ALL[:1])[0]
        assert judgement.failure is not None and judgement.failure.kind == "diverged"
        assert ";" not in judgement.failure.reason
    assert evaluator.trained == 0 and len(lines(tmp_path)) == 1


ANSWERS: list[Answer] = [
    Epoch(5, 0.1 + 0.2, math.pi, 1.5),
    End(),
    End(Failure("exception", "short")),
    End(Failure("exception", "\N{SNOWMAN}" * 10_000)),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=range(4))
def test_answers_travel_in_one_piece(answer: Answer) -> None:
    message = encode(answer)
    assert len(message) < 4000
    found = decode(message)
    if len(str(answer)) < 1000:
        assert found == answer
    else:
        assert isinstance(found, End) and found.failure is not None and found.failure.reason.startswith("\N{SNOWMAN}")
    assert math.isnan(decode(encode(Epoch(1, 0.5, math.nan))).loss)  # type: ignore[union-attr]


def test_too_little_shared_memory_is_said_before_the_work(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = small_data()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=100))
    with pytest.raises(UserError, match="/dev/shm must have .* GiB, but .* GiB are free; free some, or enlarge"):
        full(fresh, tmp_path)


def test_a_missing_ray_names_the_command(data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"run pip install 'enas\[ray\]', or use --set full_training.executor=local"):
        full(data, tmp_path, executor="ray")


HAS_RAY = importlib.util.find_spec("ray") is not None


@pytest.mark.slow
@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed")
def test_children_on_ray(data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same results as here, the same failures as of processes of this machine, and a stop is heeded."""
    import ray

    from enas.evaluators import ray_workers

    expected = here(data, tmp_path / "here").score(ALL[:2])
    with StopRequest() as stop, full(data, tmp_path / "well", workers=2, executor="ray") as evaluator:
        scores = evaluator.score(ALL[:2])
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGTERM  # not Ray's to hear
        with full(data, tmp_path / "crash", children.crash, workers=2, executor="ray") as crashing:
            judgements = crashing.judge(ALL)
        jump, work = 0.0, 0

        def hear(images: int) -> None:
            nonlocal jump, work
            work += images
            if work == IMAGES * 4:
                jump = 7200.0

        monkeypatch.setattr(ray_workers, "time", types.SimpleNamespace(monotonic=lambda: time.monotonic() + jump))
        with full(data, tmp_path / "hang", children.hang, workers=2, executor="ray") as hanging:
            hung = hanging.judge(ALL[:2], hear)
        assert ray.is_initialized()  # each ends what it began and nothing else
    assert not ray.is_initialized()
    assert torch.equal(scores.loss, expected.loss) and torch.equal(scores.accuracy, expected.accuracy)
    kinds = [None if judgement.failure is None else judgement.failure.kind for judgement in judgements]
    assert kinds == ["exception", "killed", "killed", "memory", "killed", None]
    assert judgements[5].accuracy == quality(5, 3) and len(lines(tmp_path / "crash")) == 6
    assert hung[0].failure == Failure("timeout", "it was not done after child_timeout_minutes = 120")
    assert hung[1].accuracy == quality(1, 3)
