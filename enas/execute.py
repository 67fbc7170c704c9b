"""Running graphs: one at a time (the plain twin), or many in one merged pass.

A architectures, N images. Weights come as a mapping from weight key to module, of which a node may use a
part; operations without weights are made on the spot.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from enas.errors import UserError
from enas.graph import Graph, MergedGraph, Node
from enas.ops import Context, Noise, build, drop_path
from enas.sliced import Sliced

Modules = Callable[[Node], Callable[..., Tensor]]


def module_getter(modules: Mapping[str, nn.Module]) -> Modules:
    """A function from node to its operation: by weight key, at the node's size, or a fresh weightless one.

    For one pass: weights of a size that are joined from parts are joined once.
    """
    parts: dict[tuple[object, ...], Callable[..., Tensor]] = {}

    def get(node: Node) -> Callable[..., Tensor]:
        if not node.key:
            return _weightless(node.op, node.in_shapes, node.shape)
        module = modules[node.key]
        if not isinstance(module, Sliced):
            return module
        size = (node.key, node.op, node.in_shapes, node.shape)
        if size not in parts:
            parts[size] = module.part(node)
        return parts[size]

    return get


@functools.lru_cache(maxsize=1024)
def _weightless(op: str, in_shapes: tuple[tuple[int, int, int], ...], shape: tuple[int, int, int]) -> nn.Module:
    module = build(Node(op, (), "", in_shapes, shape), running=False)
    if next(module.parameters(), None) is not None:
        raise UserError(f"operation {op} has weights, so its node must have a key, but it has none; give it one")
    return module


def run_plain(graph: Graph, modules: Modules, images: Tensor, noise: Noise | None = None) -> Tensor:
    """Logits [N, classes] of one graph, node by node."""
    return run_tapped(graph, modules, images, noise, None)[0]


def run_tapped(
    graph: Graph, modules: Modules, images: Tensor, noise: Noise | None, tap: int | None
) -> tuple[Tensor, Tensor | None]:
    """The same, and the output of node `tap` [N, C, H, W] if one is named."""
    values: list[Tensor | None] = [images]
    outputs = (len(graph.nodes) - 1,) if tap is None else (len(graph.nodes) - 1, tap)
    uses = MergedGraph(graph.nodes, outputs).uses()
    for node in graph.nodes[1:]:
        values.append(run_node(node, modules, (_value(values, i) for i in node.inputs), noise))
        _release(node, values, uses)
    return _value(values, len(values) - 1), None if tap is None else _value(values, tap)


def run_node(node: Node, modules: Modules, inputs: Iterable[Tensor], noise: Noise | None = None) -> Tensor:
    """What a pass does for one node by itself: its output, from those of its inputs in their order."""
    context = Context(1, noise, node.key)
    return drop_path(modules(node)(*inputs, context=context), node, context)


def run_merged(
    merged: MergedGraph,
    modules: Modules,
    images: Tensor,
    noise: Noise | None = None,
    concat_below: int = 0,
) -> Tensor:
    """Logits [A, N, classes] of many graphs: every shared node once, values freed at their last use.

    Nodes that use the same weights on different inputs run as one call on the stacked batch where an
    input has fewer than `concat_below` numbers; above that, copying costs more than it saves.
    """
    values: list[Tensor | None] = [None] * len(merged.nodes)
    values[0] = images
    uses = merged.uses()
    for call in merged.calls(together=concat_below > 0):
        nodes = [merged.nodes[i] for i in call]
        if len(call) > 1 and _value(values, nodes[0].inputs[0]).numel() < concat_below:
            module = modules(nodes[0])
            stacked = [
                torch.cat([_value(values, node.inputs[k]) for node in nodes]) for k in range(len(nodes[0].inputs))
            ]
            context = Context(len(call), noise, nodes[0].key)
            parts = drop_path(module(*stacked, context=context), nodes[0], context).chunk(len(call))
            for i, part in zip(call, parts, strict=True):
                values[i] = part
            del stacked, parts, part  # only `values` decides how long a tensor lives
            for node in nodes:
                _release(node, values, uses)
        else:
            for i, node in zip(call, nodes, strict=True):
                values[i] = run_node(node, modules, (_value(values, j) for j in node.inputs), noise)
                _release(node, values, uses)
    return torch.stack([_value(values, output) for output in merged.outputs])


def _value(values: Sequence[Tensor | None], position: int) -> Tensor:
    value = values[position]
    assert value is not None, "a value was freed before its last use"
    return value


def _release(node: Node, values: list[Tensor | None], uses: list[int]) -> None:
    """Drop the inputs that nobody reads any more."""
    for i in node.inputs:
        uses[i] -= 1
        if uses[i] == 0:
            values[i] = None
