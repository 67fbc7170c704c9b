"""Nodes that a profile lacks: few are missing, and no search ends at one of them."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import pytest
import torch

from enas import spaces
from enas.data import DataSet, load
from enas.graph import Shape
from enas.latency import Estimated, NodeShape, Profile, Timing, node_shapes, write_profile
from enas.latency.measure import Kind, _likeliest
from enas.latency.nodes import _combined
from enas.spaces import SearchSpace
from tests.test_limits import profiled
from tests.test_search import assert_same_run, run, tiny
from tests.toys import chain, macro, random_archs


def node(op: str, before: Shape, after: Shape) -> NodeShape:
    return NodeShape(op, (before,), after)


def without(profile: Profile, *names: str) -> Profile:
    """The profile without these nodes."""
    nodes = {shape: timing for shape, timing in profile.nodes.items() if str(shape) not in names}
    assert len(nodes) == len(profile.nodes) - len(names)
    return dataclasses.replace(profile, nodes=nodes)


def test_what_is_seen_at_one_resolution_is_expected_at_others() -> None:
    seen = [
        node("pad", (8, 1, 1), (8, 4, 4)),
        node("pad", (8, 2, 2), (8, 4, 4)),
        node("pad", (24, 2, 2), (24, 4, 4)),
        node("pad", (24, 1, 1), (24, 2, 2)),
        node("rect_conv:3,3,1", (3, 8, 8), (8, 8, 8)),  # images
        node("rect_conv:3,3,1", (8, 8, 8), (8, 8, 8)),
        node("rect_conv:3,5,1", (8, 8, 8), (8, 8, 8)),
        node("rect_conv:3,5,1", (8, 4, 4), (8, 4, 4)),
        node("rect_conv:3,3,2", (8, 8, 8), (8, 4, 4)),
        *(NodeShape("sum_norm_relu", ((8, 4, 4),) * count, (8, 4, 4)) for count in (1, 2, 3)),
        node("sum_norm_relu", (8, 8, 8), (8, 8, 8)),
    ]
    more = set(map(str, _combined(seen))) - set(map(str, seen))
    assert more == {
        "pad from 24x1x1 to 24x4x4",
        "pad from 8x1x1 to 8x2x2",
        "rect_conv:3,5,1 from 3x8x8 to 8x8x8",
        "rect_conv:3,3,1 from 8x4x4 to 8x4x4",
        "sum_norm_relu from 2 of 8x8x8 to 8x8x8",
    }


def test_rare_nodes_are_found_in_few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tenth of the patience nothing is missing that one of hundreds has, and little is found for nothing."""
    monkeypatch.setattr("enas.latency.nodes.PATIENCE", 100)
    space = chain(kernels=(3, 5))
    profile = profiled(space)
    graphs = [space.graph(arch) for arch in random_archs(space, 1500, 7)]
    assert profile.missing(graphs) == []
    unused = profile.nodes.keys() - {shape for graph in graphs for shape in node_shapes(graph)}
    assert len(unused) < len(profile.nodes) / 4


def test_inputs_that_were_not_seen_are_like_others_of_their_resolution() -> None:
    flat, wide = Kind(torch.float32, True, True), Kind(torch.bfloat16, True, False)
    kinds = {("pad", (4, 8, 8)): wide, ("pad", (4, 1, 1)): flat, ("sum", (8, 1, 1)): wide}
    assert _likeliest(kinds, "pad", (8, 1, 1)) == flat
    assert _likeliest(kinds, "pad", (8, 2, 2)) == wide
    assert _likeliest(kinds, "sum", (8, 1, 1)) == wide


def test_the_most_alike_node_gives_the_time() -> None:
    """The same work takes the same time; less work of the same operation less, in proportion."""
    profile = dataclasses.replace(
        profiled(macro(1)),
        nodes={
            node("rect_conv:3,5,1", (8, 4, 4), (8, 4, 4)): Timing(5.0, 5.0, 5.0, 1),
            node("rect_conv:3,3,1", (8, 4, 4), (8, 4, 4)): Timing(3.0, 3.0, 3.0, 1),
            node("pad", (8, 2, 2), (8, 4, 4)): Timing(1.0, 1.0, 1.0, 1),
            node("rect_conv:no", (8, 4, 4), (8, 4, 4)): Timing(9.0, 9.0, 9.0, 1),  # as only a stranger's file has it
        },
    )
    estimated = Estimated(profile)
    assert estimated._ms(node("rect_conv:5,3,1", (8, 4, 4), (8, 4, 4))) == 5
    macs, moved = 8 * 8 * 9, 8 + 8  # for each pixel
    ratio = (4 * 8 * 9 + 4 + 8) / (macs + moved)
    assert estimated._ms(node("rect_conv:3,3,1", (4, 4, 4), (8, 4, 4))) == pytest.approx(3 * ratio)
    assert estimated._ms(node("pad", (8, 1, 1), (8, 4, 4))) == pytest.approx((8 + 128) / (32 + 128))
    # there is none of this operation, but one that has as much to do
    assert estimated._ms(NodeShape("sum_relu", ((8, 2, 2),), (8, 4, 4))) == 1


def test_an_estimate_depends_on_the_profile_alone_and_is_warned_of_once() -> None:
    space = macro(3)
    lacking = without(profiled(space), "conv_3x3 from 4x8x8 to 4x8x8", "conv_5x5 from 4x4x4 to 4x4x4")
    graphs = [space.graph(arch) for arch in random_archs(space, 30)]
    with pytest.warns(UserWarning, match=r"the profile lacks conv_\dx\d from .*; what it lacks is estimated") as caught:
        forwards = list(map(Estimated(lacking), graphs))
    assert len(caught) == 1
    with pytest.warns(UserWarning):
        assert list(map(Estimated(lacking), reversed(graphs))) == forwards[::-1]
    known = [not lacking.missing([graph]) for graph in graphs]
    assert 0 < sum(known) < 30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = [lacking.latency(graph) for graph, all_known in zip(graphs, known, strict=True) if all_known]
    assert exact == [ms for ms, all_known in zip(forwards, known, strict=True) if all_known]


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(tiny().data, torch.device("cpu"))


def test_a_search_goes_on_where_the_profile_lacks_a_node(tmp_path: Path, digits: DataSet) -> None:
    space: SearchSpace = spaces.build(tiny().space, digits.input_shape, digits.num_classes)
    lacking = without(profiled(space), "conv_3x3 from 4x8x8 to 4x8x8", "conv_3x3 from 4x4x4 to 4x4x4")
    write_profile(tmp_path / "p.json", lacking)
    settings = tiny(f"objective.profile={tmp_path / 'p.json'}", "objective.target_latency_ms=0.5", "epochs=2")
    with pytest.warns(UserWarning, match="lacks conv_3x3"):
        whole = run(tmp_path / "whole", digits, settings)
        run(tmp_path / "stopped", digits, settings, stop_after=1)
        assert_same_run(run(tmp_path / "stopped", digits, settings), whole)
