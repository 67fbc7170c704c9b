"""Schedules, the optimiser and its plain twin, non-finite steps, standalone training."""

from __future__ import annotations

import copy
import dataclasses
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from enas import checkpoint
from enas.config import DataConfig, SgdConfig, StandaloneConfig
from enas.data import DataSet, load, training_batches
from enas.errors import UserError
from enas.graph import Graph
from enas.losses import Output
from enas.runtime import Runtime, generator
from enas.spaces import Architecture
from enas.standalone import Standalone
from enas.supernet import Supernet
from enas.training import Batch, EpochState, EpochStats, learning_rate, sgd, train_epoch
from tests.toys import images, macro, random_archs, seeded

CPU = Runtime(torch.device("cpu"), torch.float32, 1)


def epoch_of(
    logits: Callable[[Tensor, int], Tensor],
    optimizer: torch.optim.SGD,
    batches: Sequence[Batch],
    config: SgdConfig,
    epoch: int = 0,
    epochs: int = 1,
    **more: Any,
) -> EpochStats:
    """Train for one epoch with a model that gives all its logits [A, N, K] at once."""

    def model(x: Tensor, step: int) -> Iterator[Output]:
        yield Output(logits(x, step))

    state = EpochState()
    return train_epoch(
        model, optimizer, batches, len(batches), config, CPU, epoch=epoch, epochs=epochs, state=state, **more
    )


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
    stats = epoch_of(lambda x, _: module(x)[None], optimizer, batches, config, epoch=1, epochs=3)
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
    untouched = [p for p, q in zip(fused_net.parameters(), plain_net.parameters(), strict=True) if q not in plain.state]
    assert untouched and not any(fused.state[p]["momentum_buffer"].any() for p in untouched)


def linear(batches: Sequence[Batch], config: SgdConfig, bad: Callable[[int], float] = lambda step: 0.0) -> Any:
    """Train a linear layer; `bad` is added to a step's logits. Returns the layer, its momenta, the statistics."""
    module = nn.Linear(3, 2)
    nn.init.constant_(module.bias, 0.1)
    nn.init.uniform_(module.weight, -1, 1, generator=seeded())
    optimizer = sgd(module, config)
    stats = epoch_of(lambda x, step: module(x)[None] + bad(step), optimizer, batches, config)
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
    with pytest.raises(UserError, match="5 steps of one epoch were not"):  # nothing was learned at all
        linear(some_batches(5), SgdConfig(max_nonfinite=20), lambda step: math.nan)
    with pytest.raises(UserError, match=r"3 steps of one epoch were not \(limit 2\)"):
        linear(some_batches(5), config, lambda step: math.nan if step < 3 else 0.0)


def gradient_of(graphs: list[Graph], supernet: Supernet, batch: Batch, clip: float = 1e6) -> tuple[list[Tensor], Any]:
    """The gradient that a training step takes: the first step's momentum, as there is no weight decay."""
    supernet = copy.deepcopy(supernet)
    config = SgdConfig(weight_decay=0.0, grad_clip=clip)
    optimizer = sgd(supernet, config)
    stats = epoch_of(lambda x, _: supernet(x, graphs), optimizer, [batch], config)
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


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_steps_of_an_epoch_leave_unsampled_weights_alone(momentum: float) -> None:
    """Never sampled: not decayed. Sampled in an earlier step of the epoch: not carried on either."""
    space, batch = macro(3), (images(6, (3, 8, 8)), torch.arange(6) % 5)
    supernet, config = Supernet(space, seeded()), SgdConfig(weight_decay=0.1, lr_max=0.1, momentum=momentum)
    graphs = [space.graph(Architecture("macro", choices)) for choices in ((0, 1, 1, 4, 0, 0), (3, 2, 1, 5, 0, 0))]
    optimizer = sgd(supernet, config)

    def state() -> dict[str, tuple[Tensor, Tensor]]:
        buffers = {p: optimizer.state[p]["momentum_buffer"] for p in supernet.parameters()}
        return {name: (p.detach().clone(), buffers[p].clone()) for name, p in supernet.named_parameters()}

    states = [state()]
    optimizer.register_step_post_hook(lambda *_: states.append(state()))
    epoch_of(lambda x, step: supernet(x, [graphs[step]]), optimizer, [batch] * 2, config)
    sampled = []
    for graph, before, after in zip(graphs, states, states[1:], strict=False):
        keys = tuple(f"weights.{node.key}." for node in graph.nodes if node.key)
        sampled.append({name for name in before if name.startswith(keys)})
        for name in before:
            assert torch.equal(before[name][0], after[name][0]) != (name in sampled[-1]), name
            if name not in sampled[-1]:
                assert torch.equal(before[name][1], after[name][1]), name
    assert len(states) == 3 and sampled[0] - sampled[1] and sampled[0] | sampled[1] < set(before)


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


# ---- a step in parts, and memory that runs out


def parts_of(
    graphs: list[Graph], supernet: Supernet, sizes: Sequence[int]
) -> Callable[[Tensor, int], Iterator[Output]]:
    """A model that gives the outputs of all graphs, so many at a time."""

    def model(x: Tensor, step: int) -> Iterator[Output]:
        first = 0
        for size in sizes:
            yield Output(supernet(x, graphs[first : first + size]), size / len(graphs))
            first += size

    return model


@pytest.mark.parametrize("sizes", [(4,), (2, 2), (3, 1), (1, 1, 1, 1)])
def test_a_step_in_parts_equals_one_at_once(sizes: tuple[int, ...]) -> None:
    space, batch = macro(3), (images(6, (3, 8, 8)), torch.arange(6) % 5)
    supernet, config = Supernet(space, seeded()), SgdConfig(weight_decay=0.0)
    graphs = [space.graph(arch) for arch in random_archs(space, 4)]
    expected, expected_stats = gradient_of(graphs, supernet, batch)
    optimizer = sgd(supernet, config)
    model = parts_of(graphs, supernet, sizes)
    stats = train_epoch(model, optimizer, [batch], 1, config, CPU, epoch=0, epochs=1, state=EpochState())
    for p, momentum in zip(supernet.parameters(), expected, strict=True):
        torch.testing.assert_close(optimizer.state[p]["momentum_buffer"], momentum, rtol=0, atol=1e-6)
    for name in ("loss", "accuracy", "grad_norm"):
        assert getattr(stats, name) == pytest.approx(getattr(expected_stats, name), rel=1e-5), name
    assert (stats.images, stats.child_images) == (6, 24)


def test_a_part_is_freed_before_the_next_one() -> None:
    """What one part needs for its gradient is gone when the next one begins: that is what parts are for."""
    alive: list[weakref.ref[Tensor]] = []
    module = nn.Linear(3, 2)

    def model(x: Tensor, step: int) -> Iterator[Output]:
        for _ in range(3):
            assert all(ref() is None for ref in alive)
            hidden = module(x).exp()
            alive.append(weakref.ref(hidden))
            output = Output(hidden[None] * 2, 1 / 3)
            del hidden
            yield output
            del output

    epoch_state = EpochState()
    train_epoch(
        model, sgd(module, SgdConfig()), some_batches(2), 2, SgdConfig(), CPU, epoch=0, epochs=1, state=epoch_state
    )
    assert len(alive) == 6


@pytest.mark.parametrize("failing_part", [0, 1])
def test_a_step_that_runs_out_of_memory_is_run_again_in_smaller_parts(failing_part: int) -> None:
    """As if nothing had happened: no gradient of its first parts is left, and no running statistic has moved."""
    batches = some_batches(3)

    def train(fail_at: int | None) -> tuple[nn.Module, EpochStats, int]:
        module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -1, 1, generator=seeded())
        parts, heard = 2 if fail_at is not None else 4, 0

        def model(x: Tensor, step: int) -> Iterator[Output]:
            for part in range(parts):
                logits = module(x)[None]
                if step == fail_at and part == failing_part and parts == 2:
                    raise torch.OutOfMemoryError
                yield Output(logits, 1 / parts)

        def smaller() -> None:
            nonlocal parts, heard
            parts, heard = 4, heard + 1

        config = SgdConfig(lr_max=0.1, lr_min=0.1)
        stats = train_epoch(
            model,
            sgd(module, config),
            batches[1:],
            2,
            config,
            CPU,
            epoch=0,
            epochs=1,
            state=EpochState(),
            statistics=[b for b in module.buffers() if b.is_floating_point()],
            on_out_of_memory=smaller,
        )
        return module, stats, heard

    (module, stats, heard), (expected, expected_stats, unheard) = train(0), train(None)
    assert (heard, unheard) == (1, 0)
    for (name, ours), theirs in zip(module.state_dict().items(), expected.state_dict().values(), strict=True):
        if name != "1.num_batches_tracked":  # not among the statistics: no operation of enas counts batches
            assert torch.equal(ours, theirs), name
    assert dataclasses.replace(stats, seconds=0.0) == dataclasses.replace(expected_stats, seconds=0.0)


def test_memory_that_runs_out_is_an_error_where_nobody_can_help() -> None:
    module = nn.Linear(3, 2)

    def model(x: Tensor, step: int) -> Iterator[Output]:
        raise torch.OutOfMemoryError("no memory")
        yield Output(x)

    with pytest.raises(torch.OutOfMemoryError):
        train_epoch(
            model, sgd(module, SgdConfig()), some_batches(1), 1, SgdConfig(), CPU, epoch=0, epochs=1, state=EpochState()
        )


# ---- an epoch that is interrupted


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_an_epoch_goes_on_where_it_was_interrupted(stop: int, schedule: str, tmp_path: Path) -> None:
    """After any step, the last one too; the second of five is not finite."""
    config, batches = SgdConfig(schedule=schedule, weight_decay=0.1, **RATES), some_batches(5)

    def begin() -> tuple[nn.Linear, torch.optim.SGD]:
        module = nn.Linear(3, 2)
        nn.init.uniform_(module.weight, -1, 1, generator=seeded())
        nn.init.zeros_(module.bias)
        return module, sgd(module, config)

    def go_on(module: nn.Linear, optimizer: torch.optim.SGD, state: EpochState, stop: int | None = None) -> EpochStats:
        def model(x: Tensor, step: int) -> Iterator[Output]:
            yield Output(module(x)[None] + (math.nan if step == 1 else 0.0))

        def on_step(child_images: int) -> None:
            assert child_images == 5
            if state.step == stop:
                raise KeyboardInterrupt

        return train_epoch(
            model,
            optimizer,
            batches[state.step :],
            5,
            config,
            CPU,
            epoch=2,
            epochs=4,
            state=state,
            on_step=on_step,
        )

    whole, whole_optimizer = begin()
    expected = go_on(whole, whole_optimizer, EpochState())
    module, optimizer = begin()
    state = EpochState()
    with pytest.raises(KeyboardInterrupt):
        go_on(module, optimizer, state, stop)
    saved = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "state": state.state_dict()}
    checkpoint.save(tmp_path / "state", saved)
    loaded = checkpoint.load(tmp_path / "state")
    resumed, resumed_optimizer = begin()
    resumed.load_state_dict(loaded["module"])
    resumed_optimizer.load_state_dict(loaded["optimizer"])
    stats = go_on(resumed, resumed_optimizer, EpochState(**loaded["state"]))
    assert torch.equal(resumed.weight, whole.weight) and torch.equal(resumed.bias, whole.bias)
    for p, q in zip(resumed.parameters(), whole.parameters(), strict=True):
        buffers = resumed_optimizer.state[p]["momentum_buffer"], whole_optimizer.state[q]["momentum_buffer"]
        assert torch.equal(*buffers)
    assert expected.skipped_steps == 1 and (expected.images, expected.child_images) == (25, 25)
    assert dataclasses.replace(stats, seconds=0.0) == dataclasses.replace(expected, seconds=0.0)
    assert stats.seconds > 0


# ---- labels that are mixed, and an auxiliary classifier


def test_mixed_labels_by_hand() -> None:
    module, (x, _) = nn.Linear(3, 2), some_batches(1)[0]
    nn.init.uniform_(module.weight, -1, 1, generator=seeded())
    labels = torch.tensor([[1.0, 0.0], [0.7, 0.3], [0.2, 0.8], [0.0, 1.0], [0.6, 0.4]])
    logits = module(x).detach()
    stats = epoch_of(lambda x, _: module(x)[None].repeat(2, 1, 1), sgd(module, SgdConfig()), [(x, labels)], SgdConfig())
    assert stats.loss == pytest.approx(-(labels * logits.log_softmax(1)).sum(1).mean().item(), rel=1e-5)
    # right where the likelier of the two classes is named
    assert stats.accuracy == pytest.approx((logits.argmax(1) == torch.tensor([0, 0, 1, 1, 0])).float().mean().item())
    assert stats.child_images == 10


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_auxiliary_loss_is_added_and_its_accuracy_is_not(smoothing: float) -> None:
    config = SgdConfig(label_smoothing=smoothing, weight_decay=0.0)
    main, second, (x, y) = nn.Linear(3, 2), nn.Linear(3, 2), some_batches(1)[0]
    for part, seed in ((main, 0), (second, 1)):
        nn.init.uniform_(part.weight, -2, 2, generator=seeded(seed))
    losses = [F.cross_entropy(part(x), y, label_smoothing=smoothing) for part in (main, second)]
    weights = (main.weight, second.weight)
    gradients = [torch.autograd.grad(loss, weight)[0] for loss, weight in zip(losses, weights, strict=True)]
    right = (main(x).argmax(1) == y).float().mean().item()
    optimizer = sgd(nn.ModuleList([main, second]), config)

    def model(x: Tensor, step: int) -> Iterator[Output]:
        yield Output(main(x)[None], auxiliary=second(x))

    more: dict[str, Any] = {"epoch": 0, "epochs": 1, "state": EpochState(), "auxiliary_weight": 0.3}
    stats = train_epoch(model, optimizer, [(x, y)], 1, config, CPU, **more)
    assert stats.loss == pytest.approx((losses[0] + 0.3 * losses[1]).item(), rel=1e-5)
    assert stats.accuracy == pytest.approx(right)
    torch.testing.assert_close(optimizer.state[main.weight]["momentum_buffer"], gradients[0])
    torch.testing.assert_close(optimizer.state[second.weight]["momentum_buffer"], 0.3 * gradients[1])


# ---- standalone


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(DataConfig(name="digits"), torch.device("cpu"))


def standalone(data: DataSet, images: int, seed: int = 0, **options: Any) -> Standalone:
    """A small network on the first training images, for three epochs."""
    data = dataclasses.replace(data, train=data.train.subset(torch.arange(images)))
    space = macro(2, data.input_shape, data.num_classes, width=12)
    config = StandaloneConfig(**{"batch_size": 16, "lr_max": 0.1, "lr_min": 0.001, "dropout": 0.2, **options})
    return Standalone(space.graph(Architecture("macro", (0, 0, 1))), data, data.train, config, 3, seed, CPU)


def same_state(a: Standalone, b: Standalone) -> bool:
    ours, theirs = a.network.state_dict(), b.network.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_standalone_learns_the_digits(digits: DataSet) -> None:
    training = standalone(digits, 600)
    losses = [training.train_epoch().loss for _ in range(3)]
    assert losses[2] < 0.7 * losses[0]
    assert training.score(digits.test).accuracy.item() > 0.6  # chance is 0.1


def test_a_skipped_step_leaves_running_statistics_alone(digits: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_an_infinite_pixel(*arguments: Any) -> Any:
        for step, (inputs, labels) in enumerate(training_batches(*arguments)):
            if step == 2:
                inputs[0, 0, 0, 0] = math.inf
            yield inputs, labels

    training = standalone(digits, 80)
    monkeypatch.setattr("enas.standalone.training_batches", with_an_infinite_pixel)
    assert training.train_epoch().skipped_steps == 1
    assert all(bool(torch.isfinite(tensor).all()) for tensor in training.network.state_dict().values())
    assert not bool(training.score(digits.test).failed.any())


def test_standalone_matches_a_plain_loop(digits: DataSet) -> None:
    training = standalone(digits, 64, dropout=0.0, lr_min=0.1)  # a constant rate
    network = copy.deepcopy(training.network).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True, foreach=False)
    data = training.data
    for epoch in range(2):
        losses, draws = [], generator(0, f"images/{epoch}")
        for x, y in training_batches(training.images, 16, data.augmentation, data.mean, data.std, draws):
            loss = F.cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), training.config.grad_clip)
            optimizer.step()
            losses.append(loss.item())
        # 4 steps an epoch; rounding differs between the fused and the plain optimiser
        assert training.train_epoch().loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_standalone_follows_from_its_seed_and_resumes_bit_equal(digits: DataSet, tmp_path: Path) -> None:
    whole, again, other = (standalone(digits, 64, seed) for seed in (0, 0, 1))
    for training in (whole, again, other):
        training.train_epoch()
    assert same_state(again, whole) and not same_state(other, whole)
    checkpoint.save(tmp_path / "state", again.state_dict())
    resumed = standalone(digits, 64)
    resumed.load_state_dict(checkpoint.load(tmp_path / "state"))
    for _ in range(2):
        whole.train_epoch()
        resumed.train_epoch()
    assert resumed.epoch == 3 and same_state(resumed, whole)
    assert not same_state(again, whole)  # epochs do change the weights
