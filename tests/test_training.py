"""Schedules, the optimiser and its plain twin, non-finite steps, evaluation, standalone training, scoring."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from enas import checkpoint
from enas.config import DataConfig, ObjectiveConfig, SgdConfig
from enas.data import DataSet, load
from enas.errors import UserError
from enas.evaluators import SharedWeights
from enas.graph import Graph
from enas.objective import Scores, rewards
from enas.runtime import Runtime
from enas.spaces import Architecture
from enas.standalone import Standalone
from enas.supernet import Supernet
from enas.training import Batch, evaluate, learning_rate, sgd, train_epoch
from tests.toys import images, macro, random_archs, seeded

CPU = Runtime(torch.device("cpu"), torch.float32, 1)
RATES: dict[str, Any] = {"lr_max": 1.1, "lr_min": 0.1}

# ---- schedules


@pytest.mark.parametrize(("epoch", "rate"), [(0, 1.1), (2.5, 0.9535534), (5, 0.6), (7.5, 0.2464466), (10, 0.1)])
def test_cosine(epoch: float, rate: float) -> None:
    assert learning_rate(SgdConfig(schedule="cosine", **RATES), epoch, 10) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0, 1.1), (1, 0.6), (1.5, 0.2464466), (2, 1.1), (4, 0.6), (5, 0.2464466), (6, 1.1), (10, 0.6), (14, 1.1)],
)
def test_cosine_restarts_in_growing_cycles(epoch: float, rate: float) -> None:
    config = SgdConfig(schedule="cosine-restarts", restart_period=2, restart_factor=2, **RATES)
    assert learning_rate(config, epoch, 14) == pytest.approx(rate)  # cycles begin at 0, 2, 6, 14
    even = dataclasses.replace(config, restart_factor=1)
    assert learning_rate(even, epoch, 14) == pytest.approx(learning_rate(even, epoch % 2, 14))


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 0.1), (0.5, 0.35), (1, 0.6), (2, 1.1), (4, 0.9535534), (6, 0.6), (10, 0.1)]
)
def test_one_cycle(epoch: float, rate: float) -> None:
    config = SgdConfig(schedule="one-cycle", warmup_fraction=0.2, **RATES)
    assert learning_rate(config, epoch, 10) == pytest.approx(rate)
    assert learning_rate(dataclasses.replace(config, warmup_fraction=0.0), 0, 10) == pytest.approx(1.1)


def test_rate_moves_with_every_step() -> None:
    module, config = nn.Linear(2, 2), SgdConfig(schedule="cosine", **RATES)
    optimizer, seen = sgd(module, config), []
    optimizer.register_step_pre_hook(lambda *_: seen.append(optimizer.param_groups[0]["lr"]))
    batches = [(torch.ones(1, 2), torch.tensor([0]))] * 4
    stats = train_epoch(lambda x, _: module(x)[None], optimizer, batches, 4, config, CPU, epoch=1, epochs=3)
    assert seen == pytest.approx([learning_rate(config, 1 + step / 4, 3) for step in range(4)])
    assert stats.learning_rate == seen[-1]


# ---- optimiser


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_fused_sgd_matches_plain(momentum: float) -> None:
    """Over steps that touch different weights, in channels-last as in the search."""
    space, config = macro(4, width=4), SgdConfig(weight_decay=0.05, lr_max=0.1, momentum=momentum)
    fused_net = Supernet(space, seeded())
    plain_net = copy.deepcopy(fused_net)
    fused = sgd(fused_net, config)
    plain = torch.optim.SGD(
        plain_net.parameters(), 0.1, momentum, 0, 0.05, nesterov=momentum > 0, foreach=False, fused=False
    )
    x = images(6, (3, 8, 8))
    for step, arch in enumerate(random_archs(space, 6)):
        fused.zero_grad(set_to_none=True)
        fused_net(x, [space.graph(arch)]).square().mean().backward()
        for p, q in zip(fused_net.parameters(), plain_net.parameters(), strict=True):
            q.grad = None if p.grad is None else p.grad.clone()
        fused.param_groups[0]["lr"] = plain.param_groups[0]["lr"] = 0.1 / (1 + step)
        fused.step()
        plain.step()
        for (name, p), q in zip(fused_net.named_parameters(), plain_net.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=1e-6, msg=f"step {step}: {name}")
    untouched = [p for p in fused_net.parameters() if p not in plain.state]
    assert momentum == 0 or (untouched and not any(fused.state[p]["momentum_buffer"].any() for p in untouched))


def linear(batches: Sequence[Batch], config: SgdConfig, bad: Callable[[int], float] = lambda step: 0.0) -> Any:
    """Train a linear layer; `bad` is added to a step's logits. Returns the layer, its momenta, the statistics."""
    module = nn.Linear(3, 2)
    nn.init.constant_(module.bias, 0.1)
    nn.init.uniform_(module.weight, -1, 1, generator=seeded())
    optimizer = sgd(module, config)
    stats = train_epoch(
        lambda x, step: module(x)[None] + bad(step), optimizer, batches, len(batches), config, CPU, epoch=0, epochs=1
    )
    return module, [optimizer.state[p]["momentum_buffer"] for p in module.parameters()], stats


def some_batches(count: int) -> list[Batch]:
    generator = seeded(4)
    return [
        (torch.randn(5, 3, generator=generator), torch.randint(0, 2, (5,), generator=generator)) for _ in range(count)
    ]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nonfinite_step_changes_nothing_and_is_counted(bad: float) -> None:
    # a rate that does not move, so that leaving a step out is the same as never having had it
    config = SgdConfig(lr_max=0.1, lr_min=0.1, weight_decay=0.1)
    batches = some_batches(4)
    module, momenta, stats = linear(batches, config, lambda step: bad if step == 2 else 0.0)
    expected, expected_momenta, expected_stats = linear(batches[:2] + batches[3:], config)
    assert stats.skipped_steps == 1 and expected_stats.skipped_steps == 0
    assert torch.equal(module.weight, expected.weight) and torch.equal(module.bias, expected.bias)
    assert all(torch.equal(a, b) for a, b in zip(momenta, expected_momenta, strict=True))
    for name in ("loss", "accuracy", "grad_norm"):  # means over the finite steps
        assert getattr(stats, name) == pytest.approx(getattr(expected_stats, name), rel=1e-6)


def test_too_many_nonfinite_steps_stop_the_run() -> None:
    config = SgdConfig(max_nonfinite=2)
    *_, stats = linear(some_batches(5), config, lambda step: math.nan if step < 2 else 0.0)
    assert stats.skipped_steps == 2
    with pytest.raises(UserError, match=r"3 steps of one epoch were not \(limit 2\)"):
        linear(some_batches(5), config, lambda step: math.nan if step < 3 else 0.0)


def gradient_of(graphs: list[Graph], supernet: Supernet, batch: Batch, clip: float = 1e6) -> tuple[list[Tensor], Any]:
    """The gradient that a training step takes: the first step's momentum, as there is no weight decay."""
    supernet = copy.deepcopy(supernet)
    config = SgdConfig(weight_decay=0.0, grad_clip=clip)
    optimizer = sgd(supernet, config)
    stats = train_epoch(lambda x, _: supernet(x, graphs), optimizer, [batch], 1, config, CPU, epoch=0, epochs=1)
    return [optimizer.state[p]["momentum_buffer"] for p in supernet.parameters()], stats


def test_loss_is_the_mean_over_architectures() -> None:
    space, batch = macro(3), (images(6, (3, 8, 8)), torch.arange(6) % 5)
    supernet, graphs = Supernet(space, seeded()), [space.graph(arch) for arch in random_archs(space, 2)]
    both, stats = gradient_of(graphs, supernet, batch)
    (first, first_stats), (second, second_stats) = (gradient_of([graph], supernet, batch) for graph in graphs)
    for a, b, c in zip(both, first, second, strict=True):
        torch.testing.assert_close(a, (b + c) / 2, rtol=0, atol=1e-6)
    assert stats.loss == pytest.approx((first_stats.loss + second_stats.loss) / 2, rel=1e-5)
    assert (stats.images, stats.child_images, first_stats.child_images) == (6, 12, 6)


def test_gradient_is_clipped() -> None:
    space, batch = macro(2), (images(6, (3, 8, 8)), torch.arange(6) % 5)
    supernet, graph = Supernet(space, seeded()), space.graph(Architecture("macro", (0, 1, 1)))
    whole, stats = gradient_of([graph], supernet, batch)
    clipped, clipped_stats = gradient_of([graph], supernet, batch, clip=0.01)

    def norm(grads: list[Tensor]) -> float:
        return torch.cat([g.flatten() for g in grads]).norm().item()

    assert norm(whole) == pytest.approx(stats.grad_norm, rel=1e-4) and norm(whole) > 0.1
    assert norm(clipped) == pytest.approx(0.01, rel=1e-3)
    assert clipped_stats.grad_norm == pytest.approx(stats.grad_norm)  # what is reported is the norm before clipping


# ---- evaluation


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


# ---- standalone


@pytest.fixture(scope="module")
def digits() -> DataSet:
    data = load(DataConfig(name="digits"), torch.device("cpu"))
    return dataclasses.replace(data, train=data.train.subset(torch.arange(384)))


def standalone(data: DataSet, seed: int = 0) -> Standalone:
    space = macro(2, data.input_shape, data.num_classes, width=6)
    config = SgdConfig(batch_size=32, lr_max=0.1, lr_min=0.001, dropout=0.2)
    return Standalone(space.graph(Architecture("macro", (0, 2, 1))), data, data.train, config, 3, seed, CPU)


def same_state(a: Standalone, b: Standalone) -> bool:
    ours, theirs = a.network.state_dict(), b.network.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_standalone_follows_from_its_seed_learns_and_resumes_bit_equal(digits: DataSet, tmp_path: Path) -> None:
    whole, again, other = (standalone(digits, seed) for seed in (0, 0, 1))
    losses = [whole.train_epoch().loss for _ in range(3)]
    assert losses[2] < 0.5 * losses[0]
    assert whole.score(digits.train).accuracy.item() > 0.6  # chance is 0.1
    other.train_epoch()
    again.train_epoch()
    assert not same_state(again, other)

    checkpoint.save(tmp_path / "state", again.state_dict())
    resumed = standalone(digits, 0)
    resumed.load_state_dict(checkpoint.load(tmp_path / "state"))
    for _ in range(2):
        again.train_epoch()
        resumed.train_epoch()
    assert resumed.epoch == 3 and same_state(again, whole) and same_state(resumed, whole)


# ---- scoring by shared weights


def test_shared_weights_score_equals_one_by_one_and_scores_duplicates_once(monkeypatch: pytest.MonkeyPatch) -> None:
    space = macro(3)
    supernet, archs = Supernet(space, seeded()), random_archs(space, 5)
    labels = torch.arange(12) % 5
    batches = [(images(7, (3, 8, 8)), labels[:7]), (images(5, (3, 8, 8), seed=1), labels[7:])]
    alone = [SharedWeights(supernet, space, CPU).score([arch], batches) for arch in archs]
    passes: list[int] = []
    forward = Supernet.forward

    def counted(self: Supernet, x: Tensor, graphs: Sequence[Graph], noise: Any = None) -> Tensor:
        passes.append(len(graphs))
        return forward(self, x, graphs, noise)

    monkeypatch.setattr(Supernet, "forward", counted)
    asked = [*archs, archs[0], archs[2], archs[0]]
    for per_pass, expected in ((1, [1] * 10), (2, [2, 2, 2, 2, 1, 1]), (8, [5, 5])):
        passes.clear()
        work: list[int] = []
        scores = SharedWeights(supernet, space, CPU, per_pass).score(asked, batches, work.append)
        assert passes == expected and sum(work) == 5 * 12 and scores.images == 12
        order = [0, 1, 2, 3, 4, 0, 2, 0]
        for i, arch in enumerate(order):
            torch.testing.assert_close(scores.loss[i], alone[arch].loss[0], rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(scores.accuracy[i], alone[arch].accuracy[0])
    assert all(p.grad is None and not scores.loss.requires_grad for p in supernet.parameters())
