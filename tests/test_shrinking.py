"""Choices that uniform architectures give up while shared weights train, and what others learn from the largest one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from enas import checkpoint, config, shrinking, spaces, training
from enas.data import DataSet, load
from enas.effects import Effects
from enas.errors import UserError
from enas.losses import Lesson, Output
from enas.phases import Search
from enas.plan import epochs_work, shrink_epochs
from enas.runs import RunFolder
from enas.shrinking import within, without_worst
from tests.test_search import assert_same_run, run, state_of, tiny
from tests.toys import chain, macro, random_archs, seeded

RANDOM = ("searcher=random", "weights.shrinks=1", "derive.finalist_epochs=0")
SANDWICH = ("weights.sampling=sandwich", "weights.architectures_per_step=3")


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(tiny().data, torch.device("cpu"))


@pytest.fixture(autouse=True)
def few_architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("shrinking", "plan"):
        monkeypatch.setattr(f"enas.{module}.SHRINKING_ARCHITECTURES", 40)


def test_the_worst_choices_go_where_all_agree() -> None:
    first = [[0.1, -0.2, 0.3, 0.0], [0.0, 1.0], [1.0, 0.0, 2.0], [5.0]]
    second = [[0.0, -0.1, -0.05, 9.0], [0.0, 1.0], [0.0, 1.0, 2.0], [5.0]]
    everything = [[0, 1, 2, 3], [0, 1], [0, 1, 2], [0]]
    kept = without_worst(everything, [first, second])
    assert kept == [[0, 2, 3], [0, 1], [0, 1, 2], [0]]  # two stay at least
    assert without_worst(kept, [first, first]) == [[0, 2], [0, 1], [0, 2], [0]]
    assert without_worst([[0, 2], [0, 1], [0, 2], [0]], [first, first]) == [[0, 2], [0, 1], [0, 2], [0]]


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


def test_what_begins_to_matter_is_uniform_too() -> None:
    space = chain()
    d, parent = next((d, x.parent) for d, x in enumerate(space.decisions) if x.parent is not None and len(x.labels) > 2)
    kept = shrinking.whole(space)
    kept[parent] = [c for c in kept[parent] if c in space.decisions[d].parent_choices]
    found = within(space, random_archs(space, 6000), kept, seeded(1))
    made = torch.tensor([arch.choices[d] for arch in found if spaces.active(space, arch.choices)[d]])
    shares = torch.bincount(made, minlength=len(kept[d])) / len(made)
    assert (shares - 1 / len(kept[d])).abs().max() < 0.05, shares


def test_a_shrinking_search(digits: DataSet, tmp_path: Path) -> None:
    run_config = tiny(*RANDOM, *SANDWICH, "weights.shrinks=2", "epochs=4")
    assert shrink_epochs(run_config) == [1, 3]
    whole = run(tmp_path / "whole", digits, run_config)
    first = run(tmp_path / "parts", digits, run_config, stop_after=1)
    assert checkpoint.load(first.checkpoint)["shrunk"][0] == 0
    second = run(tmp_path / "parts", digits, run_config, stop_after=1)
    times, kept = checkpoint.load(second.checkpoint)["shrunk"]
    state = state_of(second, digits, run_config)
    everything = shrinking.whole(state.whole)
    assert times == 1 and kept != everything
    assert all(len(before) - len(left) in (0, 1) for before, left in zip(everything, kept, strict=True))
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
    gone = changes[1].removeprefix("given up: ").split(", ")
    pairs = zip(state.whole.decisions, everything, kept, strict=True)
    assert gone == [f"{d.name} {d.labels[c]}" for d, before, left in pairs for c in before if c not in left]


def test_what_goes_has_the_lowest_effect_by_both_halves(
    digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_of(RunFolder(tmp_path / "none"), digits, tiny(*RANDOM))
    state.epoch = shrink_epochs(state.config)[0]
    expected = state.curriculum.independent(40, state.draws("shrinking/0"))
    scored: list[Any] = []
    score = state.evaluator.score

    def spy(archs: Any, batches: Any) -> Any:
        scored.append((archs, score(archs, batches)))
        return scored[-1][1]

    monkeypatch.setattr(state.evaluator, "score", spy)
    said = shrinking.shrink_where_due(state)
    ((archs, scores),) = scored
    assert archs == expected
    values = -scores.known_loss.log()
    halves = [Effects(state.whole, archs[i::2], values[i::2]) for i in (0, 1)]
    for d, (decision, left) in enumerate(zip(state.whole.decisions, state.curriculum.kept, strict=True)):
        variants = one_changed(state, d)
        worst = {int(half.predict(variants).argmin()) for half in halves}
        goes = len(decision.labels) > 2 and len(worst) == 1
        assert left == [c for c in range(len(decision.labels)) if not (goes and c in worst)]
    assert (said is None) == (state.curriculum.kept == shrinking.whole(state.whole))
    shrinking.shrink_where_due(state)  # is done
    assert len(scored) == 1
    state.curriculum.shrunk, state.curriculum.kept = 0, [left[:2] for left in state.curriculum.kept]
    assert shrinking.shrink_where_due(state) is None and len(scored) == 1  # nothing is left to go


def test_many_choices_that_go_are_counted(digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(RunFolder(tmp_path / "none"), digits, tiny(*RANDOM))
    state.epoch = 2
    effects = [[0.0] * len(decision.labels) for decision in state.whole.decisions]
    monkeypatch.setattr(shrinking, "_effects", lambda state: [effects])
    monkeypatch.setattr(shrinking, "MOST_NAMED", 2)
    assert shrinking.shrink_where_due(state) == "given up: layer1/op conv_3x3, layer2/op conv_3x3 and 1 more"


def test_when_choices_go() -> None:
    for uniform, shrinks, expected in ((10, 1, [5]), (10, 2, [3, 7]), (2, 1, [1]), (3, 2, [1, 2]), (2, 4, [1])):
        settings = [f"weights.shrinks={shrinks}", "epochs=20", f"controller.warmup_epochs={uniform}"]
        assert shrink_epochs(tiny(*settings)) == expected
    assert shrink_epochs(tiny("weights.shrinks=1", "epochs=1", "searcher=random")) == []


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
        (["weights.shrinks=1", "controller.warmup_epochs=0"], "there are 0; give more"),
        (["weights.shrinks=2", "epochs=2", "searcher=random"], "there are 2; give more"),
        (["weights.shrinks=1", "searcher=random", "weights.source=x"], "weights.shrinks is 1; leave it out"),
        (["weights.split_after=0.7"], "weights.splits is 0; give --splits too"),
    ],
)
def test_settings_that_would_do_nothing(settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.check(tiny(*settings))
