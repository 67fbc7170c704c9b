"""Profiles that are made in no time: the stopwatch tells what a formula says."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from enas.graph import Node
from enas.latency import Calibration, Clock, Machine, Measured, Meter, NodeShape, Profile, Timing, profile_for
from enas.latency import measure as measuring
from enas.network import Network
from enas.runtime import Runtime
from enas.spaces import SearchSpace
from tests.toys import macro

CPU = Runtime(torch.device("cpu"), torch.float32, 1)
OVERHEAD_MS = 3.0
MACHINE = Machine("cpu", "Some Processor", 1, "float32", "2.6.0", "C++")
MADE = Profile(
    MACHINE,
    {"torch": "2.6.0"},
    2,
    macro(1),
    {NodeShape("conv_3x3", ((4, 8, 8),), (4, 8, 8)): Timing(0.5, 0.4, 0.7, 30)},
    Calibration(1.5, 0.25, (Measured("macro:0", 2.0, 3.25),)),
)


def ms_of(node: Node | NodeShape) -> float:
    """A time that tells all nodes apart, for a stopwatch that does not run."""
    return 0.25 + sum(map(len, node.op.split("_"))) + sum(math.prod(shape) for shape in node.in_shapes) / 64


def pretend(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Time stands still but for what nodes take by `ms_of`, twice that within a network, and an overhead for each
    network. Returns a log of the nodes that ran."""
    passed_s, log = 0.0, []
    original, forward = measuring.run_node, Network.forward

    def node(node: Node, modules: Any, inputs: Any, noise: Any = None) -> Tensor:
        nonlocal passed_s
        passed_s += ms_of(node) / 1e3
        log.append(str(NodeShape.of(node)))
        return original(node, modules, inputs, noise)

    def network(self: Network, x: Tensor, noise: Any = None) -> Tensor:
        nonlocal passed_s
        passed_s += (2 * sum(map(ms_of, self.graph.nodes[1:])) + OVERHEAD_MS) / 1e3
        return forward(self, x, noise)

    monkeypatch.setattr(measuring, "run_node", node)
    monkeypatch.setattr(Network, "forward", network)
    monkeypatch.setattr(measuring, "Clock", lambda wait: Clock(wait, lambda: passed_s))
    for name, value in (("LEAST", 1), ("MOST", 1), ("NETWORK_LEAST", 2), ("NETWORK_MOST", 2), ("WARMUP", 1)):
        monkeypatch.setattr(measuring, name, value)
    return log


def profiled(space: SearchSpace, batch_size: int = 2, **more: Any) -> Profile:
    return profile_for(space, Meter(CPU, batch_size), **more)
