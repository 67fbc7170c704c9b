"""The supernet against networks of its own graphs, merged passes against plain ones, and single operations by hand."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from enas import supernet as supernet_module
from enas.config import SgdConfig
from enas.execute import module_getter, run_merged, run_plain
from enas.graph import Graph, GraphBuilder, Node, merge
from enas.network import Network, inherit
from enas.ops import OPS, BatchNorm, Context, Noise
from enas.spaces import Architecture, MacroSpace
from enas.supernet import Supernet
from enas.training import sgd
from tests.toys import images, macro, random_archs, seeded

INPUT = (3, 9, 7)
HUGE = 1 << 40


@dataclass(frozen=True)
class OneGraph:
    """As much of a space as the supernet needs."""

    graph: Graph
    decisions = ()

    def candidates(self) -> tuple[Node, ...]:
        return tuple(node for node in self.graph.nodes if node.key)


def graph_with(op: str) -> Graph:
    """A small network that contains the operation, odd in size and channels."""
    if op in ("mean_linear", "sum_bias", "relu_linear"):
        return head_graph()
    builder = GraphBuilder(INPUT)
    stem = builder.add("conv_bn_3x3", (0,), (5, 9, 7), "stem")
    other = builder.add("conv_bn_relu_3x3", (0,), (5, 9, 7), "other")
    if op in ("factorized_reduction", "padded_shortcut", "pooled_shortcut", "loose_end", "cell_input"):
        shape, inputs = (7, 5, 4), (stem,)
    elif op.startswith(
        ("conv_bn", "relu_conv_bn", "mbconv", "cell_sep_conv")
    ):  # these take their stride from the shapes
        shape, inputs = (6, 5, 4), (stem,)
    elif op == "rect_conv":
        shape, inputs, op = (6, 5, 4), (stem,), "rect_conv:5,3,2"
    elif op == "pad":
        shape, inputs = (5, 11, 8), (stem,)
    elif op.startswith(("cell_", "halving_")):
        shape, inputs = (5, 5, 4), (stem,)
    else:
        shape, inputs = (5, 9, 7), (stem, other) if op.startswith("sum") else (stem,)
    x = stem
    if not op.endswith("classifier"):
        without = op in ("padded_shortcut", "sum_relu", "sum", "pad", "zero") or op.startswith("halving_")
        x = builder.add(op, inputs, shape, "" if without else "it")
    if not op.startswith("sum"):  # so that every node is used
        if op == "pad":
            other = builder.add("pad", (other,), shape)
        small = builder.add("conv_bn_3x3", (other,), builder.shape(x), "small")
        x = builder.add("sum_norm", (x, small), builder.shape(x), "join")
    builder.add(op if op.endswith("classifier") else "classifier", (x,), (4, 1, 1), "classifier")
    return builder.graph()


def head_graph() -> Graph:
    """The ends of two layers, a hidden layer, logits."""
    builder = GraphBuilder(INPUT)
    ends = [builder.add("conv_bn_relu_3x3", (0,), (channels, 9, 7), f"conv{channels}") for channels in (4, 5)]
    parts = [builder.add("mean_linear", (end,), (6, 1, 1), f"mean{end}") for end in ends]
    builder.add("relu_linear", (builder.add("sum_bias", parts, (6, 1, 1), "hidden"),), (4, 1, 1), "classifier")
    return builder.graph()


def perturbed(module: nn.Module) -> None:
    """Batch norms away from weight 1 and bias 0, so that their parameters count."""
    generator = seeded(7)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, BatchNorm):
                part.weight.uniform_(0.5, 1.5, generator=generator)
                part.bias.uniform_(-0.5, 0.5, generator=generator)


@pytest.mark.parametrize("op", OPS)
def test_a_network_that_inherits_equals_the_supernet(op: str) -> None:
    graph = graph_with(op)
    assert op in {node.op.partition(":")[0] for node in graph.nodes}
    supernet = Supernet(OneGraph(graph), seeded(1))  # type: ignore[arg-type]
    perturbed(supernet)
    network = Network(graph, seeded(2))
    x = images(16, INPUT)
    assert (network(x) - supernet(x, [graph])[0]).abs().max() > 0.01  # before it inherits
    expected = check_inherits(network, supernet, x, 1e-6)
    assert (Network(graph, seeded(1)).eval()(x) - expected).abs().max() > 0.02 * expected.std()


def check_inherits(network: Network, supernet: Supernet, x: Tensor, tolerance: float) -> Tensor:
    """A network that inherits must equal the supernet in training and in evaluation. Returns the logits."""
    inherit(network, supernet)
    expected: Tensor = supernet(x, [network.graph])[0]
    torch.testing.assert_close(network.train()(x), expected, rtol=0, atol=tolerance)

    # Running statistics re-estimated on the same images hold the unbiased variance, n / (n - 1) times the batch's.
    norms = [part for part in network.modules() if isinstance(part, BatchNorm)]
    sizes: dict[BatchNorm, int] = {}
    for norm in norms:
        norm.momentum = 1.0
        norm.register_forward_pre_hook(lambda norm, args: sizes.update({norm: args[0].numel() // args[0].shape[1]}))
    network(x)
    network.eval()
    least = min(sizes.values())
    if least >= 16 * 5 * 4:  # that is up to 0.16 % of each layer's output
        torch.testing.assert_close(network(x), expected, rtol=0, atol=0.02 * expected.std().item())
    for norm in norms:
        n = sizes[norm]
        assert norm.running_var is not None
        norm.running_var *= (n - 1) / n
    torch.testing.assert_close(network(x), expected, rtol=0, atol=10 * tolerance)
    torch.testing.assert_close(network(x[:1]), expected[:1], rtol=0, atol=10 * tolerance)  # the batch no longer matters
    return expected


def duplicated(space: MacroSpace) -> list[Graph]:
    """Graphs that share prefixes, one of them twice, and different inputs to the same weights."""
    first = [0, 1, 0, 2, 1, 0]
    archs = [Architecture("macro", (op, *first[1:])) for op in (0, 3, 4)]
    archs += [Architecture("macro", (*first[:5], 1)), archs[0], *random_archs(space, 3)]
    return [space.graph(arch) for arch in archs]


@pytest.mark.parametrize("shape", [(3, 9, 7), (1, 8, 8)])
@pytest.mark.parametrize("noise", [None, Noise(5, 0.4)])
@pytest.mark.parametrize("concat_below", [0, 5 * 5 * 4 * 6 + 1, HUGE])
def test_merged_matches_plain(
    shape: tuple[int, int, int], noise: Noise | None, concat_below: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(supernet_module.CONCAT_BELOW, "cpu", concat_below)
    space = macro(3, shape, width=5)
    supernet = Supernet(space, seeded()).double()  # in float64, so that the order of sums does not matter
    perturbed(supernet)
    graphs = duplicated(space)
    x = images(6, shape).double()
    weights = torch.randn(len(graphs), 6, 5, generator=seeded(3), dtype=torch.float64)

    def run(forward: nn.Module) -> tuple[Tensor, dict[str, Tensor | None]]:
        supernet.zero_grad(set_to_none=True)
        logits = forward(x, graphs, noise)
        (logits * weights).sum().backward()
        return logits.detach(), {name: p.grad for name, p in supernet.named_parameters()}

    merged, merged_grads = run(supernet)
    plain, plain_grads = run(supernet.forward_plain)  # type: ignore[arg-type]
    assert merged.shape == (len(graphs), 6, 5)
    assert (merged[0] - merged[1]).abs().max() > 0.01
    torch.testing.assert_close(merged, plain, rtol=0, atol=1e-10)
    for name, gradient in plain_grads.items():
        if gradient is None:
            assert merged_grads[name] is None, name
        else:
            torch.testing.assert_close(merged_grads[name], gradient, rtol=0, atol=1e-9, msg=name)
    if noise is not None:
        assert (supernet(x, graphs) - merged).abs().max() > 0.01


def test_merged_runs_equal_nodes_once() -> None:
    space = macro(3, width=5)
    supernet = Supernet(space, seeded())
    graphs = duplicated(space)
    getter = module_getter(supernet.weights)  # type: ignore[arg-type]
    for concat_below in (0, HUGE):
        called: list[str] = []

        def modules(node: Node, called: list[str] = called) -> nn.Module:
            called.append(node.key)
            return getter(node)

        run_merged(merge(graphs), modules, images(2, (3, 8, 8)), None, concat_below)
        assert called.count("stem") == 1
        # 3 first operations are told apart by the hand-made graphs, and 3 random ones may repeat them
        assert 3 <= len({key for key in called if key.startswith("layer1/") and "norm" not in key}) <= 6


def test_dropout_masks_depend_on_seed_and_image_alone() -> None:
    space = macro(2)
    supernet = Supernet(space, seeded())
    graph = space.graph(Architecture("macro", (0, 1, 1)))
    x = images(4, (3, 8, 8))
    first = supernet(x, [graph], Noise(1, 0.5))[0]
    assert torch.equal(first, supernet(x, [graph, graph], Noise(1, 0.5))[1])
    assert not torch.allclose(first, supernet(x, [graph], Noise(2, 0.5))[0])


def test_supernet_norms_use_batch_statistics_in_evaluation_too() -> None:
    space = macro(3)
    supernet = Supernet(space, seeded())
    graphs = [space.graph(arch) for arch in random_archs(space, 2)]
    x = images(4, (3, 8, 8))
    assert torch.equal(supernet.train()(x, graphs), supernet.eval()(x, graphs))
    assert not list(supernet.buffers())


def test_a_step_leaves_unsampled_weights_alone() -> None:
    space = macro(3)
    supernet = Supernet(space, seeded())
    optimizer = sgd(supernet, SgdConfig(weight_decay=0.1, momentum=0.9))
    archs = [Architecture("macro", (0, 1, 1, 2, 0, 1)), Architecture("macro", (3, 1, 1, 4, 0, 0))]
    touched: set[nn.Parameter] = set()
    for step, arch in enumerate(archs):
        graph = space.graph(arch)
        keys = {node.key for node in graph.nodes}
        before = {name: p.detach().clone() for name, p in supernet.named_parameters()}
        buffers = {p: optimizer.state[p]["momentum_buffer"].clone() for p in supernet.parameters()}
        optimizer.zero_grad(set_to_none=True)
        supernet(images(8, (3, 8, 8), seed=step), [graph]).square().mean().backward()
        optimizer.step()
        for name, p in supernet.named_parameters():
            key = name.removeprefix("weights.").rsplit(".", name.count(".") - 1)[0]
            assert key in supernet.weights
            if key in keys:
                assert p.grad is not None, name
                assert not torch.equal(p, before[name]), name
                touched.add(p)
            else:
                assert p.grad is None, name
                assert torch.equal(p, before[name]), name
                assert torch.equal(optimizer.state[p]["momentum_buffer"], buffers[p]), name
                assert p in touched or not optimizer.state[p]["momentum_buffer"].any(), name
    assert len(touched) < len(list(supernet.parameters()))


@pytest.mark.parametrize("concat_below", [None, 0, HUGE])
def test_values_are_freed_at_their_last_use(concat_below: int | None) -> None:
    layers = 8
    space = macro(layers)
    # operations differ from the first layer on, and no skips: each graph is a chain
    choices = [[op if d.group == "op" else 0 for d in space.decisions] for op in (0, 1)]
    graphs = [space.graph(Architecture("macro", tuple(c))) for c in choices]
    supernet = Supernet(space, seeded())
    getter = module_getter(supernet.weights)  # type: ignore[arg-type]
    refs: list[weakref.ref[Tensor]] = []
    most = 0

    def modules(node: Node) -> nn.Module:
        def call(*inputs: Tensor, context: Context) -> Tensor:
            nonlocal most
            output: Tensor = getter(node)(*inputs, context=context)
            refs.append(weakref.ref(output))
            most = max(most, sum(ref() is not None for ref in refs))
            return output

        return call  # type: ignore[return-value]

    with torch.no_grad():
        if concat_below is None:
            run_plain(graphs[0], modules, images(2, (3, 8, 8)))
        else:
            run_merged(merge(graphs), modules, images(2, (3, 8, 8)), None, concat_below)
    assert len(refs) > 2 * layers
    # a value and what it is made of; together for two graphs; one after the other with what the second starts from
    assert most <= {None: 2, 0: 3, HUGE: 4}[concat_below]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7), (2, 5, 11)])
def test_channels_last_and_odd_sizes(shape: tuple[int, int, int]) -> None:
    space = macro(3, shape, width=3, double=True)
    supernet = Supernet(space, seeded())
    stem = supernet.weights["layer1/conv_3x3"].conv.weight  # type: ignore[union-attr]
    assert stem.is_contiguous(memory_format=torch.channels_last)  # type: ignore[operator]
    graphs = [space.graph(arch) for arch in random_archs(space, 4)]
    x = images(5, shape)
    assert supernet(x, graphs).shape == (4, 5, 5)
    torch.testing.assert_close(supernet(x.contiguous(), graphs), supernet(x, graphs), rtol=0, atol=1e-5)


def test_inherit_refuses_another_width_and_missing_weights() -> None:
    space = macro(3, width=4)
    supernet = Supernet(space, seeded())
    arch = random_archs(space, 1)[0]
    with pytest.raises(RuntimeError, match="only the searched width can inherit"):
        inherit(Network(space.scaled(width=6).graph(arch), seeded()), supernet)
    deeper = macro(4, width=4)
    with pytest.raises(KeyError, match="layer4"):
        inherit(Network(deeper.graph(random_archs(deeper, 1)[0]), seeded()), supernet)


def test_initial_weights_follow_from_the_generator_alone() -> None:
    space = macro(2)
    first, same, other = (Supernet(space, seeded(seed)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    stem = first["weights.stem.conv.weight"]
    assert not torch.equal(stem, other["weights.stem.conv.weight"])
    assert not first["weights.classifier.linear.bias"].any()
