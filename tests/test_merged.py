"""The merged pass beyond test_supernet.py: dropout, scale, memory, and no waiting for a GPU."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from enas.config import ResNet20Options
from enas.execute import module_getter, run_merged
from enas.graph import Graph, GraphBuilder, Node, Shape, merge
from enas.network import Network, inherit
from enas.ops import BUILT_IN, BatchNorm, Context, Noise, build
from enas.spaces import Architecture, MacroSpace, ResNet20Space
from enas.supernet import Supernet
from tests.toys import chain, images, macro, micro, nasbench201, nasbench_macro, random_archs, seeded

STACK = 1 << 40  # a concat_below that stacks every call of several nodes


def make_supernet(space: Any) -> Supernet:
    """A supernet whose batch norms differ from the identity, so that mixing them up shows."""
    supernet, generator = Supernet(space, seeded()), seeded(1)
    for module in supernet.modules():
        if isinstance(module, BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 2, generator=generator)
            nn.init.uniform_(module.bias, -1, 1, generator=generator)
    return supernet


def related(space: MacroSpace) -> list[Graph]:
    """Graphs with common prefixes, common weights on different inputs, and duplicates."""
    first, second = random_archs(space, 2, 5)
    tail = Architecture("macro", (*first.choices[:-1], 1 - first.choices[-1]))
    head = Architecture("macro", ((first.choices[0] + 1) % 6, *first.choices[1:]))
    return [space.graph(arch) for arch in (first, second, tail, first, head, second)]


@pytest.mark.parametrize("noise", [None, Noise(11, 0.5)])
@pytest.mark.parametrize("shape", [(1, 7, 10), (3, 9, 4)])
def test_networks_equal_the_merged_supernet(shape: Shape, noise: Noise | None) -> None:
    space = macro(5, shape, width=5, double=True)
    supernet, x = make_supernet(space), images(5, shape)
    graphs = related(space)
    together = supernet(x, graphs, noise)
    for graph, logits in zip(graphs, together, strict=True):
        network = Network(graph, seeded(99)).train()
        inherit(network, supernet)
        torch.testing.assert_close(network(x, noise), logits, rtol=0, atol=1e-5)


def test_every_operation_is_in_some_space() -> None:
    """An operation that no space uses would be dead code."""
    nodes = [*macro(6).candidates(), *macro(6, double=True).candidates()]
    nodes += [node for arch in random_archs(micro(), 9) for node in micro().graph(arch).nodes]
    for arch in random_archs(chain(), 9):
        nodes += [*chain().graph(arch).nodes, *chain(hidden=3).graph(arch).nodes]
    resnet = ResNet20Space(ResNet20Options(width=4), (3, 8, 8), 5)
    nodes += resnet.graph(Architecture("resnet20", ())).nodes
    for space in (nasbench201(), nasbench_macro()):
        nodes += [node for arch in random_archs(space, 9) for node in space.graph(arch).nodes]
    assert set(BUILT_IN) == {node.op.partition(":")[0] for node in nodes} - {"input"}


def test_stacked_architectures_of_very_different_scale_do_not_leak() -> None:
    space = macro(2)
    supernet, x = make_supernet(space), images(4, (3, 8, 8))
    graphs = [space.graph(Architecture("macro", (op, 2, 1))) for op in (0, 5)]
    modules = module_getter(supernet.weights)  # type: ignore[arg-type]
    before = run_merged(merge(graphs), modules, x, concat_below=STACK)
    with torch.no_grad():  # the second architecture's first layer grows; layer1/norm and layer 2 are shared
        for p in supernet.weights["layer1/max_pool_3x3"].parameters():
            p.mul_(100).add_(50)
    merged = run_merged(merge(graphs), modules, x, concat_below=STACK)
    torch.testing.assert_close(merged[0], before[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(merged, supernet.forward_plain(x, graphs), rtol=0, atol=1e-4)
    assert not torch.allclose(merged[1], before[1], atol=1e-2)


def test_no_stacked_copy_outlives_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    shape: Shape = (4, 8, 8)
    graphs = []
    for ops in (("conv_3x3", "conv_5x5"), ("sep_conv_3x3", "sep_conv_5x5")):
        builder = GraphBuilder((3, 8, 8))
        x = builder.add("conv_bn_3x3", (0,), shape, "stem")
        for i, op in enumerate(ops):  # the operations run alone, and the norms after them as one call
            x = builder.add("sum_norm", (builder.add(op, (x,), shape, f"{i}/{op}"),), shape, f"{i}/norm")
        builder.add("classifier", (x,), (5, 1, 1), "classifier")
        graphs.append(builder.graph())
    weights = nn.ModuleDict({node.key: build(node, running=False) for graph in graphs for node in graph.nodes[1:]})
    modules = module_getter(weights)  # type: ignore[arg-type]
    copies: list[weakref.ref[Tensor]] = []
    outputs: list[weakref.ref[Tensor]] = []
    concatenate, groups_seen = torch.cat, []

    def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
        copy = concatenate(tensors, dim)
        copies.append(weakref.ref(copy))
        return copy

    def watched(node: Node) -> Any:
        def call(*inputs: Tensor, context: Context) -> Tensor:
            alive = [copy for ref in copies if (copy := ref()) is not None]
            assert all(any(copy is x for x in inputs) for copy in alive), f"{node.key}: a copy is still there"
            # this call's inputs and the other graph's value, each of them one tensor or one of two stacked ones
            assert sum(ref() is not None for ref in outputs) <= 2, f"{node.key}: a value is still there"
            groups_seen.append(context.groups)
            with monkeypatch.context() as original:
                original.setattr(torch, "cat", concatenate)
                output: Tensor = modules(node)(*inputs, context=context)
            outputs.append(weakref.ref(output))
            return output

        return call

    monkeypatch.setattr(torch, "cat", cat)
    with torch.no_grad():
        run_merged(merge(graphs), watched, images(2, (3, 8, 8)), concat_below=STACK)
    assert groups_seen == [1, 1, 1, 2, 1, 1, 2, 2] and len(copies) == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_merged_matches_plain_and_never_waits() -> None:
    space = macro(5)
    supernet, x = make_supernet(space).cuda(), images(8, (3, 8, 8)).cuda()
    graphs, noise = related(space), Noise(5, 0.3)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        plain = supernet.forward_plain(x, graphs, noise)
        supernet(x, graphs, noise)  # the first calls load kernels
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            merged = supernet(x, graphs, noise)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        torch.testing.assert_close(merged, plain, rtol=0, atol=1e-4)
