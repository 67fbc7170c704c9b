"""Spaces: decisions, graphs, text and JSON forms, and hostile versions of these."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enas import spaces
from enas.config import SPACE_OPTIONS, MacroOptions, ResNet20Options
from enas.errors import UserError
from enas.spaces import Architecture, MacroSpace, ResNet20Space
from enas.spaces.macro import OPERATIONS
from tests.toys import all_archs, macro, macro_cases, random_archs

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("layers", [1, 2, 3, 6, 12, 64])
def test_macro_has_one_operation_and_a_bit_for_each_earlier_layer(layers: int) -> None:
    space = macro(layers)
    assert len(space.decisions) == layers * (layers + 1) // 2
    assert spaces.size(space) == 6**layers * 2 ** (layers * (layers - 1) // 2)
    assert sum(spaces.uniform_entropies(space).values()) == pytest.approx(math.log(spaces.size(space)))
    assert len({decision.name for decision in space.decisions}) == len(space.decisions)


def test_macro_decisions_of_three_layers() -> None:
    rows = [(d.name, len(d.labels), d.group, d.part, d.sources) for d in macro(3).decisions]
    assert rows == [
        ("layer1/op", 6, "op", 0, ()),
        ("layer2/op", 6, "op", 1, ()),
        ("layer2/skip1", 2, "skip", 1, (0,)),
        ("layer3/op", 6, "op", 2, ()),
        ("layer3/skip1", 2, "skip", 2, (0,)),
        ("layer3/skip2", 2, "skip", 2, (1,)),
    ]
    assert list(spaces.steps(macro(3))) == [(0,), (1,), (2,), (3,), (4, 5)]


def test_uniform_architectures_make_every_choice() -> None:
    space = macro(4)
    archs = random_archs(space, 300)
    for d, decision in enumerate(space.decisions):
        assert {arch.choices[d] for arch in archs} == set(range(len(decision.labels)))
    shares = spaces.choice_shares(space, archs)
    assert set(shares) == {"op", "skip"}
    assert set(shares["op"]) == set(OPERATIONS)
    assert all(sum(group.values()) == pytest.approx(1) for group in shares.values())
    assert spaces.choice_shares(macro(2), [Architecture("macro", (0, 0, 1)), Architecture("macro", (1, 0, 0))]) == {
        "op": {name: {"conv_3x3": 0.75, "conv_5x5": 0.25}.get(name, 0) for name in OPERATIONS},
        "skip": {"no": 0.5, "yes": 0.5},
    }


@pytest.mark.parametrize(
    ("layers", "size", "expected"),
    [
        (1, (8, 8), {1: (8, 8)}),
        (2, (8, 8), {1: (8, 8), 2: (4, 4)}),
        (3, (8, 8), {1: (8, 8), 2: (4, 4), 3: (2, 2)}),
        (4, (8, 6), {1: (8, 6), 2: (4, 3), 3: (2, 2), 4: (2, 2)}),
        (5, (9, 9), {1: (9, 9), 2: (5, 5), 3: (5, 5), 4: (3, 3), 5: (3, 3)}),
        (6, (9, 5), {1: (9, 5), 2: (9, 5), 3: (5, 3), 4: (5, 3), 5: (3, 2), 6: (3, 2)}),
        (12, (32, 32), {4: (32, 32), 5: (16, 16), 8: (16, 16), 9: (8, 8), 12: (8, 8)}),
    ],
)
@pytest.mark.parametrize("double", [False, True])
def test_macro_halves_the_resolution_after_one_and_two_thirds(
    layers: int, size: tuple[int, int], expected: dict[int, tuple[int, int]], double: bool
) -> None:
    space = macro(layers, (3, *size), width=4, double=double)
    for arch in random_archs(space, 5):
        shapes = {node.key: node.shape for node in space.graph(arch).nodes}
        assert shapes["stem"] == (4, *size)
        assert shapes["classifier"] == (5, 1, 1)
        for layer, (height, width) in expected.items():
            halvings = round(math.log2(size[0] / height))
            channels = 4 * 2**halvings if double else 4
            assert shapes[f"layer{layer}/norm"] == (channels, height, width)


def test_macro_graph_of_one_architecture_in_full() -> None:
    space = macro(3, (1, 9, 5), classes=2, width=4, double=True)
    graph = space.graph(Architecture("macro", (0, 5, 1, 3, 1, 0)))
    rows = [(node.op, node.inputs, node.key, node.shape) for node in graph.nodes]
    assert rows == [
        ("input", (), "", (1, 9, 5)),
        ("conv_bn_3x3", (0,), "stem", (4, 9, 5)),
        ("conv_3x3", (1,), "layer1/conv_3x3", (4, 9, 5)),
        ("sum_norm", (2,), "layer1/norm", (4, 9, 5)),
        ("factorized_reduction", (3,), "reduction1/layer1", (8, 5, 3)),
        ("max_pool_3x3", (4,), "layer2/max_pool_3x3", (8, 5, 3)),
        ("sum_norm", (5, 4), "layer2/norm", (8, 5, 3)),
        ("factorized_reduction", (6,), "reduction2/layer2", (16, 3, 2)),
        ("sep_conv_5x5", (7,), "layer3/sep_conv_5x5", (16, 3, 2)),
        ("factorized_reduction", (4,), "reduction2/layer1", (16, 3, 2)),
        ("sum_norm", (8, 9), "layer3/norm", (16, 3, 2)),
        ("classifier", (10,), "classifier", (2, 1, 1)),
    ]


@pytest.mark.parametrize("side", [(3, 8), (8, 3), (1, 1)])
def test_macro_refuses_images_that_vanish(side: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="at least 4 pixels"):
        macro(3, (3, *side))
    assert macro(3, (3, 4, 4)).graph(Architecture("macro", (0,) * 6)).nodes[-2].shape[1:] == (1, 1)


@settings(max_examples=60)
@given(macro_cases())
def test_candidates_hold_every_weight_of_every_architecture(case: tuple[MacroSpace, list[Architecture]]) -> None:
    space, archs = case
    candidates = {node.key: (node.op, node.in_shapes[0], node.shape) for node in space.candidates()}
    assert len(candidates) == len(space.candidates())
    for arch in archs:
        for node in space.graph(arch).nodes[1:]:
            assert candidates[node.key] == (node.op, node.in_shapes[0], node.shape)


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 7])
def test_candidates_hold_nothing_that_no_architecture_uses(layers: int) -> None:
    space = macro(layers)
    archs = all_archs(space) if layers <= 2 else random_archs(space, 60)
    used = {node.key for arch in archs for node in space.graph(arch).nodes if node.key}
    assert {node.key for node in space.candidates()} == used


@pytest.mark.parametrize("space", [macro(2), macro(3)])
def test_different_architectures_are_different_graphs(space: MacroSpace) -> None:
    graphs = {space.graph(arch) for arch in all_archs(space)}
    assert len(graphs) == spaces.size(space)


def test_describe() -> None:
    arch = Architecture("macro", (0, 5, 1, 4, 0, 0, 3, 1, 0, 1, 1, 1, 1, 1, 1, 2, 0, 0, 0, 0, 1))
    assert macro(6).describe(arch) == [
        "layer 1: conv_3x3",
        "layer 2: max_pool_3x3, skips from 1",
        "(resolution halved)",
        "layer 3: avg_pool_3x3",
        "layer 4: sep_conv_5x5, skips from 1 and 3",
        "(resolution halved)",
        "layer 5: conv_5x5, skips from 1, 2, 3 and 4",
        "layer 6: sep_conv_3x3, skips from 5",
    ]
    assert spaces.to_text(macro(6), arch) == "macro:0-51-400-3101-11111-200001"


@settings(max_examples=100)
@given(macro_cases())
def test_text_and_json_round_trips(case: tuple[MacroSpace, list[Architecture]]) -> None:
    space, archs = case
    for arch in archs:
        text = spaces.to_text(space, arch)
        assert spaces.from_text(text) == spaces.from_text(f"  {text.replace('-', '')}\n") == arch
        assert spaces.from_json(json.loads(json.dumps(arch.to_json()))) == arch
        spaces.validate(space, arch)
        assert len(space.describe(arch)) >= space.options.layers


def parses_or_refuses(parse: object, value: object) -> None:
    try:
        arch = parse(value)  # type: ignore[operator]
    except UserError as error:
        assert len(str(error)) < 400
        assert "\n" not in str(error)
        return
    for check in (lambda: spaces.validate(macro(3), arch), lambda: spaces.options_for(arch, MacroOptions())):
        try:
            check()
        except UserError as error:
            assert "\n" not in str(error)


@settings(max_examples=120)
@given(st.text() | st.from_regex(r"(macro|resnet20|nasbench-macro|x):[0-9a-z-]*", fullmatch=True))
def test_any_text_parses_or_is_refused(text: str) -> None:
    parses_or_refuses(spaces.from_text, text)


@settings(max_examples=120)
@given(
    JSON
    | st.fixed_dictionaries({"schema": st.just(1) | JSON, "space": st.just("macro") | JSON, "choices": JSON})
    | st.fixed_dictionaries({"schema": st.just(1), "space": st.text(), "choices": st.lists(st.integers(-1, 40))})
)
def test_any_json_parses_or_is_refused(value: object) -> None:
    parses_or_refuses(spaces.from_json, value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "macro",
        "0-31",
        "macro:0-3_1",
        "macro:0:1",
        "Makró 1:00",
        "macro:٣",
        "-a:0",
        "a-:0",
        "a--b:0",
        "A:0",
        "mäcro:0",
    ],
)
def test_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        spaces.from_text(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 2},
        {"schema": None},
        {"space": ""},
        {"space": 3},
        {"space": "a b"},
        {"space": "a-"},
        {"choices": ""},
        {"choices": "000"},
        {"choices": None},
        {"choices": {}},
        {"choices": [0, True, 0]},
        {"choices": [0, 1.0, 0]},
        {"choices": [0, -1, 0]},
        {"choices": [0, 36, 0]},
        {"choices": [[0]]},
    ],
)
def test_malformed_json_is_refused(changes: dict[str, object]) -> None:
    valid = {"schema": 1, "space": "macro", "choices": [0, 0, 0]}
    assert spaces.from_json(valid) == Architecture("macro", (0, 0, 0))
    with pytest.raises(UserError, match=f"{next(iter(changes))} must be"):
        spaces.from_json(valid | changes)


def test_very_long_input_is_refused_quickly_and_briefly() -> None:
    for text in ("x" * 10**6, "macro:" + "0" * 10**6, "macro:" + "!" * 10**6, "m" * 10**6 + ":0"):
        parses_or_refuses(spaces.from_text, text)
    parses_or_refuses(spaces.from_json, {"schema": 1, "space": "macro", "choices": [0] * 10**6})
    parses_or_refuses(spaces.from_json, {"schema": 1, "space": "m" * 10**6, "choices": [0]})
    parses_or_refuses(spaces.from_json, {"schema": 1, "space": "macro", "choices": [10**6] * 10**5})


def test_validate_says_what_must_hold() -> None:
    space = macro(3)
    with pytest.raises(UserError, match="belong to space macro, but it belongs to resnet20"):
        spaces.validate(space, Architecture("resnet20", ()))
    with pytest.raises(UserError, match="must have 6 choices, one per decision, but got 3"):
        spaces.validate(space, Architecture("macro", (0, 0, 0)))
    with pytest.raises(UserError, match=r"layer2/op must be in 0\.\.5, but got 6"):
        spaces.validate(space, Architecture("macro", (0, 6, 0, 0, 0, 0)))
    with pytest.raises(UserError, match=r"layer3/skip2 must be in 0\.\.1, but got -1"):
        spaces.validate(space, Architecture("macro", (0, 0, 0, 0, 0, -1)))


def test_scaled_changes_the_width_alone() -> None:
    space = macro(4, width=4)
    wide = space.scaled(width=10)
    assert (wide.options.width, space.options.width) == (10, 4)
    assert wide.decisions == space.decisions
    arch = random_archs(space, 1)[0]
    assert wide.graph(arch).nodes[1].shape[0] == 10
    assert [node.key for node in wide.graph(arch).nodes] == [node.key for node in space.graph(arch).nodes]
    for changes in ({"layers": 5}, {"width": 5, "depth": 1}):
        with pytest.raises(UserError, match="scales by width alone, but got (layers|depth)"):
            space.scaled(**changes)
        with pytest.raises(UserError, match="scales by width alone"):
            ResNet20Space(ResNet20Options(), (3, 8, 8), 10).scaled(**changes)


def test_options_for_infers_the_layers() -> None:
    wide = MacroOptions(layers=12, width=50)
    assert spaces.options_for(Architecture("macro", (0,) * 21), wide) == MacroOptions(layers=6, width=50)
    assert spaces.options_for(Architecture("macro", (0,)), ResNet20Options()) == MacroOptions(layers=1)
    assert spaces.options_for(Architecture("resnet20", ()), wide) == ResNet20Options()
    for wrong in (0, 2, 4, 5, 65 * 66 // 2, 10**5):
        with pytest.raises(UserError):
            spaces.options_for(Architecture("macro", (0,) * wrong), wide)
    with pytest.raises(UserError, match=f"must be one of {', '.join(SPACE_OPTIONS)}, but got 'atlas'"):
        spaces.options_for(Architecture("atlas", ()), wide)


def test_architectures_and_spaces_are_immutable_and_hashable() -> None:
    arch = Architecture("macro", (0, 1, 1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        arch.choices = ()  # type: ignore[misc]
    assert {arch: 1}[Architecture("macro", (0, 1, 1))] == 1
    assert {macro(3): 1}[macro(3)] == 1
    assert macro(3) != macro(4)


def test_resnet20_is_one_architecture() -> None:
    space = spaces.build(ResNet20Options(), (3, 32, 32), 10)
    assert spaces.size(space) == 1
    arch = spaces.from_text("resnet20:")
    spaces.validate(space, arch)
    assert spaces.to_text(space, arch) == "resnet20:"
    nodes = space.graph(arch).nodes
    assert sum(node.op.startswith("conv_bn") for node in nodes) == 19  # and the linear layer
    assert [node.shape for node in nodes if node.op == "padded_shortcut"] == [(32, 16, 16), (64, 8, 8)]
    assert [node.key for node in space.candidates()] == [node.key for node in nodes if node.key]
    assert len(space.describe(arch)) == 3
    assert isinstance(spaces.build(MacroOptions(), (3, 8, 8), 10), MacroSpace)
