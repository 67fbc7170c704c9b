"""One architecture as a network of its own: for retraining, evaluation and export."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from enas.execute import module_getter, run_tapped
from enas.graph import Graph
from enas.ops import Noise, build, by_key, initialise
from enas.sliced import Sliced
from enas.supernet import Supernet


class Network(nn.Module):
    """A graph with its own weights and running batch-norm statistics."""

    def __init__(self, graph: Graph, generator: torch.Generator) -> None:
        super().__init__()
        self.graph = graph
        self.weights = by_key({node.key: build(node, running=True) for node in graph.nodes if node.key}, "a weight key")
        initialise(self, generator)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """Logits [N, classes] of images [N, C, H, W]; `noise` is that of a training step."""
        return self.tapped(images, noise, tap=False)[0]

    def tapped(self, images: Tensor, noise: Noise | None, tap: bool) -> tuple[Tensor, Tensor | None]:
        """The same, and where asked for what an auxiliary classifier reads [N, C, H, W]."""
        position = self.graph.auxiliary if tap else None
        return run_tapped(self.graph, module_getter(self.weights), images, noise, position)  # type: ignore[arg-type]


def inherit(network: Network, supernet: Supernet, routed: Graph | None = None) -> None:
    """Copy the shared weights that the network uses, at its sizes; running statistics stay as they are.

    routed: the network's graph with the keys that its weights have in the supernet (default: the same ones). Raises
    KeyError or RuntimeError where a weight is missing or has another shape.
    """
    with torch.no_grad():
        for node, shared_node in zip(network.graph.nodes, (routed or network.graph).nodes, strict=True):
            if not node.key:
                continue
            source = supernet.weights[shared_node.key]
            shared = source.tensors(node) if isinstance(source, Sliced) else dict(source.named_parameters())
            for name, parameter in network.weights[node.key].named_parameters():
                if shared[name].shape != parameter.shape:
                    raise RuntimeError(
                        f"{node.key}.{name} must have the shared shape {tuple(shared[name].shape)}, "
                        f"but the network has {tuple(parameter.shape)}; only the searched width can inherit"
                    )
                parameter.copy_(shared[name])
