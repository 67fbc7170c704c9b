"""Networks as if they had been trained, and their exported modules, for the tests of exports."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from enas import spaces
from enas.export.module import Facts, module_source
from enas.export.outline import outline
from enas.export.weights import weights
from enas.graph import Graph
from enas.network import Network
from enas.spaces import Architecture, SearchSpace
from tests.toys import seeded


def trained(graph: Graph, seed: int = 1) -> Network:
    """A network with seeded weights and statistics, none of which are what they begin as."""
    network, draws = Network(graph, seeded(seed)), seeded(seed + 1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.ndim == 1:  # of batch norm, and biases
                noise = torch.rand(tensor.shape, generator=draws)
                tensor.copy_(noise + 0.5 if name.endswith(("running_var", "weight")) else noise - 0.5)
    return network.eval()


def facts(space: SearchSpace, arch: Architecture, **changes: Any) -> Facts:
    channels = space.input_shape[0]
    known: dict[str, Any] = {
        "text": spaces.to_text(space, arch),
        "description": tuple(space.describe(arch)),
        "input_shape": space.input_shape,
        "classes": tuple(f"class {i}" for i in range(space.num_classes)),
        "mean": (0.4,) * channels,
        "std": (0.25,) * channels,
    }
    return Facts(**(known | changes))


def module(source: str) -> dict[str, Any]:
    """What an exported module defines."""
    names: dict[str, Any] = {"__file__": "exported.py", "__name__": "exported"}
    exec(compile(source, "exported.py", "exec"), names)
    return names


def exported(network: Network, known: Facts, **options: Any) -> nn.Module:
    """The exported module's network, with the weights of the original."""
    made: nn.Module = module(module_source(network.graph, known))["Network"](**options)
    made.load_state_dict(weights(outline(network.graph), network))
    return made.eval()


def graph_facts(graph: Graph) -> Facts:
    """The same of a graph of no space."""
    classes = tuple(map(str, range(graph.nodes[-1].shape[0])))
    return Facts("own:0", (), graph.nodes[0].shape, classes, (0.5,), (0.5,))
