"""Full training where it goes wrong: children that fail or hang, workers that die or are stopped."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from enas.config import StandaloneConfig
from enas.data import DataSet
from enas.errors import UserError
from enas.evaluators import workers
from enas.evaluators.child import Answer, Child, Course, End, Epoch, Failure, attempt, decode, encode
from enas.interrupts import Stopped, StopRequest
from enas.standalone import out_of_memory
from tests import children
from tests.children import IMAGES, quality, small_data
from tests.full_trainings import ALL, SPACE, full, here, lines


@pytest.fixture(scope="module")
def data() -> DataSet:
    return small_data()


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
