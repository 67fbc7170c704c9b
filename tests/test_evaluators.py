"""Scores and rewards: evaluation on known logits, failures, scoring by shared weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from enas.config import ObjectiveConfig
from enas.errors import UserError
from enas.evaluators import SharedWeights
from enas.graph import MergedGraph
from enas.objective import Scores, rewards
from enas.runtime import GIB, Runtime
from enas.supernet import Supernet
from enas.training import evaluate
from tests.toys import chain, images, macro, micro, random_archs, seeded

CPU = Runtime(torch.device("cpu"), torch.float32, 1)


def test_evaluation_on_known_logits_with_uneven_batches() -> None:
    logits = torch.randn(2, 7, 4, generator=seeded()) * 2
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    logits[1, :3] = 0
    logits[1, torch.arange(3), labels[:3]] = 9.0  # the second architecture knows the first three
    numbers = torch.arange(7.0)[:, None, None, None]
    batches = [(numbers[i:j], labels[i:j]) for i, j in ((0, 4), (4, 6), (6, 7))]
    heard: list[int] = []
    scores = evaluate(lambda x: logits[:, x.flatten().long()], batches, CPU, heard.append)
    for a in range(2):
        assert scores.loss[a].item() == pytest.approx(F.cross_entropy(logits[a], labels).item(), rel=1e-5)
        assert scores.accuracy[a].item() == pytest.approx((logits[a].argmax(1) == labels).float().mean().item())
    assert scores.images == 7 and heard == [8, 4, 2] and not scores.failed.any()


def test_failed_architecture_does_not_spoil_the_others() -> None:
    logits = torch.zeros(3, 4, 2)
    logits[1, 2] = math.nan
    logits[2, 1] = math.inf
    scores = evaluate(lambda x: logits, [(torch.zeros(4, 1, 1, 1), torch.zeros(4, dtype=torch.int64))], CPU)
    assert scores.failed.tolist() == [False, True, True] and scores.loss[0].item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(("metric", "expected"), [("accuracy", [0.5, 0.25]), ("loss", [0.5, 0.2])])
def test_rewards(metric: str, expected: list[float]) -> None:
    loss = torch.tensor([math.log(2), math.log(5), math.nan, math.inf])
    result = rewards(Scores(torch.tensor([0.5, 0.25, 0.9, 0.1]), loss, 10), ObjectiveConfig(metric=metric))
    torch.testing.assert_close(result, torch.tensor([*expected, math.nan, math.nan]), equal_nan=True)


def test_scores_without_a_loss() -> None:
    scores = Scores(torch.tensor([0.5, math.nan]), None, 10)
    assert scores.failed.tolist() == [False, True]
    result = rewards(scores, ObjectiveConfig())
    torch.testing.assert_close(result, torch.tensor([0.5, math.nan]), equal_nan=True)
    with pytest.raises(UserError, match="the loss must be known .* give --reward accuracy"):
        rewards(scores, ObjectiveConfig(metric="loss"))


def test_shared_weights_score_equals_one_by_one_and_scores_duplicates_once(monkeypatch: pytest.MonkeyPatch) -> None:
    space = macro(3)
    supernet, archs = Supernet(space, seeded()), random_archs(space, 5)
    labels = torch.arange(12) % 5
    batches = [(images(7, (3, 8, 8)), labels[:7]), (images(5, (3, 8, 8), seed=1), labels[7:])]
    alone = [SharedWeights(supernet, space, CPU).score([arch], batches) for arch in archs]
    passes: list[int] = []
    original = Supernet.run

    def counted(self: Supernet, x: Tensor, merged: MergedGraph, noise: Any = None) -> Tensor:
        passes.append(len(merged.outputs))
        return original(self, x, merged, noise)

    monkeypatch.setattr(Supernet, "run", counted)
    asked = [*archs, archs[0], archs[2], archs[0]]
    for memory, expected in ((1, [1] * 10), (GIB, [5, 5])):
        passes.clear()
        work: list[int] = []
        scores = SharedWeights(supernet, space, CPU, memory).score(asked, batches, work.append)
        assert passes == expected and sum(work) == 5 * 12 and scores.images == 12
        order = [0, 1, 2, 3, 4, 0, 2, 0]
        for i, arch in enumerate(order):
            torch.testing.assert_close(scores.loss[i], alone[arch].loss[0], rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(scores.accuracy[i], alone[arch].accuracy[0])
    assert all(p.grad is None and not scores.loss.requires_grad for p in supernet.parameters())


LARGE = chain(shape=(3, 16, 16), filters=(8, 16), kernels=(3, 5), min_layers=4, max_layers=6)


@pytest.mark.parametrize("space", [LARGE, macro(3), micro()], ids=lambda space: space.name)
def test_passes_at_the_same_time_do_not_disturb_each_other(space: Any) -> None:
    """Layers of one size share a module in `chain`, into which each pass puts its weights: if threads shared it too,
    most of these rounds would go wrong."""
    supernet, archs = Supernet(space, seeded()), random_archs(space, 24)
    batches = [(images(64, space.input_shape, seed=i), torch.arange(64) % 5) for i in range(2)]
    threads = torch.get_num_threads()
    expected = SharedWeights(supernet, space, CPU).score(archs, batches)
    evaluator = SharedWeights(supernet, space, Runtime(torch.device("cpu"), torch.float32, 8))
    for n in (24, 24, 24, 24, 2, 1):
        work: list[int] = []
        scores = evaluator.score(archs[:n], batches, work.append)
        torch.testing.assert_close(scores.loss, expected.known_loss[:n], rtol=1e-4, atol=1e-5)
        assert sum(work) == 128 * len(set(archs[:n]))
        assert torch.get_num_threads() == threads
