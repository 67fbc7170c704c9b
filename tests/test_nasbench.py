"""Spaces nasbench201 and nasbench-macro: graphs, published counts, codes and networks."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from enas import spaces
from enas import supernet as supernet_module
from enas.config import MacroOptions, NasBench201Options, NasBenchMacroOptions, SgdConfig
from enas.cost import cost
from enas.errors import UserError
from enas.graph import signature
from enas.network import Network, inherit
from enas.ops import Context
from enas.ops.nasbench201 import PooledShortcut, ReluConvNorm, Zero
from enas.spaces import Architecture
from enas.spaces import nasbench201 as cells
from enas.spaces import nasbench_macro as chains
from enas.spaces.sketch import SKIP
from enas.supernet import Supernet
from enas.tables.accuracies import all_choices
from enas.tables.nasbench_macro import networks
from enas.training import sgd
from tests.samples import CELLS, CHAINS, cell_sample, macro_sample
from tests.test_cli import enas
from tests.test_cost import counted
from tests.test_draw import check_layout
from tests.test_search import TINY
from tests.test_supernet import check_inherits, perturbed
from tests.toys import images, nasbench201, nasbench_macro, random_archs, seeded

NONE, SKIPPED, CONV1, CONV3, AVG = range(5)
ZERO, MB3, MB5 = range(3)
BOTH = pytest.mark.parametrize("make", [nasbench201, nasbench_macro])
cell_archs = st.tuples(*[st.integers(0, 4)] * 6).map(lambda choices: Architecture("nasbench201", choices))
chain_archs = st.tuples(*[st.integers(0, 2)] * 8).map(lambda choices: Architecture("nasbench-macro", choices))


# ---- what is published


def test_parameters_and_macs_of_real_cells_are_the_published_ones() -> None:
    rows = cell_sample()
    assert 40 < len(rows) <= 50
    for row in rows:
        found = cost(CELLS.graph(cells.from_published(row["arch"])))
        assert found.params == round(1e6 * float(row["params_M"]))
        ones, threes = row["arch"].count("nor_conv_1x1"), row["arch"].count("nor_conv_3x3")
        # the published figure also counts the additions of the linear layer's bias
        assert found.macs == 7_783_050 + 3_932_160 * ones + 35_389_440 * threes - 10


def test_parameters_and_macs_of_real_chains_are_the_published_ones() -> None:
    sample = macro_sample()
    assert 40 < len(sample) <= 50
    for code, row in sample.items():
        found = cost(CHAINS.graph(chains.from_published(code)))
        assert (found.params, found.macs) == (row["params"], row["flops"])


@BOTH
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 11)])
def test_random_architectures_cost_what_torch_counts(make: Any, shape: tuple[int, int, int]) -> None:
    space = make(shape)
    graphs = [space.graph(arch) for arch in random_archs(space, 4)]
    assert [cost(graph) for graph in graphs] == [counted(graph) for graph in graphs]
    assert len({cost(graph) for graph in graphs}) > 2


PUBLISHED = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
CELL = Architecture("nasbench201", (CONV3, CONV1, AVG, SKIPPED, NONE, CONV3))


def test_the_published_forms() -> None:
    assert cells.from_published(PUBLISHED) == cells.from_published(f" {PUBLISHED}\n") == CELL
    assert spaces.to_text(nasbench201(), CELL) == "nasbench201:3-24-103"
    chain = Architecture("nasbench-macro", (0, 2, 0, 1, 2, 1, 0, 0))
    assert chains.from_published("02012100") == chain
    assert spaces.to_text(nasbench_macro(), chain) == "nasbench-macro:02012100"


@settings(max_examples=60)
@given(cell_archs, chain_archs)
def test_round_trips(cell: Architecture, chain: Architecture) -> None:
    for space, arch, module in ((nasbench201(), cell, cells), (nasbench_macro(), chain, chains)):
        assert module.from_published(module.to_published(arch)) == arch  # type: ignore[attr-defined]
        assert spaces.parse(space, spaces.to_text(space, arch)) == arch
        assert spaces.from_json(json.loads(json.dumps(arch.to_json()))) == arch
        assert spaces.options_for(arch, MacroOptions()) == type(space.options)()
        assert spaces.options_for(arch, space.options) == space.options


@pytest.mark.parametrize(
    "text",
    [
        "",
        PUBLISHED[:-1],
        PUBLISHED + "|",
        PUBLISHED.replace("~1", "~0"),
        PUBLISHED.replace("+", ""),
        PUBLISHED.replace("+", "-"),
        PUBLISHED + "+" + PUBLISHED,
        PUBLISHED.replace("none", "max_pool_3x3"),
        PUBLISHED.replace("none", "None"),
        PUBLISHED.replace("none", "n\none"),
        PUBLISHED.replace("|none~1", ""),
        "|" * 10**5,
    ],
)
def test_other_cells_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="must look like") as error:
        cells.from_published(text)
    assert len(str(error.value)) < 500 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "code", ["", "0201210", "020121000", "02012103", "0201210a", "02-012-100", " 2012100", "٠" * 8]
)
def test_other_codes_are_refused(code: str) -> None:
    with pytest.raises(UserError, match="must be 8 digits, each one of 0, 1, 2"):
        chains.from_published(code)


@settings(max_examples=100)
@given(st.text() | st.from_regex(r"[|+~a-z_0-9]*"))
def test_any_text_is_a_cell_and_a_code_or_refused(text: str) -> None:
    for module in (cells, chains):
        try:
            arch = module.from_published(text)  # type: ignore[attr-defined]
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert module.to_published(arch) == text.strip()  # type: ignore[attr-defined]


# ---- graphs


def test_sizes_of_the_spaces() -> None:
    assert (spaces.size(nasbench201()), spaces.size(nasbench_macro())) == (15_625, 6_561)
    for space in (nasbench201(), nasbench_macro()):
        assert sum(spaces.uniform_entropies(space).values()) == pytest.approx(math.log(spaces.size(space)))
        assert len({decision.name for decision in space.decisions}) == len(space.decisions)
        assert {decision.group for decision in space.decisions} == {"op"}
        assert all(len(step) == 1 for step in spaces.steps(space))


def test_graph_of_a_cell_in_full() -> None:
    """Odd sides, so that every halving rounds up; the convolution on edge 0-1 is dead but there."""
    arch = Architecture("nasbench201", (CONV3, CONV1, NONE, SKIPPED, NONE, AVG))
    graph = nasbench201((1, 9, 5), classes=2, width=4).graph(arch)
    rows = [(node.op, node.inputs, node.key, node.shape) for node in graph.nodes]
    first = [
        ("input", (), "", (1, 9, 5)),
        ("conv_bn_3x3", (0,), "stem", (4, 9, 5)),
        ("relu_conv_bn_3x3", (1,), "stage1/cell1/node1/from0/nor_conv_3x3", (4, 9, 5)),
        ("relu_conv_bn_1x1", (1,), "stage1/cell1/node2/from0/nor_conv_1x1", (4, 9, 5)),
        ("zero", (2,), "", (4, 9, 5)),
        ("sum", (3, 4), "", (4, 9, 5)),
        ("cell_avg_pool_3x3", (5,), "", (4, 9, 5)),
        ("sum", (1, 4, 6), "", (4, 9, 5)),
        ("relu_conv_bn_3x3", (7,), "stage2/block/conv1", (8, 5, 3)),
        ("relu_conv_bn_3x3", (8,), "stage2/block/conv2", (8, 5, 3)),
        ("pooled_shortcut", (7,), "stage2/block/shortcut", (8, 5, 3)),
        ("sum", (9, 10), "", (8, 5, 3)),
    ]
    assert rows[: len(first)] == first
    assert rows[-3:] == [
        ("sum", (21, 24, 26), "", (16, 3, 2)),
        ("sum_norm", (27,), "norm", (16, 3, 2)),
        ("relu_classifier", (28,), "classifier", (2, 1, 1)),
    ]
    assert graph.auxiliary == 27


def test_graph_of_a_chain_in_full() -> None:
    graph = nasbench_macro((1, 9, 8), classes=2, width=2, head=7).graph(chains.from_published("02010012"))
    rows = [(node.op, node.inputs, node.key, node.shape) for node in graph.nodes]
    assert rows == [
        ("input", (), "", (1, 9, 8)),
        ("conv_bn_relu_3x3", (0,), "stem", (2, 9, 8)),
        ("conv_bn_1x1", (1,), "layer1/identity", (4, 5, 4)),
        ("mbconv_5x5_e6", (2,), "layer2/mbconv_5x5_e6", (4, 5, 4)),
        ("sum", (3, 2), "", (4, 5, 4)),
        ("conv_bn_1x1", (4,), "layer3/identity", (8, 3, 2)),
        ("mbconv_3x3_e3", (5,), "layer4/mbconv_3x3_e3", (8, 3, 2)),
        ("sum", (6, 5), "", (8, 3, 2)),
        ("conv_bn_1x1", (7,), "layer6/identity", (16, 2, 1)),
        ("mbconv_3x3_e3", (8,), "layer7/mbconv_3x3_e3", (16, 2, 1)),
        ("sum", (9, 8), "", (16, 2, 1)),
        ("mbconv_5x5_e6", (10,), "layer8/mbconv_5x5_e6", (16, 2, 1)),
        ("sum", (11, 10), "", (16, 2, 1)),
        ("conv_bn_relu_1x1", (12,), "head", (7, 2, 1)),
        ("classifier", (13,), "classifier", (2, 1, 1)),
    ]
    assert graph.auxiliary == 8


@BOTH
def test_candidates_hold_every_weight_and_nothing_else(make: Any) -> None:
    space = make()
    used = {
        node.key: (node.op, node.in_shapes, node.shape)
        for arch in random_archs(space, 200)
        for node in space.graph(arch).nodes
        if node.key
    }
    assert {node.key: (node.op, node.in_shapes, node.shape) for node in space.candidates()} == used
    assert len(space.candidates()) == len(used)


def test_a_code_stands_for_the_network_that_its_graph_is() -> None:
    """Codes of one network, and they alone, have the same signature."""
    space = nasbench_macro(width=2)
    found, choices = networks(space), all_choices(space)
    assert len(np.unique(found)) == 3969
    assert np.array_equal(found[found], found)
    # all codes that differ in the last two stages alone: 9 * 9 * 9 * 9 of them, 21 * 21 networks
    part = [i for i in range(len(choices)) if tuple(choices[i, :2]) == (1, 0) and choices[i, 2] == 0]
    codes = {i: signature(space.graph(Architecture(space.name, tuple(map(int, choices[i]))))) for i in part}
    assert len(part) == 3**5 and len(set(codes.values())) == 7 * 21
    assert len({(found[i], code) for i, code in codes.items()}) == len({found[i] for i in part}) == 7 * 21
    # and of the first: a bottleneck has its place where there are two
    first = [i for i in range(len(choices)) if not choices[i, 2:].any()]
    assert len({signature(space.graph(Architecture(space.name, tuple(map(int, choices[i]))))) for i in first}) == 9


@BOTH
def test_spaces_scale_and_refuse_images_that_vanish(make: Any) -> None:
    with pytest.raises(UserError, match="scales by width (and depth|alone), but got layers"):
        make().scaled(width=8, layers=2)
    wide, arch = make().scaled(width=8), random_archs(make(), 1)[0]
    assert wide.options.width == 8 and wide.decisions == make().decisions
    assert cost(wide.graph(arch)).macs > cost(make().graph(arch)).macs
    smallest = 4 if make is nasbench201 else 8
    with pytest.raises(UserError, match=f"at least {smallest} pixels"):
        make((3, smallest - 1, 32))
    graph = make((3, smallest, smallest)).graph(random_archs(make(), 1)[0])
    assert graph.nodes[-2].shape[1:] == (1, 1)


# ---- words and pictures


def test_describe() -> None:
    assert nasbench201(cells_per_stage=2).describe(CELL) == [
        "cell",
        "  node 1: nor_conv_3x3(input)",
        "  node 2: nor_conv_1x1(input) + avg_pool_3x3(node 1)",
        "  output: skip_connect(input) + none(node 1) + nor_conv_3x3(node 2)",
        "3 stages of 2 cells, residual blocks between",
        f"published as {PUBLISHED}",
    ]
    assert nasbench_macro().describe(chains.from_published("02012100")) == [
        "(resolution halved)",
        "layer 1: conv_1x1 for an identity",
        "layer 2: mbconv_5x5_e6",
        "(resolution halved)",
        "layer 3: conv_1x1 for an identity",
        "layer 4: mbconv_3x3_e3",
        "layer 5: mbconv_5x5_e6",
        "(resolution halved)",
        "layer 6: mbconv_3x3_e3",
        "layer 7: identity",
        "layer 8: identity",
    ]


@settings(max_examples=25)
@given(cell_archs, chain_archs, st.integers(1, 3))
def test_sketches_say_what_the_architecture_says(cell: Architecture, chain: Architecture, per_stage: int) -> None:
    space = nasbench201(cells_per_stage=per_stage)
    inner, network = space.sketches(cell)
    check_layout(inner)
    check_layout(network)
    drawn = {(edge.source, edge.target): edge.label for edge in inner.edges}
    names = ("input", "node 1", "node 2", "output")
    chosen = {
        (names[source], names[node]): cells.OPERATIONS[choice]
        for (node, source), choice in zip(cells.EDGES, cell.choices, strict=True)
    }
    assert drawn == {edge: op for edge, op in chosen.items() if op != "none"}
    assert [box.label for box in network.boxes].count("cell") == 3 * per_stage

    (sketch,) = nasbench_macro().sketches(chain)
    check_layout(sketch)
    assert [box.kind for box in sketch.boxes[1:-2]] == [chains.OPERATIONS[choice] for choice in chain.choices]
    sums = sum(node.op == "sum" for node in nasbench_macro().graph(chain).nodes)
    assert sum(edge.kind == SKIP for edge in sketch.edges) == sums
    shapes = {node.shape for node in nasbench_macro().graph(chain).nodes[2:-1]}
    assert {box.stage for box in sketch.boxes[1:-1]} == {f"{h}x{w}\n{c} channels" for c, h, w in shapes}


# ---- operations and networks


def test_zero_stops_the_gradient_and_hides_what_is_infinite() -> None:
    x = torch.tensor([[[[1.0, math.inf]]]], requires_grad=True)
    zeros = Zero([(1, 1, 2)], (1, 1, 2), False)(x, Context())
    assert zeros.tolist() == [[[[0.0, 0.0]]]] and not zeros.requires_grad


def test_a_convolution_of_a_cell_by_hand() -> None:
    """ReLU comes first, and batch norm after the convolution; a stride of 2 keeps every second pixel's place."""
    x = torch.tensor([[[[-9.0, 2.0, -1.0], [5.0, -7.0, 1.0], [3.0, 4.0, -2.0]]]])
    for kernel, shape, taken in ((1, (1, 3, 3), x.relu()), (3, (1, 2, 2), torch.tensor([[[[0.0, 0.0], [3.0, 0.0]]]]))):
        op = ReluConvNorm([(1, 3, 3)], shape, False, kernel=kernel)
        op.conv.weight.data.zero_()[0, 0, kernel // 2, kernel // 2] = 2.0
        expected = nn.functional.batch_norm(2 * taken, None, None, training=True)
        torch.testing.assert_close(op(x, Context()), expected)


def test_pooled_shortcut_by_hand() -> None:
    shortcut = PooledShortcut([(1, 3, 3)], (2, 2, 2), running=False)
    shortcut.pointwise.weight.data = torch.tensor([1.0, -2.0])[:, None, None, None]
    out = shortcut(torch.arange(1.0, 10).view(1, 1, 3, 3), Context())[0]
    assert out[0].tolist() == [[3, 4.5], [7.5, 9]]  # of four pixels, of two, of one
    assert torch.equal(out[1], -2 * out[0])


@BOTH
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 11)])
def test_networks_that_inherit_equal_the_supernet(make: Any, shape: tuple[int, int, int]) -> None:
    space = make(shape)
    supernet = Supernet(space, seeded()).double()  # the last pixels are few and the norms sharp: float64
    perturbed(supernet)
    for arch in random_archs(space, 4, seed=shape[1]):
        network = Network(space.graph(arch), seeded(2)).double()
        check_inherits(network, supernet, images(16, shape).double(), 1e-9)


@BOTH
@pytest.mark.parametrize("concat_below", [0, 1 << 40])
def test_merged_equals_plain(make: Any, concat_below: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(supernet_module.CONCAT_BELOW, "cpu", concat_below)
    space = make()
    supernet = Supernet(space, seeded()).double()  # so that the order of sums does not matter
    perturbed(supernet)
    archs = random_archs(space, 5)
    archs += [archs[0], Architecture(space.name, (*archs[0].choices[:-1], (archs[0].choices[-1] + 1) % 3))]
    graphs, x = [space.graph(arch) for arch in archs], images(5, (3, 8, 8)).double()
    factors = torch.randn(len(graphs), 5, 5, generator=seeded(3), dtype=torch.float64)

    def run(forward: Any) -> tuple[Tensor, list[Tensor | None]]:
        supernet.zero_grad(set_to_none=True)
        logits: Tensor = forward(x, graphs)
        (logits * factors).sum().backward()  # type: ignore[no-untyped-call]
        return logits.detach(), [p.grad for p in supernet.parameters()]

    (merged, merged_grads), (plain, plain_grads) = run(supernet), run(supernet.forward_plain)
    torch.testing.assert_close(merged, plain, rtol=0, atol=1e-10)
    assert (merged[0] - merged[1]).abs().max() > 0.01
    for ours, theirs in zip(merged_grads, plain_grads, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def reference_mobile(network: Network, key: str, x: Tensor) -> Tensor:
    """An inverted bottleneck from torch's own layers."""
    part: Any = network.weights[key]

    def norm(y: Tensor, of: Any) -> Tensor:
        return nn.functional.batch_norm(y, None, None, of.weight, of.bias, training=True)

    y = norm(nn.functional.conv2d(x, part.expand.weight), part.norm1).relu()
    weight = part.depthwise.weight
    y = nn.functional.conv2d(y, weight, None, part.depthwise.stride, weight.shape[-1] // 2, groups=len(weight))
    return norm(nn.functional.conv2d(norm(y, part.norm2).relu(), part.project.weight), part.norm3)


def test_bottlenecks_are_residual_where_they_keep_the_shape() -> None:
    """Read inside a network: the first layer of a stage adds nothing, the second adds its input."""
    space = nasbench_macro()
    network = Network(space.graph(chains.from_published("21000000")), seeded()).train()
    perturbed(network)
    seen: dict[str, Tensor] = {}
    for key in ("stem", "layer3/identity"):
        network.weights[key].register_forward_hook(
            lambda module, inputs, output, key=key: seen.update({key: output if key == "stem" else inputs[0]})
        )
    network(images(6, (3, 8, 8)))
    first = reference_mobile(network, "layer1/mbconv_5x5_e6", seen["stem"])
    second = reference_mobile(network, "layer2/mbconv_3x3_e3", first) + first
    torch.testing.assert_close(seen["layer3/identity"], second, rtol=0, atol=1e-5)


def test_a_step_leaves_unsampled_and_dead_weights_alone() -> None:
    """A convolution behind which only zeros follow is in the graph, but nothing moves it, weight decay neither."""
    space = nasbench201()
    supernet = Supernet(space, seeded())
    optimizer = sgd(supernet, SgdConfig(weight_decay=0.1, momentum=0.9))
    graph = space.graph(Architecture(space.name, (CONV3, CONV1, NONE, SKIPPED, NONE, AVG)))
    before = {name: p.detach().clone() for name, p in supernet.named_parameters()}
    supernet(images(8, (3, 8, 8)), [graph]).square().mean().backward()
    optimizer.step()
    moved = {
        key
        for key, module in supernet.weights.items()
        for name, p in module.named_parameters()
        if not torch.equal(p, before[f"weights.{key}.{name}"])
    }
    dead = {key for key in supernet.weights if key.endswith("node1/from0/nor_conv_3x3")}
    assert len(dead) == 3 and dead <= {node.key for node in graph.nodes}
    assert moved == {node.key for node in graph.nodes if node.key} - dead


@BOTH
def test_inherit_and_different_graphs(make: Any) -> None:
    space = make()
    archs = list(dict.fromkeys(random_archs(space, 100)))
    assert len({space.graph(arch) for arch in archs}) > 0.8 * len(archs)
    with pytest.raises(RuntimeError, match="only the searched width can inherit"):
        inherit(Network(make(width=6).graph(archs[0]), seeded()), Supernet(space, seeded()))


# ---- the command line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nasbench-macro:02012100", "890,666 parameters, 47,327,744 MACs"),
        ("nasbench201:3-33-333", "1,531,546 parameters, 220,119,680 MACs"),
    ],
)
def test_show(text: str, expected: str, tmp_path: Any) -> None:
    shown = enas("show", text, "--output", tmp_path / "a.svg")
    assert shown.exit_code == 0 and expected in shown.output
    assert (tmp_path / "a.svg").stat().st_size > 1000
    smaller = enas("show", text, "--width", "8", "--json")
    assert 0 < json.loads(smaller.output)["params"] < json.loads(enas("show", text, "--json").output)["params"]


@pytest.mark.parametrize(
    ("name", "options"),
    [("nasbench201", ["width=4", "cells_per_stage=1"]), ("nasbench-macro", ["width=2", "head=4"])],
)
def test_a_search_and_its_retraining(name: str, options: list[str], tmp_path: Any) -> None:
    sizes = [text for text in TINY if not text.startswith("space.")] + [f"space.{option}" for option in options]
    sizes += ["epochs=1", "controller.warmup_epochs=0", "weights.steps=3", "derive.finalists=1"]
    tiny = [part for text in sizes for part in ("--set", text)]
    found = enas("search", "--space", name, *tiny, "--output", tmp_path / "run")
    assert found.exit_code == 0, found.output
    values = json.loads((tmp_path / "run" / "result.json").read_text())
    assert values["space"]["name"] == name and values["text"].startswith(f"{name}:")
    recipe = ["--epochs", "1", "--set", "precision=float32", "--set", "device=cpu", "--batch-size", "256"]
    assert enas("retrain", tmp_path / "run", *recipe).exit_code == 0
    again = enas("evaluate", tmp_path / "run" / "retrain", "--data", "digits", "--precision", "float32", "--json")
    assert json.loads(again.output)["arch"] == values["text"]
    wide = [*recipe, "--width", "8", "--output", tmp_path / "wide"]
    assert enas("retrain", tmp_path / "run", *wide).exit_code == 0
    params = [json.loads((tmp_path / name / "result.json").read_text())["params"] for name in ("run/retrain", "wide")]
    assert params[0] < params[1]


def test_scaled_to_the_published_sizes() -> None:
    """The presets search smaller networks than the published ones."""
    small = nasbench_macro((3, 32, 32), 10, width=8, head=256)
    assert small.scaled(width=32).options == NasBenchMacroOptions()
    small201 = nasbench201((3, 32, 32), 10, width=16, cells_per_stage=1)
    assert small201.scaled(depth=5).options == NasBench201Options()
    with pytest.raises(UserError, match="scales by width alone, but got depth"):
        small.scaled(depth=2)
