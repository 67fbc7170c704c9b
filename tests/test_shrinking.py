"""Choices that uniform architectures give up while shared weights train, and what others learn from the largest one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from enas import checkpoint, config, runtime, shrinking, spaces, training
from enas.config import SearchConfig
from enas.data import DataSet, load
from enas.effects import Effects
from enas.errors import UserError
from enas.losses import Lesson, Output
from enas.phases import Search
from enas.plan import epochs_work, shrink_epochs
from enas.runs import RunFolder
from enas.shrinking import within, without_worst
from tests.test_search import assert_same_run, run, tiny
from tests.toys import macro, random_archs, seeded

RANDOM = ("searcher=random", "weights.shrinks=1", "derive.finalist_epochs=0")
SANDWICH = ("weights.sampling=sandwich", "weights.architectures_per_step=3")


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(tiny().data, torch.device("cpu"))


@pytest.fixture(autouse=True)
def few_architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("shrinking", "plan"):
        monkeypatch.setattr(f"enas.{module}.SHRINKING_ARCHITECTURES", 40)


def state_of(folder: RunFolder, data: DataSet, run_config: SearchConfig) -> Search:
    state = Search(run_config, data, folder, runtime.start(run_config))
    if folder.checkpoint.exists():
        state.read_checkpoint()
    return state


def test_the_worst_choices_go() -> None:
    effects = [[0.1, -0.2, 0.3], [0.0, 1.0], [5.0]]
    kept = without_worst([[0, 1, 2], [0, 1], [0]], effects)
    assert kept == [[0, 2], [1], [0]]
    assert without_worst(kept, effects) == [[2], [1], [0]]
    assert without_worst([[2], [1], [0]], effects) == [[2], [1], [0]]  # one is left


def test_other_choices_are_made_uniformly() -> None:
    space = macro(3)
    archs = random_archs(space, 3000)
    kept = shrinking.whole(space)
    assert within(space, archs, kept, seeded(1)) == archs
    kept[0] = [1, 3, 4]
    found = within(space, archs, kept, seeded(1))
    made = torch.tensor([arch.choices[0] for arch in found])
    shares = torch.bincount(made, minlength=6) / len(made)
    assert shares[[0, 2, 5]].sum() == 0 and (shares[[1, 3, 4]] - 1 / 3).abs().max() < 0.03
    same = [(a, b) for a, b in zip(archs, found, strict=True) if a.choices[0] in kept[0]]
    assert same and all(a == b for a, b in same)
    assert all(a.choices[1:] == b.choices[1:] for a, b in zip(archs, found, strict=True))
    for arch in found[:20]:
        spaces.validate(space, arch)


def test_a_shrinking_search(digits: DataSet, tmp_path: Path) -> None:
    run_config = tiny(*RANDOM, *SANDWICH, "weights.shrinks=2", "epochs=4")
    assert shrink_epochs(run_config) == [1, 3]
    whole = run(tmp_path / "whole", digits, run_config)
    first = run(tmp_path / "parts", digits, run_config, stop_after=1)
    assert checkpoint.load(first.checkpoint)["shrunk"] == [0, []]
    second = run(tmp_path / "parts", digits, run_config, stop_after=1)
    times, kept = checkpoint.load(second.checkpoint)["shrunk"]
    assert times == 1
    state = state_of(second, digits, run_config)
    assert [len(choices) for choices in kept] == [len(d.labels) - 1 for d in state.whole.decisions]
    steps = [state.curriculum.of(step) for step in range(5)]
    assert all(archs[0] == state.curriculum.largest for archs in steps)
    made = [arch.choices for archs in steps for arch in archs[1:]]
    assert all(choice in left for choices in made for choice, left in zip(choices, kept, strict=True))
    trained = state_of(run(tmp_path / "parts", digits, run_config, stop_after=2), digits, run_config)
    assert trained.curriculum.shrunk == 2
    assert trained.done == epochs_work(run_config, 0, 4, trained.images)
    assert_same_run(run(tmp_path / "parts", digits, run_config), whole)
    changes = [record["change"] for record in whole.records() if record["kind"] == "epoch"]
    assert changes[0] is changes[2] is None
    counts = [len(change.removeprefix("given up: ").split(", ")) for change in (changes[1], changes[3])]
    assert counts == [6, 3]  # a connection is there or not: one of the two is left at once


def test_what_goes_has_the_lowest_effect(digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(RunFolder(tmp_path / "none"), digits, tiny(*RANDOM))
    state.epoch = shrink_epochs(state.config)[0]
    scored: list[Any] = []
    score = state.evaluator.score

    def spy(archs: Any, batches: Any) -> Any:
        scored.append((archs, score(archs, batches)))
        return scored[-1][1]

    monkeypatch.setattr(state.evaluator, "score", spy)
    shrinking.shrink_where_due(state)
    ((archs, scores),) = scored
    assert len(archs) == 40 and archs == state.curriculum.independent(0, seeded()) + archs
    effects = Effects(state.whole, archs, -scores.known_loss.log())
    everything = [[float(effects.predict([arch])) for arch in one_changed(state, d)] for d in range(6)]
    for choices, values in zip(state.curriculum.kept, everything, strict=True):
        assert sorted(set(range(len(values))) - set(choices)) == [values.index(min(values))]
    shrinking.shrink_where_due(state)  # is done
    assert len(scored) == 1


def one_changed(state: Search, d: int) -> list[spaces.Architecture]:
    """Architectures that differ in decision d alone, with each of its choices."""
    space = state.whole
    zeros = [0] * len(space.decisions)
    return [
        spaces.Architecture(space.name, (*zeros[:d], choice, *zeros[d + 1 :]))
        for choice in range(len(space.decisions[d].labels))
    ]


@pytest.mark.parametrize("chunk", [3, 2, 1])
def test_the_others_learn_from_the_largest(digits: DataSet, tmp_path: Path, chunk: int) -> None:
    share = 0.4
    run_config = tiny(*SANDWICH, f"weights.distillation={share}", "weights.label_smoothing=0.1", "weights.dropout=0")
    state = state_of(RunFolder(tmp_path / "none"), digits, run_config)
    state.chunk = chunk
    images, labels = state.validation_batch(32, "here")
    weight = next(state.supernet.parameters())
    gradients = []
    for whole in (True, False):
        state.supernet.zero_grad()
        if whole:
            logits = state.supernet(images, [state.evaluator.graph(arch) for arch in state.curriculum.of(0)])
            hard = [F.cross_entropy(one, labels, label_smoothing=0.1) for one in logits]
            answer = logits[0].detach().softmax(-1)
            soft = [F.cross_entropy(one, answer) for one in logits[1:]]
            mixed = [hard[0], *((1 - share) * h + share * s for h, s in zip(hard[1:], soft, strict=True))]
            torch.stack(mixed).mean().backward()  # type: ignore[no-untyped-call]
        else:
            training._backward(state.curriculum.model(images, 0), labels, run_config.weights, state.runtime, 0.0)
        assert weight.grad is not None
        gradients.append(weight.grad.clone())
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_nothing_is_learned_from_the_largest_once_the_controller_proposes(digits: DataSet, tmp_path: Path) -> None:
    run_config = tiny(*SANDWICH, "weights.distillation=1")
    state = state_of(RunFolder(tmp_path / "none"), digits, run_config)
    images, _ = state.validation_batch(8, "here")
    lessons = []
    for state.epoch in (0, 1):
        lessons.append([output.lesson for output in state.curriculum.model(images, 0)])
    assert isinstance(lessons[0][0], Lesson) and lessons[1] == [None]
    assert Output(images).lesson is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["weights.distillation=0.5"], "--sampling sandwich has in every step, but got independent"),
        (["weights.shrinks=1", "controller.warmup_epochs=0"], "--shrinks is about uniform architectures"),
    ],
)
def test_settings_that_would_do_nothing(settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.check(tiny(*settings))
