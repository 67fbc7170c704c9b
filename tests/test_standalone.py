"""Training a network on its own with all that may help it: average, auxiliary classifier, drop-path, mixup."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from enas import checkpoint, config, runtime, spaces
from enas.config import DataConfig, RetrainConfig, SearchConfig, StandaloneConfig
from enas.cost import cost
from enas.data import DataSet, load, mixup
from enas.errors import UserError
from enas.graph import Graph, Node
from enas.network import Network
from enas.ops import Context, Noise, drop_path
from enas.phases import Search
from enas.retraining import load_model, retrain
from enas.runs import RunFolder
from enas.runtime import Runtime
from enas.spaces import Architecture
from enas.standalone import Standalone
from tests.toys import images, macro, micro, random_archs, seeded

CPU = Runtime(torch.device("cpu"), torch.float32, 1)
EVERYTHING: dict[str, Any] = {"ema_decay": 0.8, "auxiliary_weight": 0.4, "drop_path": 0.4, "mixup": 0.5, "dropout": 0.2}


@pytest.fixture(scope="module")
def digits() -> DataSet:
    data = load(DataConfig(name="digits"), torch.device("cpu"))
    return dataclasses.replace(data, train=data.train.subset(torch.arange(40)), test=data.test.subset(torch.arange(50)))


def graph_of(data: DataSet) -> Graph:
    space = micro(2, data.input_shape, data.num_classes, width=3)
    return space.graph(random_archs(space, 1, seed=3)[0])


def standalone(data: DataSet, epochs: int = 2, **options: Any) -> Standalone:
    """A small network of cells on 40 images: four steps an epoch."""
    settings = StandaloneConfig(**{"batch_size": 10, "lr_max": 0.1, "lr_min": 0.001, **options})
    return Standalone(graph_of(data), data, data.train, settings, epochs, 0, CPU)


def tensors(value: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of a state, by their place in it."""
    if isinstance(value, Tensor):
        yield prefix, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from tensors(item, f"{prefix}/{key}")


def assert_equal_states(a: Standalone, b: Standalone) -> None:
    ours, theirs = dict(tensors(a.state_dict())), dict(tensors(b.state_dict()))
    assert ours.keys() == theirs.keys() and len(ours) > 100
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    assert (a.epoch, a.state.step, a.state.images) == (b.epoch, b.state.step, b.state.images)


# ---- moving average of the weights


def test_the_average_equals_one_made_by_hand(digits: DataSet) -> None:
    training = standalone(digits, ema_decay=0.3)
    expected = copy.deepcopy(dict(training.network.state_dict()))
    seen: list[dict[str, Tensor]] = []
    for _ in range(2):
        training.train_epoch(lambda _: seen.append(copy.deepcopy(dict(training.network.state_dict()))))
    assert len(seen) == 8
    for n, state in enumerate(seen, start=1):
        decay = min(0.3, (1 + n) / (10 + n))  # 0.18, 0.25, then 0.3
        expected = {name: decay * average + (1 - decay) * state[name] for name, average in expected.items()}
    final = training.final().state_dict()
    assert final.keys() == expected.keys()
    for name, tensor in final.items():  # running statistics are averaged too
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)
    assert any("running_var" in name for name in final)


def test_a_short_training_does_not_end_with_its_first_weights(digits: DataSet) -> None:
    """A decay that is meant for thousands of steps, over 12 of them."""
    averaged, plain = standalone(digits, ema_decay=0.9999), standalone(digits)
    for training in (averaged, plain):
        for _ in range(3):
            training.train_epoch()
    untrained = standalone(digits).score(digits.train).loss.item()
    gained = untrained - plain.score(digits.train).loss.item()
    assert gained > 0.1
    assert untrained - averaged.score(digits.train).loss.item() > 0.5 * gained


def test_the_average_is_what_is_scored_and_kept(digits: DataSet) -> None:
    averaged, plain = standalone(digits, ema_decay=0.8), standalone(digits)
    for training in (averaged, plain):
        training.train_epoch()
    assert plain.final() is plain.network and averaged.final() is not averaged.network
    # training itself does not know of it
    for name, tensor in plain.network.state_dict().items():
        assert torch.equal(averaged.network.state_dict()[name], tensor), name
    assert averaged.score(digits.test).loss.item() != plain.score(digits.test).loss.item()
    before = averaged.score(digits.test).loss.item()
    with torch.no_grad():
        for parameter in averaged.network.parameters():
            parameter.zero_()
    assert averaged.score(digits.test).loss.item() == before


# ---- auxiliary classifier


def test_the_auxiliary_classifier_learns_and_is_not_kept(digits: DataSet) -> None:
    training, without = standalone(digits, auxiliary_weight=0.4), standalone(digits)
    assert training.auxiliary is not None and without.auxiliary is None
    before = copy.deepcopy(training.auxiliary.state_dict())
    for each in (training, without):
        each.train_epoch()
    for name, tensor in training.auxiliary.state_dict().items():
        assert not torch.equal(tensor, before[name]), name
    # it pulls at the layers below it, and it is no part of the network
    trained, plain = training.network.state_dict(), without.network.state_dict()
    assert not torch.equal(trained["weights.stem.conv.weight"], plain["weights.stem.conv.weight"])
    assert training.final().state_dict().keys() == plain.keys()
    params = sum(parameter.numel() for parameter in training.final().parameters())
    assert params == cost(training.network.graph).params


def test_the_auxiliary_classifier_reads_the_named_node(digits: DataSet) -> None:
    network = Network(graph_of(digits), seeded())
    assert network.graph.auxiliary is not None
    seen: list[Tensor] = []
    key = network.graph.nodes[network.graph.auxiliary].key
    assert key == "cell5/norm"
    network.weights[key].register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = images(4, digits.input_shape)
    logits, features = network.tapped(x, None, tap=True)
    assert features is seen[0]
    assert torch.equal(logits, network(x)) and network.tapped(x, None, tap=False)[1] is None


def test_a_network_without_a_place_for_it_is_refused(digits: DataSet) -> None:
    graph = macro(1, digits.input_shape, digits.num_classes).graph(Architecture("macro", (0,)))
    settings = StandaloneConfig(auxiliary_weight=0.4)
    with pytest.raises(UserError, match="set --auxiliary-weight 0"):
        Standalone(graph, digits, digits.train, settings, 1, 0, CPU)


# ---- drop-path


def node(drop: float = 1.0, key: str = "k") -> Node:
    return Node("conv_3x3", (0,), key, ((2, 3, 3),), (2, 3, 3), drop)


def test_drop_path_by_hand() -> None:
    """Whole images are dropped, what is left is scaled so that the mean stays, a node's share is of the rate."""
    x = torch.rand(4000, 2, 1, 1, generator=seeded()) + 1
    for share in (1.0, 0.5):
        dropped = drop_path(x, node(share), Context(noise=Noise(3, drop_path=0.4)))
        kept = dropped.flatten(1).any(1)
        assert kept.float().mean().item() == pytest.approx(1 - share * 0.4, abs=0.03)
        torch.testing.assert_close(dropped[kept], x[kept] / (1 - share * 0.4))
        assert torch.equal(dropped.flatten(1).all(1), kept)  # an image is there as a whole or not at all


def test_drop_path_depends_on_seed_key_and_image_alone() -> None:
    x = torch.ones(64, 2, 3, 3)

    def kept(seed: int = 1, key: str = "a", groups: int = 1) -> Tensor:
        stacked = x.repeat(groups, 1, 1, 1)
        return drop_path(stacked, node(key=key), Context(groups, Noise(seed, drop_path=0.5)))[:, 0, 0, 0]

    assert torch.equal(kept(), kept())
    assert torch.equal(kept(groups=3), kept().repeat(3))  # stacked architectures lose the same images
    assert not torch.equal(kept(), kept(seed=2)) and not torch.equal(kept(), kept(key="b"))


def test_nothing_is_dropped_without_a_rate_or_noise_or_share() -> None:
    x = torch.ones(8, 2, 3, 3)
    for share, noise in ((1.0, None), (1.0, Noise(1, 0.5)), (0.0, Noise(1, drop_path=0.9))):
        assert drop_path(x, node(share), Context(noise=noise)) is x
    x = x.bfloat16()
    assert drop_path(x, node(), Context(noise=Noise(1, drop_path=0.5))).dtype == torch.bfloat16


def test_the_rate_grows_with_training_and_is_zero_in_evaluation(
    digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = standalone(digits, drop_path=0.4, dropout=0.3)
    rates: list[Noise] = []
    evaluated: list[None] = []
    original = Network.tapped

    def noted(self: Network, x: Tensor, noise: Noise | None, tap: bool) -> Any:
        evaluated.append(None) if noise is None else rates.append(noise)
        return original(self, x, noise, tap)

    monkeypatch.setattr(Network, "tapped", noted)
    for _ in range(2):
        training.train_epoch()
    assert [noise.drop_path for noise in rates] == pytest.approx([0.4 * step / 8 for step in range(8)])
    assert {noise.dropout for noise in rates} == {0.3}
    assert len({noise.seed for noise in rates}) == 8
    training.score(digits.test)
    assert len(rates) == 8 and evaluated == [None]


def test_the_shared_weights_rate_grows_too(digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["epochs=2", "weights.drop_path=0.3", "weights.batch_size=10", "space.nodes=1", "space.width=2"]
    run_config: SearchConfig = config.from_text(config.PRESETS["quick"]("micro")[0], [*texts, "device=cpu"])
    state = Search(run_config, digits, RunFolder(tmp_path), CPU)
    seen: list[Noise] = []
    original = type(state.supernet).forward

    def noted(self: Any, x: Tensor, graphs: Any, noise: Noise | None = None) -> Tensor:
        assert noise is not None
        seen.append(noise)
        return original(self, x, graphs, noise)

    monkeypatch.setattr(type(state.supernet), "forward", noted)
    state.train_shared_weights()
    assert [noise.drop_path for noise in seen] == pytest.approx(
        [0.3 * step / (2 * state.steps) for step in range(state.steps)]
    )
    assert len(seen) == 2


# ---- mixup


def test_mixup_by_hand() -> None:
    x, labels, seed, alpha = images(5, (3, 4, 4)), torch.tensor([0, 2, 1, 1, 0]), 11, 0.7
    share = np.random.default_rng(seed).beta(alpha, alpha)
    partner = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    assert 0.02 < share < 0.98 and not torch.equal(partner, torch.arange(5))
    mixed, targets = mixup((x, labels), 3, alpha, seed)
    for i, j in enumerate(partner.tolist()):
        torch.testing.assert_close(mixed[i], share * x[i] + (1 - share) * x[j], rtol=0, atol=1e-5)
        expected = torch.zeros(3)
        expected[labels[i]] += share
        expected[labels[j]] += 1 - share
        torch.testing.assert_close(targets[i], expected)
    torch.testing.assert_close(targets.sum(1), torch.ones(5))
    assert torch.equal(x, images(5, (3, 4, 4)))  # the batch itself is left alone


def test_mixup_follows_from_its_seed_and_alpha() -> None:
    batch = (images(4, (1, 4, 4)), torch.arange(4))
    first, again, other = (mixup(batch, 4, 0.4, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    # Beta(0.01, 0.01) nearly always takes one of the two images whole, Beta(10, 10) hardly less than a fifth of either
    smallest = {
        alpha: [
            min(share, 1 - share) for share in (mixup(batch, 4, alpha, seed)[1].max().item() for seed in range(100))
        ]
        for alpha in (0.01, 10)
    }
    assert sum(share < 0.01 for share in smallest[0.01]) > 90
    # an image may be its own partner, and is whole then
    assert sum(share > 0.2 for share in smallest[10]) > 20


def test_mixup_is_anew_in_every_step(digits: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    training, seeds = standalone(digits, mixup=0.5), []

    def noted(batch: Any, num_classes: int, alpha: float, seed: int) -> Any:
        seeds.append(seed)
        assert (num_classes, alpha) == (10, 0.5)
        return mixup(batch, num_classes, alpha, seed)

    monkeypatch.setattr("enas.standalone.mixup", noted)
    for _ in range(2):
        training.train_epoch()
    assert len(set(seeds)) == 8


# ---- all of it together


def test_everything_resumes_bit_equal_in_mid_epoch(digits: DataSet, tmp_path: Path) -> None:
    whole = standalone(digits, **EVERYTHING)
    expected = [whole.train_epoch() for _ in range(2)]
    for stop in (1, 3, 4, 6, 8):  # steps; the first epoch ends with the fourth
        training, steps = standalone(digits, **EVERYTHING), 0

        def stop_there(images: int, stop: int = stop) -> None:
            nonlocal steps
            steps += 1
            if steps == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            while True:
                training.train_epoch(stop_there)
        assert (training.epoch, training.state.step) == divmod(stop - 1, 4)[:1] + ((stop - 1) % 4 + 1,)
        checkpoint.save(tmp_path / "state", training.state_dict())
        resumed = standalone(digits, **EVERYTHING)
        resumed.load_state_dict(checkpoint.load(tmp_path / "state"))
        found = []
        while resumed.epoch < 2:
            found.append(resumed.train_epoch())
        assert_equal_states(resumed, whole)
        for ours, theirs in zip(found, expected[-len(found) :], strict=True):
            assert dataclasses.replace(ours, seconds=0.0) == dataclasses.replace(theirs, seconds=0.0)


def test_each_of_them_changes_the_training(digits: DataSet) -> None:
    losses = {name: standalone(digits, **{name: EVERYTHING[name]}).train_epoch().loss for name in EVERYTHING}
    losses["nothing"] = standalone(digits, dropout=0.0).train_epoch().loss
    del losses["ema_decay"]  # which is not felt in training
    assert len(set(losses.values())) == len(losses)


def test_out_of_memory_is_one_line_for_the_user(digits: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    training = standalone(digits)

    def no_memory(*arguments: Any, **named: Any) -> Any:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Network, "tapped", no_memory)
    with pytest.raises(UserError, match="memory for a training step, but it ran out; give a smaller --batch-size"):
        training.train_epoch()


def test_a_retraining_saves_the_average_without_auxiliary_classifier(digits: DataSet, tmp_path: Path) -> None:
    space = micro(2, digits.input_shape, digits.num_classes)
    text = "micro:0104-0033-1142-2041"
    changes: dict[str, Any] = {"arch": text, "epochs": 1, "width": 3, "depth": 2, "precision": "float32"}
    changes |= {"device": "cpu", "sgd": {"batch_size": 20, "schedule": "cosine", **EVERYTHING}}
    options = {"space": {"name": "micro", "nodes": 2, "width": 2, "cells_per_stage": 1}}
    run_config: RetrainConfig = config.update(RetrainConfig(), changes | options)
    folder = RunFolder(tmp_path / "run")
    folder.create(run_config)
    records = list(retrain(run_config, digits, folder, runtime.start(run_config)))
    assert [record.epoch for record in records] == [0]
    network, header = load_model(folder.path / "model.safetensors")
    assert header["arch"] == text and header["space"]["cells_per_stage"] == 2 and header["space"]["width"] == 3
    result = checkpoint.read_json(folder.result)
    assert sum(p.numel() for p in network.parameters()) == result["params"]
    graph = space.scaled(width=3, depth=2).graph(spaces.from_text(text))
    assert result["params"] == cost(graph).params
    saved = checkpoint.load(folder.checkpoint)["training"]
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, saved["average"][name]), name
        assert name in saved["network"]
    assert saved["auxiliary"]
