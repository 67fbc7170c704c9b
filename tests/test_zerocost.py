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
from enas.naswot import naswot
from enas.network import Network
from enas.spaces import SearchSpace
from tests.toys import images, macro, micro, seeded

pytestmark = pytest.mark.usefixtures("benchmarks")
SPACE = macro(3)
CELLS = spaces.build(NasBench201Options(width=4, cells_per_stage=1), (3, 8, 8), 3)
ARCH = searchers.uniform(SPACE, 1, seeded())[0]


def test_synflow_is_homogeneous_in_the_weights() -> None:
    """Each layer's weights have the same sum of weight times gradient: the output, as all is linear in each of them."""
    from zerocost import synflow

    network = Network(SPACE.graph(ARCH), seeded())
    found = synflow(network, images(1, SPACE.input_shape))
    with torch.no_grad():
        output = network(torch.ones(1, *SPACE.input_shape, dtype=torch.float64)).sum()
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1]
    flow = (linear.weight * linear.weight.grad).sum()
    bias = (linear.bias * linear.bias.grad).sum() if linear.bias is not None else torch.tensor(0.0)
    torch.testing.assert_close(flow + bias, output)
    total = sum((w * w.grad).sum().item() for w in network.parameters() if w.grad is not None)
    assert found == pytest.approx(math.log(total))
    assert all(bool((w >= 0).all()) for w in network.parameters())


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
    archs = searchers.uniform(SPACE, 3, seeded())
    first = zero_cost(SPACE, archs[:2], batch, path)
    known = json.loads(path.read_text())
    known[spaces.to_text(SPACE, archs[0])] = {"synflow": 1.5, "naswot": 2.5}
    path.write_text(json.dumps(known))
    again = zero_cost(SPACE, archs, batch, path)
    assert again["synflow"][0] == 1.5 and again["naswot"][0] == 2.5
    assert again["synflow"][1] == first["synflow"][1] and len(json.loads(path.read_text())) == 3
