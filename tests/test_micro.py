"""Space micro: cells, their graphs and weights, and the networks that are stacked from them."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from enas import spaces
from enas import supernet as supernet_module
from enas.config import MacroOptions, MicroOptions, ResNet20Options, SgdConfig
from enas.errors import UserError
from enas.network import Network
from enas.ops import Noise
from enas.spaces import Architecture, MicroSpace
from enas.spaces.micro import OPERATIONS, Side, loose_ends
from enas.supernet import Supernet
from enas.training import sgd
from tests.test_supernet import check_inherits, perturbed
from tests.toys import (
    check_merged,
    check_text,
    images,
    macro,
    micro,
    micro_cases,
    nasbench201,
    nasbench_macro,
    random_archs,
    seeded,
)

SEP3, SEP5, AVG, MAX, IDENTITY = range(5)
HUGE = 1 << 40

# ---- decisions


@pytest.mark.parametrize("nodes", [1, 2, 5, 12])
def test_a_node_has_two_inputs_and_two_operations(nodes: int) -> None:
    space = micro(nodes)
    assert len(space.decisions) == 2 * 4 * nodes
    # node i chooses among the cell's two inputs and i - 1 nodes
    assert spaces.size(space) == math.prod((i + 1) ** 2 * 5**2 for i in range(1, nodes + 1)) ** 2
    assert sum(spaces.uniform_entropies(space).values()) == pytest.approx(math.log(spaces.size(space)))
    assert len({decision.name for decision in space.decisions}) == len(space.decisions)
    assert all(len(steps) == 1 for steps in spaces.steps(space))


def test_decisions_of_two_nodes() -> None:
    rows = [(d.name, len(d.labels), d.group, d.part, d.sources) for d in micro(2).decisions]
    expected = []
    for cell, first in (("normal", 0), ("reduction", 4)):  # parts: two cell inputs, two nodes
        for node in (1, 2):
            part, sources = first + node + 1, tuple(range(first, first + node + 1))
            for side in "xy":
                expected.append((f"{cell}/node{node}/{side}/input", node + 1, f"{cell}_input", part, sources))
            for side in "xy":
                expected.append((f"{cell}/node{node}/{side}/op", 5, f"{cell}_op", part, ()))
    assert rows == expected
    assert micro(2).decisions[4].labels == ("cell k-2", "cell k-1", "node 1")


# ---- graphs


def cells_of(*cells: list[tuple[int, int, int, int]]) -> Architecture:
    """An architecture from the nodes (x, y, operation of x, of y) of its normal and its reduction cell."""
    return Architecture("micro", tuple(choice for cell in cells for node in cell for choice in node))


EXAMPLE = cells_of([(0, 1, SEP3, IDENTITY), (0, 0, MAX, MAX)], [(1, 1, IDENTITY, AVG), (2, 0, IDENTITY, SEP5)])


def test_graph_of_one_architecture_in_full() -> None:
    graph = micro(2, (1, 9, 5), classes=2, width=2).graph(EXAMPLE)
    rows = [(node.op, node.inputs, node.key, node.shape) for node in graph.nodes]
    assert rows[:19] == [
        ("input", (), "", (1, 9, 5)),
        ("conv_bn_3x3", (0,), "stem", (6, 9, 5)),
        ("cell_input", (1,), "cell1/input0", (2, 9, 5)),
        ("cell_input", (1,), "cell1/input1", (2, 9, 5)),
        ("cell_sep_conv_3x3", (2,), "cell1/node1/x0/sep_conv_3x3", (2, 9, 5)),
        ("sum", (4, 3), "", (2, 9, 5)),
        ("cell_max_pool_3x3", (2,), "cell1/node2/x0/max_pool_3x3", (2, 9, 5)),
        ("cell_max_pool_3x3", (2,), "cell1/node2/y0/max_pool_3x3", (2, 9, 5)),
        ("sum", (6, 7), "", (2, 9, 5)),
        ("loose_end", (5,), "cell1/output2", (2, 9, 5)),
        ("loose_end", (8,), "cell1/output3", (2, 9, 5)),
        ("sum_norm", (9, 10), "cell1/norm", (2, 9, 5)),
        # the reduction cell: its inputs keep their resolution, what reads them halves it
        ("cell_input", (1,), "cell2/input0", (4, 9, 5)),
        ("cell_input", (11,), "cell2/input1", (4, 9, 5)),
        ("factorized_reduction", (13,), "cell2/node1/x1/identity", (4, 5, 3)),
        ("cell_avg_pool_3x3", (13,), "cell2/node1/y1/avg_pool_3x3", (4, 5, 3)),
        ("sum", (14, 15), "", (4, 5, 3)),
        ("cell_sep_conv_5x5", (12,), "cell2/node2/y0/sep_conv_5x5", (4, 5, 3)),
        ("sum", (16, 17), "", (4, 5, 3)),
    ]
    assert rows[19:23] == [
        ("loose_end", (18,), "cell2/output3", (4, 5, 3)),
        ("sum_norm", (19,), "cell2/norm", (4, 5, 3)),
        ("cell_input", (11,), "cell3/input0", (4, 5, 3)),  # of cell 1, halved
        ("cell_input", (20,), "cell3/input1", (4, 5, 3)),
    ]
    assert rows[-2][2:] == ("cell5/norm", (8, 3, 2))
    assert rows[-1] == ("relu_classifier", (len(rows) - 2,), "classifier", (2, 1, 1))


@pytest.mark.parametrize("side", [(8, 8), (9, 5), (4, 11), (7, 32)])
@pytest.mark.parametrize("cells_per_stage", [1, 3])
def test_reductions_halve_and_double(side: tuple[int, int], cells_per_stage: int) -> None:
    space = micro(2, (3, *side), cells_per_stage=cells_per_stage)
    for arch in random_archs(space, 3):
        graph = space.graph(arch)
        shapes = {node.key: node.shape for node in graph.nodes}
        channels, (height, width), number = 4, side, 0
        for stage in range(3):
            if stage:
                channels, height, width = 2 * channels, -(-height // 2), -(-width // 2)
            for _ in range(cells_per_stage + (stage > 0)):
                number += 1
                assert shapes[f"cell{number}/norm"] == (channels, height, width)
        assert f"cell{number + 1}/norm" not in shapes
        assert graph.auxiliary is not None
        assert graph.nodes[graph.auxiliary].key == f"cell{2 * cells_per_stage + 3}/norm"
        assert graph.nodes[graph.auxiliary].shape == (16, height, width)


@settings(max_examples=60)
@given(micro_cases())
def test_every_cell_is_the_architectures(case: tuple[MicroSpace, list[Architecture]]) -> None:
    """Read back from the graph: each node's inputs and operations, and which states leave the cell."""
    space, archs = case
    for arch in archs:
        graph, (normal, reduction) = space.graph(arch), space.cells(arch)
        keys = {node.key: i for i, node in enumerate(graph.nodes) if node.key}
        cells = 3 * space.options.cells_per_stage + 2
        for number in range(1, cells + 1):
            reducing = number % (space.options.cells_per_stage + 1) == 0
            cell = reduction if reducing else normal
            states = [keys[f"cell{number}/input{i}"] for i in (0, 1)]
            for i, sides in enumerate(cell, start=1):
                summands = []
                for name, side in zip("xy", sides, strict=True):
                    plain = side.op == "identity" and not (reducing and side.input < 2)
                    key = f"cell{number}/node{i}/{name}{side.input}/{side.op}"
                    summands.append(states[side.input] if plain else keys[key])
                    assert plain or graph.nodes[keys[key]].inputs == (states[side.input],)
                sums = [j for j, node in enumerate(graph.nodes) if (node.op, node.inputs) == ("sum", tuple(summands))]
                states += sums
                assert len(sums) == 1
            outputs = {key for key in keys if key.startswith(f"cell{number}/output")}
            assert outputs == {f"cell{number}/output{end}" for end in loose_ends(cell)}
            assert graph.nodes[keys[f"cell{number}/norm"]].inputs == tuple(
                keys[f"cell{number}/output{end}"] for end in loose_ends(cell)
            )


def test_loose_ends_by_hand() -> None:
    def ends(*inputs: tuple[int, int]) -> list[int]:
        return loose_ends(tuple((Side(x, "identity"), Side(y, "identity")) for x, y in inputs))

    assert ends((0, 1)) == [2]
    assert ends((0, 0), (0, 0)) == [1, 2, 3]  # a cell input that nobody reads leaves the cell too
    assert ends((1, 1), (2, 2), (2, 3)) == [0, 4]


def test_drop_path_grows_with_depth_and_spares_what_carries_the_input() -> None:
    space = micro(2, cells_per_stage=2)
    shares: dict[str, set[float]] = {}
    for arch in random_archs(space, 20):
        for node in space.graph(arch).nodes:
            dropped = node.op.startswith(("cell_sep_conv", "cell_avg_pool", "cell_max_pool"))
            assert (node.drop > 0) == dropped
            if dropped:
                shares.setdefault(node.key.split("/")[0], set()).add(node.drop)
    assert shares == {f"cell{number}": {number / 8} for number in range(1, 9)}


@settings(max_examples=40)
@given(micro_cases())
def test_candidates_hold_every_weight_of_every_architecture(case: tuple[MicroSpace, list[Architecture]]) -> None:
    space, archs = case
    candidates = {node.key: (node.op, node.in_shapes[0], node.shape) for node in space.candidates()}
    assert len(candidates) == len(space.candidates())
    for arch in archs:
        for node in space.graph(arch).nodes[1:]:
            if node.key:
                assert candidates[node.key] == (node.op, node.in_shapes[0], node.shape)


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_candidates_hold_one_node_for_each_choice_and_nothing_else(nodes: int) -> None:
    expected = {"stem", "classifier"}
    for number in range(1, 6):
        expected |= {f"cell{number}/input0", f"cell{number}/input1", f"cell{number}/norm"}
        expected |= {f"cell{number}/output{state}" for state in range(nodes + 2)}
        for i in range(1, nodes + 1):
            for state in range(i + 1):
                # an identity has weights only where it must halve
                ops = OPERATIONS if number in (2, 4) and state < 2 else OPERATIONS[:4]
                expected |= {f"cell{number}/node{i}/{side}{state}/{op}" for side in "xy" for op in ops}
    assert {node.key for node in micro(nodes).candidates()} == expected


def test_everything_in_the_candidates_is_used_by_some_architecture() -> None:
    space = micro(2, cells_per_stage=1)
    used = {node.key for arch in random_archs(space, 400) for node in space.graph(arch).nodes if node.key}
    assert {node.key for node in space.candidates()} == used


# ---- text, words, scale


def test_describe() -> None:
    assert micro(2, cells_per_stage=1).describe(EXAMPLE) == [
        "normal cell",
        "  node 1: sep_conv_3x3(cell k-2) + identity(cell k-1)",
        "  node 2: max_pool_3x3(cell k-2) + max_pool_3x3(cell k-2)",
        "  output: node 1 + node 2",
        "reduction cell",
        "  node 1: identity(cell k-1) + avg_pool_3x3(cell k-1)",
        "  node 2: identity(node 1) + sep_conv_5x5(cell k-2)",
        "  output: node 2",
        "3 stages of 1 normal cell, reduction cells between",
    ]
    assert spaces.to_text(micro(2), EXAMPLE) == "micro:0104-0033-1142-2041"


@settings(max_examples=60)
@given(micro_cases(max_nodes=12, max_archs=2))
def test_text_and_json_round_trips(case: tuple[MicroSpace, list[Architecture]]) -> None:
    space, archs = case
    for arch in archs:
        text = spaces.to_text(space, arch)
        assert spaces.parse(space, text) == arch
        assert spaces.from_json(json.loads(json.dumps(arch.to_json()))) == arch
        spaces.validate(space, arch)
        assert spaces.options_for(arch, MacroOptions()) == MicroOptions(nodes=space.options.nodes)
        assert len(space.describe(arch)) == 2 * (space.options.nodes + 2) + 1


@settings(max_examples=150)
@given(st.from_regex(r"micro:[0-9a-z-]{0,24}", fullmatch=True))
def test_any_text_parses_or_is_refused(text: str) -> None:
    check_text(MicroOptions(), text)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("micro:", "must have 8 choices for each node of a cell"),
        ("micro:0104", "must have 8 choices for each node of a cell .* but got 4"),
        ("micro:0104-2004", r"reduction/node1/x/input must be in 0\.\.1, but got 2"),
        ("micro:0105-0104", r"normal/node1/y/op must be in 0\.\.4, but got 5"),
        ("micro:0104-0104-0104-0105", r"reduction/node2/y/op must be in 0\.\.4"),
        ("micro:01040104", "dashes must separate the parts: 'micro:0104-0104'"),
        ("micro:" + "0" * 8 * 13, "nodes must be at most 12"),
        ("micro:" + "0" * 10**5, "nodes must be at most 12"),
    ],
)
def test_wrong_text_says_what_must_hold(text: str, match: str) -> None:
    with pytest.raises(UserError, match=match):
        arch = spaces.from_text(text)
        spaces.parse(spaces.build(spaces.options_for(arch, MicroOptions()), (3, 8, 8), 5), text)


def test_options_for_keeps_what_fits() -> None:
    options = MicroOptions(nodes=5, width=36, cells_per_stage=5)
    assert spaces.options_for(EXAMPLE, options) == dataclasses.replace(options, nodes=2)
    assert isinstance(spaces.build(options, (3, 8, 8), 10), MicroSpace)


def test_scaled_keeps_the_cells() -> None:
    space = micro(2, width=4, cells_per_stage=1)
    large = space.scaled(width=6, depth=3)
    assert large.options == MicroOptions(nodes=2, width=6, cells_per_stage=3)
    assert (space.options.width, space.options.cells_per_stage) == (4, 1)
    assert large.decisions == space.decisions and large.cells(EXAMPLE) == space.cells(EXAMPLE)
    assert space.scaled(depth=2).options == MicroOptions(nodes=2, width=4, cells_per_stage=2)
    first, deeper = (
        [(n.op, n.key, n.shape) for n in s.graph(EXAMPLE).nodes if n.key.startswith("cell1/")]
        for s in (space, space.scaled(depth=3))
    )
    assert first == deeper
    for changes in ({"nodes": 3}, {"width": 5, "layers": 3}):
        with pytest.raises(UserError, match="scales by width and depth, but got (nodes|layers)"):
            space.scaled(**changes)


@pytest.mark.parametrize("side", [(3, 8), (8, 3), (1, 1)])
def test_images_that_vanish_are_refused(side: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="at least 4 pixels"):
        micro(2, (3, *side))
    assert micro(2, (3, 4, 4)).graph(EXAMPLE).nodes[-2].shape[1:] == (1, 1)


# ---- stems: of every space


def stem(space: Any, arch: Architecture) -> list[tuple[str, str, tuple[int, int, int]]]:
    nodes = [node for node in space.graph(arch).nodes if node.key.startswith("stem")]
    assert [node.inputs for node in nodes] == [(i,) for i in range(len(nodes))]  # a chain from the images on
    assert {node.key for node in nodes} <= {node.key for node in space.candidates()}
    return [(node.op, node.key, node.shape) for node in nodes]


def of_every_space(shape: tuple[int, int, int]) -> list[tuple[Any, Architecture, int, str]]:
    """Spaces with an architecture, the channels of their stem and its operation."""
    resnet = spaces.build(ResNet20Options(width=8), shape, 5)
    return [
        (macro(2, shape, width=6), Architecture("macro", (0, 1, 1)), 6, "conv_bn_3x3"),
        (micro(2, shape, width=4), EXAMPLE, 12, "conv_bn_3x3"),
        (resnet, Architecture("resnet20", ()), 8, "conv_bn_relu_3x3"),
        (nasbench201(shape, width=6), Architecture("nasbench201", (2, 3, 0, 1, 2, 4)), 6, "conv_bn_3x3"),
        (nasbench_macro(shape, width=4), Architecture("nasbench-macro", (0, 1) * 4), 4, "conv_bn_relu_3x3"),
    ]


@pytest.mark.parametrize("size", [(32, 32), (63, 63), (8, 200), (200, 63)])
def test_small_images_meet_one_convolution(size: tuple[int, int]) -> None:
    for space, arch, channels, op in of_every_space((3, *size)):
        assert stem(space, arch) == [(op, "stem", (channels, *size))]


@pytest.mark.parametrize(
    ("size", "halved"),
    [
        ((64, 64), [(32, 32)]),
        ((65, 90), [(33, 45)]),
        ((128, 127), [(64, 64), (32, 32)]),
        ((224, 224), [(112,) * 2, (56,) * 2]),
    ],
)
def test_large_images_are_halved_first(size: tuple[int, int], halved: list[tuple[int, int]]) -> None:
    for space, arch, channels, op in of_every_space((3, *size)):
        expected = [
            ("conv_bn_relu_3x3", f"stem/halving{i}", (channels, *shape)) for i, shape in enumerate(halved, start=1)
        ]
        assert stem(space, arch) == [*expected, (op, "stem", (channels, *halved[-1]))]


@pytest.mark.slow
def test_large_images_run() -> None:
    for space, arch, _, _ in of_every_space((3, 65, 70)):
        network = Network(space.graph(arch), seeded())
        assert network(images(2, (3, 65, 70))).shape == (2, 5)


# ---- weights


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 7), (2, 5, 11)])
def test_networks_of_random_cells_equal_the_supernet(shape: tuple[int, int, int]) -> None:
    space = micro(4, shape, width=3)
    supernet = Supernet(space, seeded()).double()  # the last pixels are few and the norms sharp: float64
    perturbed(supernet)
    for arch in random_archs(space, 4, seed=shape[1]):
        network = Network(space.graph(arch), seeded(2)).double()
        check_inherits(network, supernet, images(16, shape).double(), 1e-9)


@pytest.mark.parametrize("noise", [None, Noise(5, 0.4, 0.5)])
@pytest.mark.parametrize("concat_below", [0, HUGE])
def test_merged_equals_plain(noise: Noise | None, concat_below: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(supernet_module.CONCAT_BELOW, "cpu", concat_below)
    space = micro(3, (3, 9, 7), width=3)
    supernet = Supernet(space, seeded()).double()  # so that the order of sums does not matter
    perturbed(supernet)
    archs = random_archs(space, 4)
    archs += [archs[0], Architecture("micro", (*archs[0].choices[:-1], (archs[0].choices[-1] + 1) % 5))]
    graphs, x = [space.graph(arch) for arch in archs], images(5, (3, 9, 7)).double()
    merged, _ = check_merged(supernet, graphs, x, noise)
    if noise is not None:
        without = supernet(x, graphs)
        for other in (Noise(5, 0.4), Noise(5, 0.0, 0.5), Noise(6, 0.4, 0.5)):
            assert (supernet(x, graphs, other) - merged).abs().max() > 0.01
            assert (without - merged).abs().max() > 0.01


def test_networks_with_noise_equal_the_merged_supernet() -> None:
    space, noise = micro(3, width=3), Noise(7, 0.3, 0.6)
    supernet, x = Supernet(space, seeded()).double(), images(6, (3, 8, 8)).double()
    graphs = [space.graph(arch) for arch in random_archs(space, 3)]
    for graph, logits in zip(graphs, supernet(x, graphs, noise), strict=True):
        network = Network(graph, seeded(1)).double()
        check_inherits(network, supernet, x, 1e-9)
        torch.testing.assert_close(network.train()(x, noise), logits, rtol=0, atol=1e-9)


def test_a_step_leaves_unsampled_weights_alone() -> None:
    space = micro(3)
    supernet = Supernet(space, seeded())
    optimizer = sgd(supernet, SgdConfig(weight_decay=0.1, momentum=0.9))
    for step, arch in enumerate(random_archs(space, 2)):
        graph = space.graph(arch)
        keys = {node.key for node in graph.nodes}
        before = {name: p.detach().clone() for name, p in supernet.named_parameters()}
        momenta = {p: optimizer.state[p]["momentum_buffer"].clone() for p in supernet.parameters()}
        optimizer.zero_grad(set_to_none=True)
        logits = supernet(images(8, (3, 8, 8), seed=step), [graph])
        logits.square().mean().backward()
        optimizer.step()
        moved = set()
        for key, module in supernet.weights.items():
            for name, p in module.named_parameters():
                same = torch.equal(p, before[f"weights.{key}.{name}"])
                assert same == (key not in keys), key
                assert torch.equal(optimizer.state[p]["momentum_buffer"], momenta[p]) == same
                moved |= set() if same else {key}
        assert moved == {node.key for node in graph.nodes if node.key and "_pool_" not in node.op}


def test_every_choice_has_a_parameter_of_its_own() -> None:
    """No tensor is shared by two keys, and no key by two choices of (cell, node, side, input, operation)."""
    supernet = Supernet(micro(2), seeded())
    parameters = [p for module in supernet.weights.values() for p in module.parameters()]
    assert len({p.data_ptr() for p in parameters}) == len(parameters) == len(list(supernet.parameters()))
    convolutions = [key for key in supernet.weights if "sep_conv" in key]
    assert len(convolutions) == 5 * 2 * 2 * (2 + 3)  # cells, kernels, sides, inputs of the two nodes

    def gradients(arch: Architecture) -> set[str]:
        supernet.zero_grad(set_to_none=True)
        supernet(images(4, (3, 8, 8)), [micro(2).graph(arch)]).square().mean().backward()
        return {key for key in convolutions for p in supernet.weights[key].parameters() if p.grad is not None}

    # the same operation on the same input, on either side and in either node
    rest = (0, 0, AVG, AVG)
    sides = [gradients(cells_of([node, rest], [rest, rest])) for node in ((0, 0, SEP3, MAX), (0, 0, MAX, SEP3))]
    nodes = gradients(cells_of([rest, (0, 0, SEP3, MAX)], [rest, rest]))
    inputs = gradients(cells_of([(1, 0, SEP3, MAX), rest], [rest, rest]))
    used = [*sides, nodes, inputs]
    assert all(len(keys) == 3 for keys in used)  # once in each of the three normal cells
    assert len(set.union(*used)) == sum(map(len, used))


def test_a_node_may_read_one_state_twice() -> None:
    """Both sides identity: the sum is twice the input, and a value is not freed between its two uses."""
    arch = cells_of([(0, 0, IDENTITY, IDENTITY), (2, 2, IDENTITY, IDENTITY)], [(1, 1, AVG, AVG), (2, 2, IDENTITY, MAX)])
    space = micro(2)
    supernet, x, graph = Supernet(space, seeded()), images(4, (3, 8, 8)), space.graph(arch)
    summed = [node for node in graph.nodes if node.op == "sum" and node.inputs[0] == node.inputs[1]]
    assert len(summed) == 6
    torch.testing.assert_close(
        supernet(x, [graph, graph]), supernet.forward_plain(x, [graph, graph]), rtol=0, atol=1e-5
    )


def test_relu_comes_before_the_classifier() -> None:
    """The authors end with ReLU, mean, linear layer; the last cell ends with its norm."""
    space = micro(1)
    network = Network(space.graph(cells_of([(0, 1, AVG, AVG)], [(0, 1, AVG, AVG)])), seeded())
    norm, classifier = network.weights["cell5/norm"], network.weights["classifier"]
    seen: list[Tensor] = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = network(images(3, (3, 8, 8)))
    assert isinstance(classifier.linear, nn.Linear)
    torch.testing.assert_close(logits, classifier.linear(seen[0].relu().mean((2, 3))), rtol=0, atol=1e-6)
    assert (seen[0] < 0).any()


def test_different_architectures_are_different_graphs() -> None:
    space = micro(3)
    archs = list(dict.fromkeys(random_archs(space, 200)))
    assert len({space.graph(arch) for arch in archs}) == len(archs)
