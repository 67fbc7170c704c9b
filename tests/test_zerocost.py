"""Zero-cost proxies against their definitions, written out."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional

from enas import searchers, spaces
from enas.config import NasBench201Options
from enas.kernels import plain_kernels
from enas.network import Network
from enas.runtime import generator
from enas.spaces import SearchSpace
from enas.zero_cost import naswot, synflow, untrained, vote
from tests.toys import images, macro, micro, seeded

pytestmark = pytest.mark.usefixtures("benchmarks")
SPACE = macro(3)
CELLS = spaces.build(NasBench201Options(width=4, cells_per_stage=1), (3, 8, 8), 3)
ARCH = searchers.uniform(SPACE, 1, seeded())[0]


@pytest.mark.parametrize("space", [SPACE, micro(), CELLS], ids=lambda space: space.name)
def test_synflow_is_homogeneous_in_the_weights(space: SearchSpace) -> None:
    """Written out in a network whose weights are made positive; the last layer's share is what it adds to the output,
    as that is linear in them. Nothing of the network is changed."""
    network = Network(space.graph(searchers.uniform(space, 1, seeded())[0]), seeded())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = synflow(network, images(1, space.input_shape))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.double().eval()
    with torch.no_grad(), plain_kernels():
        for weight in network.parameters():
            weight.abs_()
    with plain_kernels():
        output = network(torch.ones(1, *space.input_shape, dtype=torch.float64)).sum()
        output.backward()
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1]
    bias = 0.0 if linear.bias is None else (linear.bias * linear.bias.grad).sum()
    torch.testing.assert_close((linear.weight * linear.weight.grad).sum() + bias, output.detach())
    total = sum((w * w.grad).sum().item() for w in network.parameters() if w.grad is not None)
    assert found == pytest.approx(math.log(total))


def test_untrained_networks_are_normalised_by_the_images() -> None:
    """Synflow takes the statistics that naswot's pass over the images has."""
    batch = images(5, SPACE.input_shape)
    network = Network(SPACE.graph(ARCH), seeded())
    found = untrained(network, batch)
    again = Network(SPACE.graph(ARCH), seeded())
    assert found["naswot"] == naswot(again, batch)
    assert synflow(again, batch) != found["synflow"] == synflow(network, batch)
    norm = next(module for module in network.modules() if getattr(module, "running_var", None) is not None)
    seen = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad(), plain_kernels():
        network.train()(batch)
    torch.testing.assert_close(norm.running_var, seen[0].var((0, 2, 3)))


def test_a_vote_is_a_weighted_mean_of_ranks() -> None:
    """Ties share a rank, and nothing that is no number wins."""
    votes = vote(loss=[0.5, 1.0, 1.0, math.nan], naswot=[3.0, 2.0, 1.0, 0.0], synflow=[1.0, 2.0, 4.0, 3.0])
    by_loss, by_naswot, by_synflow = [3, 1.5, 1.5], [4, 3, 2], [1, 2, 4]
    expected = [(a + b + 0.25 * c) / (2.25 * 4) for a, b, c in zip(by_loss, by_naswot, by_synflow, strict=True)]
    assert votes.tolist() == pytest.approx([*expected, 0.0])


@pytest.mark.parametrize("space", [SPACE, micro(), CELLS], ids=lambda space: space.name)
def test_naswot_counts_the_relus_on_which_two_images_agree(space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written out: every ReLU's outputs, caught where torch is asked for them."""
    network, batch = Network(space.graph(searchers.uniform(space, 1, seeded())[0]), seeded()), images(5, (3, 8, 8))
    found, signs = naswot(network, batch), []
    original = functional.relu

    def relu(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        y = original(x, inplace)
        signs.append((y > 0).flatten(1))
        return y

    monkeypatch.setattr(functional, "relu", relu)
    network = Network(network.graph, seeded()).train()
    with torch.no_grad(), plain_kernels():
        network(batch)
    joined = torch.cat(signs, 1)
    agree = (joined[:, None] == joined[None]).sum(-1).double()
    assert found == pytest.approx(torch.logdet(agree).item(), rel=1e-5)


def test_images_that_look_the_same_lower_naswot_without_bound() -> None:
    network, batch = Network(SPACE.graph(ARCH), seeded()), images(5, (3, 8, 8))
    other = batch.clone()
    other[1] = other[0]
    assert naswot(network, other) == -math.inf < naswot(network, batch)


def test_what_is_known_is_not_computed_again(tmp_path: Path) -> None:
    from zerocost import zero_cost

    batch, path = images(4, SPACE.input_shape), tmp_path / "known.json"
    texts = [spaces.to_text(SPACE, arch) for arch in searchers.uniform(SPACE, 3, seeded())]
    first = zero_cost(SPACE, texts[:2], batch, path)
    known = json.loads(path.read_text())
    known[texts[0]] = {"synflow": 1.5, "naswot": 2.5}
    path.write_text(json.dumps(known))
    again = zero_cost(SPACE, texts, batch, path)
    assert again["synflow"][0] == 1.5 and again["naswot"][0] == 2.5
    assert again["synflow"][1] == first["synflow"][1] and len(json.loads(path.read_text())) == 3
    network = Network(SPACE.graph(spaces.from_text(texts[2])), generator(0, f"zero-cost/{texts[2]}"))
    assert untrained(network, batch) == pytest.approx({name: values[2] for name, values in again.items()})
