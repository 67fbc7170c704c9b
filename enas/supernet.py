"""The supernet: one set of shared weights that holds every candidate operation of a space."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from enas.execute import module_getter, run_merged, run_plain
from enas.graph import Graph, MergedGraph, Node, merge
from enas.ops import Noise, build, by_key, initialise
from enas.sliced import Sliced
from enas.spaces import Architecture, SearchSpace

# Numbers in an input below which stacking several architectures into one call pays. On two CPU cores
# it did not pay at any size that was measured; on a GPU launches dominate and it does.
CONCAT_BELOW = {"cpu": 0, "cuda": 1 << 26, "mps": 1 << 22}


class Supernet(nn.Module):
    """Shared weights, one module for each weight key of the space; where a key has several sizes, all of them.

    Batch norm uses batch statistics of each architecture, always. Modules that no chosen graph uses
    take no part in the pass, so their parameters get no gradient.

    splits: positions of the decisions for whose choices it has separate weights (enas/splitting.py); None: they have
    not been split so far.
    """

    splits: tuple[int, ...] | None = None

    def __init__(self, space: SearchSpace, generator: torch.Generator) -> None:
        super().__init__()
        nodes: dict[str, list[Node]] = {}
        for node in space.candidates():
            nodes.setdefault(node.key, []).append(node)
        self.weights = by_key({key: _shared(sizes, generator) for key, sizes in nodes.items()}, "a weight key")
        initialise(self, generator)
        self.to(memory_format=torch.channels_last)
        self._sizes = [len(decision.labels) for decision in space.decisions]

    def split(self, decisions: Sequence[int]) -> None:
        """From now on each combination of choices of these decisions has weights of its own, copies of the present
        ones. Once only."""
        assert self.splits is None, "shared weights are split once"
        self.splits = tuple(decisions)
        keys = list(self.weights)
        for part in range(1, math.prod(self._sizes[d] for d in self.splits)):
            for key in keys:
                self.weights[_key(key, part)] = copy.deepcopy(self.weights[key])

    def part(self, arch: Architecture) -> int:
        """Which of the weights are the architecture's: 0 where they are not split."""
        part = 0
        for d in self.splits or ():
            part = part * self._sizes[d] + arch.choices[d]
        return part

    def routed(self, arch: Architecture, graph: Graph) -> Graph:
        """The architecture's graph, with the keys of its part of the weights."""
        part = self.part(arch)
        nodes = (dataclasses.replace(node, key=_key(node.key, part)) if node.key else node for node in graph.nodes)
        return Graph(tuple(nodes), graph.auxiliary) if part else graph

    def forward(self, images: Tensor, graphs: Sequence[Graph], noise: Noise | None = None) -> Tensor:
        """Logits [A, N, classes] of A graphs on images [N, C, H, W], in one merged pass."""
        return self.run(images, merge(graphs), noise)

    def run(self, images: Tensor, merged: MergedGraph, noise: Noise | None = None) -> Tensor:
        """The same of graphs that are merged already."""
        below = concat_below(images.device)
        return run_merged(merged, module_getter(self.weights), images, noise, below)  # type: ignore[arg-type]

    def forward_plain(self, images: Tensor, graphs: Sequence[Graph], noise: Noise | None = None) -> Tensor:
        """The same, one graph after the other: slower, simpler, what `forward` is tested against."""
        modules = module_getter(self.weights)  # type: ignore[arg-type]
        return torch.stack([run_plain(graph, modules, images, noise) for graph in graphs])


def concat_below(device: torch.device) -> int:
    """Numbers in an input below which several architectures are stacked there. 0: never."""
    return CONCAT_BELOW.get(device.type, 0)


def _shared(nodes: Sequence[Node], generator: torch.Generator) -> nn.Module:
    """The weights of one key, from a node of every size that it has."""
    return build(nodes[0], running=False) if len(nodes) == 1 else Sliced(nodes, generator)


def _key(key: str, part: int) -> str:
    """A weight key in a part of split weights."""
    return f"{key} ({part})" if part else key
