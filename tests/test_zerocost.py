"""Zero-cost proxies against their definitions, written out."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from enas import searchers, spaces
from enas.config import NasBenchMacroOptions
from enas.network import Network
from tests.toys import images, macro, seeded

pytestmark = pytest.mark.usefixtures("benchmarks")
SPACE = macro(3)
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


def test_naswot_is_the_log_determinant_of_agreeing_signs() -> None:
    from zerocost import naswot

    space = spaces.build(NasBenchMacroOptions(width=4, head=8), (3, 32, 32), 10)
    network, batch = Network(space.graph(spaces.settled(space, [1] * 8)), seeded()), images(5, (3, 32, 32))
    found = naswot(network, batch)
    same = batch.clone()
    same[1] = same[0]
    assert math.isfinite(found) and naswot(network, same) < found - 10  # two equal rows


def test_what_is_known_is_not_computed_again(tmp_path: Path) -> None:
    from zerocost import zero_cost

    batch, path = images(4, SPACE.input_shape), tmp_path / "known.json"
    archs = searchers.uniform(SPACE, 3, seeded())
    first = zero_cost(SPACE, archs[:2], batch, path)
    known = json.loads(path.read_text())
    known[spaces.to_text(SPACE, archs[0])] = [1.5, 2.5]
    path.write_text(json.dumps(known))
    again = zero_cost(SPACE, archs, batch, path)
    assert again["synflow"][0] == 1.5 and again["naswot"][0] == 2.5
    assert again["synflow"][1] == first["synflow"][1] and len(json.loads(path.read_text())) == 3
