"""Space chain: decisions, graphs, the rule of joining layers, words and settings."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from enas import config, spaces
from enas.config import PRESETS, ChainOptions, MacroOptions, RetrainConfig, SearchConfig
from enas.cost import Cost, cost
from enas.errors import UserError
from enas.graph import signature
from enas.network import Network
from enas.ops import AuxiliaryClassifier
from enas.spaces import Architecture, ChainSpace
from enas.spaces.chain import Layer, loose_ends
from tests.test_cost import counted
from tests.test_supernet import perturbed
from tests.toys import all_archs, chain, chain_cases, check_text, images, random_archs, seeded

# two to four layers of height, width (1, 3, 5), filters (2, 3, 5), stride (1, 2) and, from the second on, a type
# before them and a bit for each earlier layer after them
SPACE = chain((1, 9, 5), classes=2)
# depth 4: 3x5 filters on the images; maximum; 1x3 of layer 1; 3x3 of layers 2 and 3
EXAMPLE = Architecture("chain", (2, 1, 2, 1, 0) + (1, 0, 0, 0, 0, 0) + (0, 0, 1, 0, 1, 1, 0) + (0, 1, 1, 2, 1, 0, 1, 1))
LAYERS = (
    Layer("conv", (0,), 3, 5, 3, 1),
    Layer("max_pool_3x3", (1,)),
    Layer("conv", (1,), 1, 3, 2, 2),
    Layer("conv", (2, 3), 3, 3, 5, 2),
)

# ---- decisions


def test_decisions_of_two_layers() -> None:
    space = chain(min_layers=1, max_layers=2, kernels=(1, 3), filters=(4,))
    rows = [(d.name, d.labels, d.group, d.part, d.sources, d.parent, d.parent_choices) for d in space.decisions]
    types = ("conv", "max_pool_3x3")
    assert rows == [
        ("depth", ("1", "2"), "depth", 0, (), None, ()),
        ("layer1/height", ("1", "3"), "height", 1, (), None, ()),
        ("layer1/width", ("1", "3"), "width", 1, (), None, ()),
        ("layer1/stride", ("1", "2"), "stride", 1, (), None, ()),
        ("layer2/type", types, "layer_type", 2, (), 0, (1,)),  # where there is a second layer
        ("layer2/height", ("1", "3"), "height", 2, (), 4, (0,)),  # where it is a convolution
        ("layer2/width", ("1", "3"), "width", 2, (), 4, (0,)),
        ("layer2/stride", ("1", "2"), "stride", 2, (), 4, (0,)),
        ("layer2/skip1", ("no", "yes"), "skip", 2, (1,), 4, (0,)),
    ]
    plain = chain(min_layers=1, max_layers=3, kernels=(3,), filters=(2, 4), strides=(1,), pooling=False, skips=False)
    assert [(d.name, d.parent, d.parent_choices) for d in plain.decisions] == [
        ("depth", None, ()),
        ("layer1/filters", None, ()),
        ("layer2/filters", 0, (1, 2)),
        ("layer3/filters", 0, (2,)),
    ]


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        # one layer 8; a second one: a pooling, or 8 with or without its input
        ({"min_layers": 1, "max_layers": 2}, 8 + 8 * (1 + 8 * 2)),
        ({"min_layers": 2, "max_layers": 2}, 8 * (1 + 8 * 2)),
        ({"min_layers": 1, "max_layers": 2, "pooling": False}, 8 + 8 * 8 * 2),
        ({"min_layers": 1, "max_layers": 2, "skips": False}, 8 + 8 * (1 + 8)),
        ({"min_layers": 1, "max_layers": 3, "kernels": (3,)}, 2 + 2 * 5 + 2 * 5 * (1 + 2 * 4)),
    ],
)
def test_size_is_the_number_of_architectures(changes: dict[str, Any], size: int) -> None:
    space = chain(**{"kernels": (3, 5), "filters": (2,), **changes})
    archs = all_archs(space)
    assert spaces.size(space) == len(archs) == len(set(archs)) == size
    for arch in archs:
        spaces.validate(space, arch)
    assert len({space.graph(arch) for arch in archs}) == size  # eight pixels: no stride is in vain


def test_the_default_space_is_large() -> None:
    space = chain((3, 32, 32), **dataclasses.asdict(ChainOptions()))
    per_layer = [4 * 4 * 4] + [1 + 4 * 4 * 4 * 2 ** (i - 1) for i in range(2, 13)]
    assert spaces.size(space) == sum(math.prod(per_layer[:depth]) for depth in range(4, 13))


# ---- graphs


def test_graph_of_one_architecture_in_full() -> None:
    assert SPACE.layers(EXAMPLE) == LAYERS
    assert loose_ends(LAYERS) == [4]
    graph = SPACE.graph(EXAMPLE)
    assert [(node.op, node.inputs, node.key, node.shape) for node in graph.nodes] == [
        ("input", (), "", (1, 9, 5)),
        ("rect_conv:3,5,1", (0,), "layer1/from0", (3, 9, 5)),
        ("sum_norm_relu", (1,), "layer1/norm", (3, 9, 5)),
        ("halving_max_pool_3x3", (2,), "", (3, 5, 3)),
        ("rect_conv:1,3,2", (2,), "layer3/from1", (2, 5, 3)),
        ("sum_norm_relu", (4,), "layer3/norm", (2, 5, 3)),
        ("rect_conv:3,3,2", (3,), "layer4/from2", (5, 3, 2)),
        ("rect_conv:3,3,2", (5,), "layer4/from3", (5, 3, 2)),
        ("sum_norm_relu", (6, 7), "layer4/norm", (5, 3, 2)),
        ("mean_linear", (8,), "classifier/from4", (2, 1, 1)),
        ("sum_bias", (9,), "classifier", (2, 1, 1)),
    ]
    assert graph.auxiliary == 5  # layer 3: ceil(2/3 * 4)


def test_smaller_inputs_are_padded_and_unread_layers_meet_in_the_classifier() -> None:
    space = chain((1, 9, 5), classes=2, hidden=6)
    # as above, but layer 3 reads the images at stride 1, and layer 4 layers 1 and 2
    choices = list(EXAMPLE.choices)
    choices[15:18], choices[23:26] = (0, 0, 0), (1, 1, 0)
    arch = Architecture("chain", tuple(choices))
    assert [layer.sources for layer in space.layers(arch)] == [(0,), (1,), (0,), (1, 2)]
    rows = [(node.op, node.inputs, node.key, node.shape) for node in space.graph(arch).nodes]
    assert rows[4:] == [
        ("rect_conv:1,3,1", (0,), "layer3/from0", (2, 9, 5)),
        ("sum_norm_relu", (4,), "layer3/norm", (2, 9, 5)),
        ("rect_conv:3,3,2", (2,), "layer4/from1", (5, 5, 3)),
        ("pad", (3,), "", (3, 9, 5)),
        ("rect_conv:3,3,2", (7,), "layer4/from2", (5, 5, 3)),
        ("sum_norm_relu", (6, 8), "layer4/norm", (5, 5, 3)),
        ("mean_linear", (5,), "classifier/from3", (6, 1, 1)),
        ("mean_linear", (9,), "classifier/from4", (6, 1, 1)),
        ("sum_bias", (10, 11), "hidden", (6, 1, 1)),
        ("relu_linear", (12,), "classifier", (2, 1, 1)),
    ]


@pytest.mark.parametrize("hidden", [0, 6])
def test_the_rule_of_joining_by_hand(hidden: int) -> None:
    """Inputs concatenated along the channels, smaller ones padded with zeros; one convolution; unread layers joined."""
    space = chain((3, 9, 6), classes=4, hidden=hidden, min_layers=4)
    layers = [
        (1, 2, 1, 1),  # 3x5, 3 filters, stride 2, of the images: 5x3
        (0, 1, 0, 2, 0, 0),  # 3x1, 5 filters, stride 1, of the images: 9x6
        (0, 2, 1, 1, 1, 1, 1),  # 5x3, 3 filters, stride 2, of layers 1 (padded) and 2: 5x3
        (1, 0, 0, 0, 0, 0, 0, 0),  # maximum of layer 3: 3x2
    ]
    arch = Architecture("chain", tuple(choice for layer in layers for choice in layer))
    network = Network(space.graph(arch), seeded()).double()
    perturbed(network)
    weights = dict(network.named_parameters())
    x = images(5, (3, 9, 6)).double()

    def layer(number: int, joined: Tensor, sources: tuple[int, ...], padding: tuple[int, int], stride: int) -> Tensor:
        kernel = torch.cat([weights[f"weights.layer{number}/from{source}.weight"] for source in sources], dim=1)
        y = F.conv2d(joined, kernel, None, stride, padding)
        mean, variance = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), keepdim=True, unbiased=False)
        scale, shift = (weights[f"weights.layer{number}/norm.norm.{name}"] for name in ("weight", "bias"))
        return F.relu((y - mean) / (variance + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None])

    first, second = layer(1, x, (0,), (1, 2), 2), layer(2, x, (0,), (1, 0), 1)
    assert first.shape[1:] == (3, 5, 3) and second.shape[1:] == (5, 9, 6)
    padded = torch.zeros(5, 3, 9, 6, dtype=torch.float64)
    padded[:, :, :5, :3] = first
    third = layer(3, torch.cat([padded, second], dim=1), (1, 2), (2, 1), 2)
    fourth = F.max_pool2d(F.pad(third, (1, 1, 1, 1)), 3, 2)  # after ReLU a zero is never above the maximum
    assert fourth.shape[1:] == (3, 3, 2)
    logits = fourth.mean((2, 3)) @ weights["weights.classifier/from4.weight"].T
    if hidden:
        logits = F.relu(logits + weights["weights.hidden.bias"]) @ weights["weights.classifier.weight"].T
    logits = logits + weights["weights.classifier.bias"]
    torch.testing.assert_close(network(x), logits, rtol=0, atol=1e-9)
    # layer 3 reads layer 2 alone: then layer 1 is a second end
    alone = Architecture("chain", (*arch.choices[:15], 0, *arch.choices[16:]))
    both = Network(space.graph(alone), seeded()).double()
    ends = [key for key in both.weights if key.startswith("classifier/")]
    assert ends == ["classifier/from1", "classifier/from4"]
    seen: dict[str, Tensor] = {}
    for key, module in both.weights.items():
        module.register_forward_hook(lambda module, inputs, output, key=key: seen.update({key: output}))  # type: ignore[misc]
    both(x)
    fourth = F.max_pool2d(F.pad(seen["layer3/norm"], (1, 1, 1, 1)), 3, 2)
    joined = torch.cat([seen["layer1/norm"].mean((2, 3)), fourth.mean((2, 3))], dim=1)
    matrix = torch.cat([both.weights[key].weight for key in ends], dim=1)  # type: ignore[list-item]
    key = "hidden" if hidden else "classifier"
    torch.testing.assert_close(seen[key], joined @ matrix.T + both.weights[key].bias)  # type: ignore[operator]


@settings(max_examples=60)
@given(chain_cases())
def test_every_graph_is_the_architectures(case: tuple[ChainSpace, list[Architecture]]) -> None:
    """Read back from the graph: what each layer reads, at which size, and which layers reach the classifier."""
    space, archs = case
    options = space.options
    for arch in archs:
        graph, layers = space.graph(arch), space.layers(arch)
        assert options.min_layers <= len(layers) <= options.max_layers
        keys = {node.key: node for node in graph.nodes if node.key}
        shapes = [space.input_shape]
        for i, layer in enumerate(layers, start=1):
            assert all(source < i for source in layer.sources)
            assert options.skips or layer.sources == (i - 1,)
            if layer.type != "conv":
                assert i > 1 and options.pooling and layer.sources == (i - 1,)
                channels, height, width = shapes[-1]
                shapes.append((channels, math.ceil(height / 2), math.ceil(width / 2)))
                continue
            assert {f"layer{i}/from{source}" for source in layer.sources} == {
                key for key in keys if key.startswith(f"layer{i}/from")
            }
            height, width = (max(shapes[source][side] for source in layer.sources) for side in (1, 2))
            for source in layer.sources:
                node = keys[f"layer{i}/from{source}"]
                assert node.in_shapes == ((shapes[source][0], height, width),)
                assert node.op.startswith(f"rect_conv:{layer.height},{layer.width},")
            shapes.append((layer.filters, math.ceil(height / layer.stride), math.ceil(width / layer.stride)))
            assert keys[f"layer{i}/norm"].shape == shapes[-1]
        read = {source for layer in layers for source in layer.sources}
        ends = {f"classifier/from{i}": (shapes[i],) for i in range(1, len(layers) + 1) if i not in read}
        assert {key: node.in_shapes for key, node in keys.items() if key.startswith("classifier/")} == ends
        assert ("hidden" in keys) == bool(options.hidden)
        assert graph.nodes[-1].key == "classifier" and graph.nodes[-1].shape == (5, 1, 1)


@settings(max_examples=40)
@given(chain_cases())
def test_candidates_name_every_size_and_nothing_else(case: tuple[ChainSpace, list[Architecture]]) -> None:
    space, archs = case
    options, candidates = space.options, space.candidates()
    assert len(set(candidates)) == len(candidates)
    sizes: dict[str, set[tuple[str, int, int]]] = {}
    for node in candidates:
        sizes.setdefault(node.key, set()).add((node.op, node.in_shapes[0][0], node.shape[0]))
    for arch in archs:
        for node in space.graph(arch).nodes:
            if node.key:
                known = sizes[node.key]
                assert node.shape[0] in {out for _, _, out in known}
                assert node.in_shapes[0][0] in {channels for _, channels, _ in known}
                assert node.op.partition(":")[0] in {op.partition(":")[0] for op, _, _ in known}
    wanted = {"classifier", *(["hidden"] if options.hidden else [])}
    for i in range(1, options.max_layers + 1):
        wanted |= {f"layer{i}/norm"} | {f"layer{i}/from{j}" for j in range(0 if options.skips else i - 1, i)}
        wanted |= {f"classifier/from{i}"} if options.skips or i >= options.min_layers else set()
    assert set(sizes) == wanted


def test_everything_in_the_candidates_is_used_by_some_architecture() -> None:
    for space in (chain(min_layers=1, max_layers=3), chain(min_layers=1, max_layers=3, skips=False)):
        used = {node.key for arch in random_archs(space, 300) for node in space.graph(arch).nodes if node.key}
        assert {node.key for node in space.candidates()} == used


def test_networks_that_differ_in_nothing_are_one_graph() -> None:
    """Of one pixel a stride leaves one pixel, and so does a pooling."""
    space = chain((3, 2, 2), min_layers=3, max_layers=3, strides=(1, 2, 3), skips=False)
    first = (1, 1, 0, 1)  # stride 2: one pixel

    def graph(second: tuple[int, ...], third: tuple[int, ...], before: tuple[int, ...] = first) -> Any:
        arch = Architecture("chain", before + second + third)
        spaces.validate(space, arch)
        return space.graph(arch)

    conv, strided, maximum = (0, 1, 1, 0, 0), (0, 1, 1, 0, 2), (1, 0, 0, 0, 0)
    assert graph(conv, maximum) == graph(strided, maximum) == graph(conv, maximum, before=(1, 1, 0, 2))
    assert graph(conv, maximum) != graph(maximum, conv)  # the weights' names
    assert signature(graph(conv, maximum)) == signature(graph(maximum, conv))
    two_pixels = (1, 1, 0, 0)
    assert graph(conv, maximum, before=two_pixels) != graph(strided, maximum, before=two_pixels)
    assert signature(graph(conv, maximum, before=two_pixels)) != signature(graph(maximum, conv, before=two_pixels))


@settings(max_examples=25)
@given(chain_cases(max_archs=1))
def test_any_image_suits_any_architecture(case: tuple[ChainSpace, list[Architecture]]) -> None:
    space, archs = case
    network = Network(space.graph(archs[0]), seeded())
    logits = network(images(3, space.input_shape))
    assert logits.shape == (3, 5) and bool(logits.isfinite().all())


@pytest.mark.parametrize(("side", "halvings"), [(32, 0), (63, 0), (64, 1), (130, 2)])
def test_large_images_are_halved_first(side: int, halvings: int) -> None:
    space = chain((3, side, side))
    graph = space.graph(random_archs(space, 1)[0])
    stem = [node for node in graph.nodes if node.key.startswith("stem")]
    assert [node.shape[0] for node in stem] == [2] * halvings
    assert {node.key for node in graph.nodes if node.key} <= {node.key for node in space.candidates()}
    assert all(node.shape[1] < 64 for node in graph.nodes[1 + halvings :])
    assert Network(graph, seeded())(images(2, (3, side, side))).shape == (2, 5)


def test_the_auxiliary_classifier_lies_two_thirds_down() -> None:
    space = chain(min_layers=1, max_layers=6, skips=False, pooling=False, strides=(1,))
    places = {}
    for arch in random_archs(space, 60):
        graph = space.graph(arch)
        node = None if graph.auxiliary is None else graph.nodes[graph.auxiliary]
        places[len(space.layers(arch))] = node and node.key
        if node:
            assert AuxiliaryClassifier(node.shape, 5)(torch.randn(4, *node.shape)).shape == (4, 5)
    expected = {1: None, 2: None, 3: 2, 4: 3, 5: 4, 6: 4}
    assert places == {depth: layer and f"layer{layer}/norm" for depth, layer in expected.items()}


# ---- cost


@pytest.mark.parametrize("changes", [{}, {"skips": False}, {"hidden": 7}])
def test_random_architectures_cost_what_torch_counts(changes: dict[str, Any]) -> None:
    space = chain((2, 9, 6), **changes)
    graphs = [space.graph(arch) for arch in random_archs(space, 6)]
    assert [cost(graph) for graph in graphs] == [counted(graph) for graph in graphs]
    assert len({cost(graph) for graph in graphs}) > 3


def test_one_architecture_costs_what_paper_and_pencil_give() -> None:
    convolutions = [(1 * 3 * 15, 45), (3 * 2 * 3, 15), ((3 + 2) * 5 * 9, 6)]  # weights, pixels; none of the pooling
    norms, classifier = 2 * (3 + 2 + 5), 5 * 2
    weights = sum(count for count, _ in convolutions)
    macs = sum(count * pixels for count, pixels in convolutions)
    assert cost(SPACE.graph(EXAMPLE)) == Cost(weights + norms + classifier + 2, macs + classifier)


# ---- text, words, pictures, scale


def test_describe() -> None:
    assert SPACE.describe(EXAMPLE) == [
        "layer 1: conv 3x5, 3 filters, stride 1, from the images",
        "layer 2: max_pool_3x3",
        "layer 3: conv 1x3, 2 filters, stride 2, from layer 1",
        "layer 4: conv 3x3, 5 filters, stride 2, from layers 2 and 3",
        "classifier: from layer 4",
    ]
    assert spaces.to_text(SPACE, EXAMPLE) == "chain:2-1210-100000-0010110-01121011"
    plain = chain(skips=False, min_layers=2, max_layers=2, hidden=9)
    assert plain.describe(Architecture("chain", (0, 0, 0, 0, 1, 0, 0, 0, 0))) == [
        "layer 1: conv 1x1, 2 filters, stride 1",
        "layer 2: max_pool_3x3",
        "classifier, 9 hidden units: from layer 2",
    ]


@settings(max_examples=60)
@given(chain_cases(max_archs=2))
def test_text_and_json_round_trips(case: tuple[ChainSpace, list[Architecture]]) -> None:
    space, archs = case
    try:
        space.options.check()
    except UserError:
        return
    for arch in archs:
        assert spaces.parse(space, spaces.to_text(space, arch)) == arch
        assert spaces.from_json(json.loads(json.dumps(arch.to_json()))) == arch
        assert spaces.options_for(arch, space.options) == space.options
        # the most layers are in the text; the fewest cannot be
        other = dataclasses.replace(space.options, max_layers=32 if space.options.max_layers < 32 else 31)
        found = spaces.options_for(arch, other)
        assert len(spaces.build(found, space.input_shape, 5).decisions) == len(arch.choices)
        assert len(space.describe(arch)) == len(space.layers(arch)) + 1
        (sketch,) = space.sketches(arch)
        assert len(sketch.boxes) == len(space.layers(arch)) + 2
        sources = [set() for _ in sketch.boxes]  # type: ignore[var-annotated]
        names = [box.name for box in sketch.boxes]
        for edge in sketch.edges:
            sources[names.index(edge.target)].add(names.index(edge.source))
        layers = space.layers(arch)
        assert sources == [set(), *(set(layer.sources) for layer in layers), set(loose_ends(layers))]


def test_sketch_of_one_architecture() -> None:
    (sketch,) = SPACE.sketches(EXAMPLE)
    assert sketch.title == "chain, 4 layers"
    assert [(box.label, box.kind, box.detail) for box in sketch.boxes] == [
        ("images", "input", "9x5x1"),
        ("conv 3x5", "conv_3x5", "3 channels, 9x5"),
        ("max_pool_3x3", "max_pool_3x3", "3 channels, 5x3"),
        ("conv 1x3", "conv_1x3", "2 channels, 5x3"),
        ("conv 3x3", "conv_3x3", "5 channels, 3x2"),
        ("classifier", "output", "2 classes"),
    ]
    assert [(edge.source, edge.target, edge.kind) for edge in sketch.edges] == [
        ("images", "layer 1", "main"),
        ("layer 1", "layer 2", "main"),
        ("layer 1", "layer 3", "skip"),
        ("layer 2", "layer 4", "skip"),
        ("layer 3", "layer 4", "main"),
        ("layer 4", "classifier", "main"),
    ]


@settings(max_examples=150)
@given(st.from_regex(r"chain:[0-3a-z-]{0,40}", fullmatch=True))
def test_any_text_parses_or_is_refused(text: str) -> None:
    check_text(SPACE.options, text)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("chain:", "must have 26 choices, one per decision, but got 0"),
        ("chain:2-1210-1000", "must have 26 choices, one per decision, but got 9; .*--set space"),
        ("chain:2-1210-100000-0010110", r"depth must be in 0\.\.1, but got 2"),  # three layers at most
        ("chain:2-1310-100000-0010110-01121011", r"layer1/width must be in 0\.\.2, but got 3"),
        ("chain:2-1210-100001-0010110-01121011", "layer2/skip1 must be 0, because it plays no part here, but got 1"),
        ("chain:1-1210-100000-0010110-01121011", "layer4/height must be 0, because it plays no part here"),
        ("chain:212101000000010110-01121011", "dashes must separate the parts: 'chain:2-1210-"),
        ("chain:" + "0" * 10**5, "but got 100000"),
    ],
)
def test_wrong_text_says_what_must_hold(text: str, match: str) -> None:
    with pytest.raises(UserError, match=match):
        arch = spaces.from_text(text)
        spaces.parse(spaces.build(spaces.options_for(arch, SPACE.options), (3, 8, 8), 5), text)


def test_options_for_finds_the_most_layers() -> None:
    deep = dataclasses.replace(SPACE.options, min_layers=6, max_layers=20)
    # the fewest come down with the most; then the depth is no decision, and its choice is missing
    assert spaces.options_for(Architecture("chain", EXAMPLE.choices[1:]), deep) == dataclasses.replace(
        deep, min_layers=4, max_layers=4
    )
    shallow = dataclasses.replace(SPACE.options, min_layers=1, max_layers=2)
    assert spaces.options_for(EXAMPLE, shallow) == dataclasses.replace(shallow, max_layers=4)
    found = spaces.options_for(EXAMPLE, MacroOptions())
    assert found == ChainOptions(max_layers=12)  # no number of layers fits the defaults: they stay


def test_scaled_keeps_proportions_and_decisions() -> None:
    space = chain(filters=(24, 36, 48, 64))
    assert [space.scaled(width=width).options.filters for width in (48, 12, 5, 25)] == [
        (48, 72, 96, 128),
        (12, 18, 24, 32),
        (5, 8, 10, 13),
        (25, 38, 50, 67),
    ]
    arch = random_archs(space, 1)[0]
    wide = space.scaled(width=48)
    spaces.validate(wide, arch)
    assert [node.key for node in wide.graph(arch).nodes] == [node.key for node in space.graph(arch).nodes]
    assert cost(wide.graph(arch)).macs >= 2 * cost(space.graph(arch)).macs
    for changes in ({"depth": 2}, {"width": 5, "layers": 1}):
        with pytest.raises(UserError, match="space chain scales by width alone, but got (depth|layers)"):
            space.scaled(**changes)
    with pytest.raises(UserError, match="filters must be .* rising"):
        chain(filters=(24, 25)).scaled(width=2)


# ---- settings


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"kernels": ()}, "kernels must be 1 to 36 rising whole numbers from 1 to 15, but got none"),
        ({"kernels": (3, 1)}, "kernels must be .* but got 3,1"),
        ({"kernels": (3, 3)}, "kernels must be .* but got 3,3"),
        ({"kernels": (1, 4)}, "kernels must be odd, so that a filter has a middle, but got 4"),
        ({"kernels": (1, 17)}, "kernels must be .* from 1 to 15, but got 1,17"),
        ({"filters": (0, 3)}, "filters must be .* from 1 to 4096, but got 0,3"),
        ({"filters": (3, 4097)}, "filters must be .* from 1 to 4096"),
        ({"filters": tuple(range(1, 38))}, "filters must be 1 to 36"),
        ({"strides": (0,)}, "strides must be .* from 1 to 8, but got 0"),
        ({"strides": (1, 9)}, "strides must be .* from 1 to 8, but got 1,9"),
        ({"min_layers": 4, "max_layers": 3}, "must not be more than the most, but got min_layers 4 and max_layers 3"),
        (
            {
                "min_layers": 2,
                "max_layers": 2,
                "kernels": (3,),
                "filters": (8,),
                "strides": (1,),
                "pooling": False,
                "skips": False,
            },
            "something must be left to decide",
        ),
        ({"min_layers": 1, "max_layers": 1, "kernels": (3,), "filters": (8,), "strides": (1,)}, "left to decide"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match):
        chain(**changes)
    for base in (SearchConfig(space=SPACE.options), RetrainConfig(space=SPACE.options)):
        with pytest.raises(UserError, match=match):
            config.check(config.update(base, {"space": changes}))


def test_lists_are_settings_like_others() -> None:
    base = SearchConfig(space=ChainOptions())
    changed = config.from_text(base, ["space.filters=8, 16,24", "space.kernels=3", "space.skips=no"]).space
    assert changed == ChainOptions(filters=(8, 16, 24), kernels=(3,), skips=False)
    plain = json.loads(json.dumps(config.to_dict(changed)))
    assert plain["filters"] == [8, 16, 24] and config.update(base, {"space": plain}).space == changed
    for value in (3, "3", [1.5], [True], ["3"], None, [[3]], {}):
        with pytest.raises(UserError, match="space.filters must be a list of whole numbers"):
            config.update(base, {"space": {"filters": value}})
    for text in ("", "3,", "a", "3;4", "1.5", "3 4"):
        with pytest.raises(UserError, match="space.filters must be a list of whole numbers"):
            config.from_text(base, [f"space.filters={text}"])


def test_presets_for_small_machines_have_small_chains() -> None:
    full = ChainOptions()
    for name in ("quick", "cpu"):
        search, retrain = PRESETS[name]("chain")
        assert isinstance(search.space, ChainOptions) and search.space == retrain.space
        assert max(search.space.filters) <= full.filters[0] and search.space.max_layers < full.max_layers
    assert PRESETS["cifar10-fast"]("chain")[0].space == full
