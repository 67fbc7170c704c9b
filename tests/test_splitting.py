"""Few-shot supernets: shared weights that become several copies, one for each choice of a decision."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from enas import checkpoint, searchers, spaces, splitting
from enas.data import DataSet, load, random_batch
from enas.interrupts import Keeper
from enas.network import Network, inherit
from enas.phases import Search
from enas.plan import split_epoch
from enas.runs import NEWER, RunFolder
from enas.spaces import Architecture, settled
from enas.splitting import agreement, most_harmful
from enas.supernet import Supernet
from tests.test_search import assert_same_run, run, state_of, tiny
from tests.toys import all_archs, images, macro, random_archs, seeded


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(tiny().data, torch.device("cpu"))


@pytest.fixture(autouse=True)
def few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "SPLITTING_PASSES", 40)


def test_copies_begin_as_they_were_and_then_go_their_own_ways() -> None:
    space, x = macro(3), images(4, (3, 8, 8))
    supernet, archs = Supernet(space, seeded()), all_archs(space)
    before = supernet(x, [space.graph(arch) for arch in archs])
    shared = len(list(supernet.parameters()))
    decisions = [0, len(space.decisions) - 1]
    sizes = [len(space.decisions[d].labels) for d in decisions]
    supernet.split(decisions)
    assert len(list(supernet.parameters())) == shared * sizes[0] * sizes[1]
    parts = {arch: supernet.part(arch) for arch in archs}
    assert sorted(set(parts.values())) == list(range(sizes[0] * sizes[1]))
    for a in archs[::7]:
        same = [arch for arch in archs if all(arch.choices[d] == a.choices[d] for d in decisions)]
        assert same == [arch for arch in archs if parts[arch] == parts[a]]
    routed = [supernet.routed(arch, space.graph(arch)) for arch in archs]
    assert torch.equal(supernet(x, routed), before)
    moved = archs[-1]
    assert parts[moved] > 0
    supernet(x, [supernet.routed(moved, space.graph(moved))]).square().sum().backward()
    with torch.no_grad():
        for parameter in supernet.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.1 * parameter.grad)
    after = supernet(x, routed)
    changed = [not torch.equal(a, b) for a, b in zip(after, before, strict=True)]
    assert changed[-1] and not any(on for on, arch in zip(changed, archs, strict=True) if parts[arch] != parts[moved])
    with pytest.raises(AssertionError):
        supernet.split([1])


def test_a_network_inherits_from_its_own_part() -> None:
    space, x = macro(3), images(16, (3, 8, 8))
    supernet = Supernet(space, seeded())
    supernet.split([0])
    draws = seeded(3)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draws))
    arch = next(arch for arch in random_archs(space, 20) if supernet.part(arch) == 2)
    graph = space.graph(arch)
    routed = supernet.routed(arch, graph)
    network = Network(graph, seeded(9)).train()
    inherit(network, supernet, routed)
    torch.testing.assert_close(network(x), supernet(x, [routed])[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(network(x), supernet(x, [graph])[0], rtol=1e-2, atol=1e-2)


def test_agreement_is_the_cosine_of_gradients_on_common_weights(
    digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "SPLITTING_PASSES", 1)  # one architecture, and its neighbours
    state = state_of(RunFolder(tmp_path / "none"), digits, tiny("weights.splits=2"))
    space = state.whole
    (base,) = searchers.uniform(space, 1, state.draws("splitting"))
    size = state.config.weights.batch_size
    batch = random_batch(state.seen.train, size, digits.mean, digits.std, state.draws("splitting images/0"))

    def gradient(arch: Architecture) -> dict[str, Tensor]:
        state.supernet.zero_grad(set_to_none=True)
        F.cross_entropy(state.supernet(batch[0], [space.graph(arch)])[0], batch[1]).backward()  # type: ignore[no-untyped-call]
        return {name: p.grad.clone() for name, p in state.supernet.named_parameters() if p.grad is not None}

    expected = []
    for d, decision in enumerate(space.decisions):
        variants = [(*base.choices[:d], choice, *base.choices[d + 1 :]) for choice in range(len(decision.labels))]
        found = [gradient(settled(space, choices)) for choices in variants]
        cosines = []
        for i in range(len(found)):
            for j in range(i):
                common = sorted(found[i].keys() & found[j].keys())
                ours, theirs = (torch.cat([g[name].flatten() for name in common]) for g in (found[i], found[j]))
                cosines.append(F.cosine_similarity(ours, theirs, dim=0))
        expected.append(torch.stack(cosines).mean().item())
    assert agreement(state) == pytest.approx(dict(enumerate(expected)), abs=1e-4)
    passes = 1 + sum(len(decision.labels) - 1 for decision in space.decisions)
    assert state.done.training == passes * size
    # three passes' worth for every multiply-accumulate of a network, and there are some
    assert state.training_macs > 3 * size * passes * min(map(state.macs, all_archs(space)))
    order = sorted(range(len(expected)), key=expected.__getitem__)
    assert most_harmful(state, 2) == sorted(order[:2])
    labels = [len(decision.labels) for decision in space.decisions]
    monkeypatch.setattr(splitting, "MOST_COPIES", 4)  # so that decisions of six choices do not come in question
    assert most_harmful(state, 99) == sorted([d for d in order if labels[d] == 2][:2])


def test_agreement_asks_for_what_is_left(digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(RunFolder(tmp_path), digits, tiny("weights.splits=1"))
    state.curriculum.kept = [[1, 4] if len(left) == 6 else left for left in state.curriculum.kept]
    asked: list[Architecture] = []

    def asking(state: Search, arch: Architecture, batch: object) -> list[Tensor]:
        asked.append(arch)
        return [torch.ones(1)]

    monkeypatch.setattr(splitting, "_gradient", asking)
    assert set(agreement(state)) == set(range(len(state.whole.decisions)))
    assert all(c in left for arch in asked for c, left in zip(arch.choices, state.curriculum.kept, strict=True))
    # a decision of which no gradient tells a thing is left out, and where all are, nothing is split
    monkeypatch.setattr(splitting, "_gradient", lambda state, arch, batch: [torch.zeros(1)])
    assert agreement(state) == {}
    assert splitting._cosine([None, torch.ones(2)], [torch.ones(2), None]) is None
    state.epoch = 2
    assert splitting.split_where_due(state) == "shared weights are not split: no decision's choices share any"
    assert splitting.split_where_due(state) is None
    state.save()
    assert state_of(state.folder, digits, state.config).supernet.splits == ()


def test_what_is_rarely_active_agrees(digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ("space.name=chain", "space.min_layers=1", "space.max_layers=2", "space.kernels=3", "space.filters=4,8")
    state = state_of(RunFolder(tmp_path / "none"), digits, tiny("weights.splits=1", *few))
    numbers = itertools.count()
    orthogonal = torch.eye(2048)
    monkeypatch.setattr(splitting, "_gradient", lambda state, arch, batch: [orthogonal[next(numbers)]])
    monkeypatch.setattr(splitting, "SPLITTING_PASSES", 1000)
    found = agreement(state)
    decisions = state.whole.decisions
    assert all((found[d] == 0) == (decisions[d].parent is None) for d in found)
    deepest = [d for d in found if decisions[d].name.startswith("layer2")]
    assert deepest and all(0.3 < found[d] < 1 for d in deepest)  # half of the networks have no second layer


@pytest.mark.slow
def test_a_split_search_goes_on_as_if_never_interrupted(digits: DataSet, tmp_path: Path) -> None:
    run_config = tiny("weights.splits=1", "weights.ema_decay=0.9", "derive.finalist_weights=inherited")
    assert split_epoch(run_config) == 2
    whole = run(tmp_path / "whole", digits, run_config)
    before = run(tmp_path / "parts", digits, run_config, stop_after=2)
    assert checkpoint.load(before.checkpoint)["splits"] is None
    after = run(tmp_path / "parts", digits, run_config, stop_after=1)
    assert len(checkpoint.load(after.checkpoint)["splits"]) == 1
    assert_same_run(run(tmp_path / "parts", digits, run_config), whole)
    changes = [record["change"] for record in whole.records() if record["kind"] == "epoch"]
    names = [decision.name for decision in macro(3).decisions]
    assert changes[:2] == [None, None] and changes[2].removeprefix("shared weights split on ") in names
    state = state_of(whole, digits, run_config)
    assert state.average is not None and state.supernet.splits and state.average.module.splits == state.supernet.splits
    first = json.loads(whole.result.read_text())["finalists"][0]
    scores = state.evaluator.score([spaces.from_json(first["arch"])], state.validation_batches())
    assert scores.accuracy.tolist() == [first["proxy_accuracy"]]
    # the copies are no longer the same
    key = next(iter(state.supernet.weights))
    copies = [module for name, module in state.supernet.weights.items() if name.startswith(key)]
    assert len(copies) > 1 and differ(*copies[:2])
    # what is derived from it is judged by the same copies
    again = ("weights.splits=1", "weights.ema_decay=0.9", "controller.warmup_epochs=0", "epochs=1")
    derived = run(tmp_path / "derived", digits, tiny(*again, f"weights.source={whole.path}"))
    assert checkpoint.load(derived.checkpoint)["splits"] == list(state.supernet.splits)


def test_a_stop_while_it_looks_where_to_split(digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_config = tiny("weights.splits=1", "weights.shrinks=1", "controller.warmup_epochs=2", "epochs=4")
    whole = run(tmp_path / "whole", digits, run_config)
    gradient, tick = splitting._gradient, Keeper.tick
    asked = []

    def asking(*arguments: Any) -> Any:
        asked.append(1)
        return gradient(*arguments)

    def stopping(keeper: Keeper) -> None:
        if len(asked) > 8:
            keeper._save()
            raise Killed
        tick(keeper)

    with monkeypatch.context() as patch:
        patch.setattr(splitting, "_gradient", asking)
        patch.setattr(Keeper, "tick", stopping)
        with pytest.raises(Killed):
            run(tmp_path / "parts", digits, run_config)
    assert_same_run(run(tmp_path / "parts", digits, run_config), whole)


def test_each_copy_has_a_largest_architecture(digits: DataSet, tmp_path: Path) -> None:
    sandwich = ("weights.sampling=sandwich", "weights.architectures_per_step=3")
    state = state_of(RunFolder(tmp_path / "none"), digits, tiny(*sandwich, "weights.splits=1"))
    whole = state.curriculum.largest
    state.split([1])
    labels = state.whole.decisions[1].labels
    firsts = state.curriculum.untaught(2 * len(labels), 3, seeded())[::3]
    assert [arch.choices[1] for arch in firsts] == 2 * list(range(len(labels)))
    assert {(arch.choices[0], *arch.choices[2:]) for arch in firsts} == {(whole.choices[0], *whole.choices[2:])}
    assert sorted({state.supernet.part(arch) for arch in firsts}) == list(range(len(labels)))


def test_a_checkpoint_of_earlier_versions_goes_on(digits: DataSet, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", digits, tiny())
    old = run(tmp_path / "old", digits, tiny(), stop_after=1)
    state = checkpoint.load(old.checkpoint)
    settings, _ = json.JSONDecoder().raw_decode(state["identity"]["settings"])
    assert all(not NEWER[section].keys() & settings[section].keys() for section in NEWER)
    del state["splits"], state["shrunk"], state["within"]["change"]
    checkpoint.save(old.checkpoint, state)
    assert_same_run(run(tmp_path / "old", digits, tiny()), whole)


class Killed(Exception):
    """What a test stops a search with."""


def differ(a: nn.Module, b: nn.Module) -> bool:
    return any(not torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_when_weights_are_split() -> None:
    assert split_epoch(tiny()) is None
    for after, epochs, expected in ((0.5, 10, 5), (0.0, 10, 1), (0.99, 10, 9), (0.5, 2, 1), (0.5, 1, 0)):
        settings = [f"weights.split_after={after}", f"epochs={epochs}", "controller.warmup_epochs=0"]
        assert split_epoch(tiny("weights.splits=1", *settings)) == expected
