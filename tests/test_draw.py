"""Pictures: sketches, layout, colours, files, TensorBoard and `enas show`."""

from __future__ import annotations

import ast
import copy
import dataclasses
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from enas import draw, spaces
from enas.config import MicroOptions, ResNet20Options
from enas.draw import canvas, colours, ordering, picture
from enas.draw.layout import Curve, Layout, Point, Rect, layout
from enas.errors import UserError
from enas.spaces import Architecture
from enas.spaces.macro import OPERATIONS
from enas.spaces.micro import OPERATIONS as CELL_OPERATIONS
from enas.spaces.nasbench201 import OPERATIONS as NASBENCH201_OPERATIONS
from enas.spaces.nasbench_macro import OPERATIONS as NASBENCH_MACRO_OPERATIONS
from enas.spaces.sketch import CELL as CELL_BOX
from enas.spaces.sketch import INPUT, MAIN, NODE, OUTPUT, REDUCTION, SKIP, Box, Edge, Sketch
from tests.test_layers import FILES, imports, top
from tests.toys import all_archs, macro, macro_cases, random_archs

CLOSE = 1e-6  # inches


def cell(inputs: list[tuple[int, int]], operations: list[tuple[str, str]], title: str = "normal cell") -> Sketch:
    """A cell: nodes that add two edges, each from an earlier box and with an operation; loose ends go to the output."""
    boxes = [Box("0", "cell k-2", INPUT), Box("1", "cell k-1", INPUT)]
    edges: list[Edge] = []
    for node, (sources, ops) in enumerate(zip(inputs, operations, strict=True), start=2):
        boxes.append(Box(f"{node}", f"node {node - 1}", NODE))
        edges += [Edge(f"{source}", f"{node}", op, op) for source, op in zip(sources, ops, strict=True)]
    loose = {box.name for box in boxes if box.kind == NODE} - {edge.source for edge in edges}
    boxes.append(Box("output", "output", OUTPUT))
    return Sketch(title, tuple(boxes), (*edges, *(Edge(name, "output") for name in sorted(loose))))


CELL = cell(
    [(0, 1), (1, 1), (2, 0), (3, 1), (5, 0)], [("identity", op) for op in CELL_OPERATIONS]
)  # two edges join the same boxes, others pass several ranks


BOXES = tuple(Box(f"{i}", "box", NODE) for i in range(3))


@st.composite
def cells(draw: st.DrawFn) -> Sketch:
    """Cells of up to five nodes, from all parallel to one long chain."""
    nodes = range(2, 2 + draw(st.integers(1, 5)))
    inputs = [draw(st.tuples(*[st.integers(0, node - 1)] * 2)) for node in nodes]
    return cell(inputs, [draw(st.tuples(*[st.sampled_from(CELL_OPERATIONS)] * 2)) for _ in nodes])


@st.composite
def sketches(draw: st.DrawFn) -> Sketch:
    """Any sketch: several sources and sinks, labels, details, skips within and beside chains, parallel edges."""
    boxes = [
        Box(
            f"{i}",
            draw(st.sampled_from(("a", "sep_conv_5x5"))),
            NODE,
            f"{i}",
            draw(st.sampled_from(("", "10 classes"))),
        )
        for i in range(draw(st.integers(1, 8)))
    ]
    pairs = list(itertools.combinations(range(len(boxes)), 2))
    edge = st.sampled_from(pairs).flatmap(
        lambda pair: st.sampled_from((("", MAIN), ("", SKIP), ("identity", "identity"))).map(
            lambda what: Edge(f"{pair[0]}", f"{pair[1]}", what[1], what[0])
        )
    )
    edges = draw(st.lists(edge, max_size=14)) if pairs else []
    if draw(st.booleans()):  # a chain
        edges = [Edge(f"{i}", f"{i + 1}") for i in range(len(boxes) - 1)] + edges
    return Sketch("any", tuple(boxes), tuple(edges))


def measure(text: str, points: float) -> float:
    return 0.6 * len(text) * points / 72


def points_of(curve: Curve) -> list[Point]:
    """Many points of a curve, in order."""
    found = []
    for i in range(0, len(curve.points) - 1, 3):
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = curve.points[i : i + 4]
        for t in np.linspace(0, 1, 13).tolist():
            a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
            found.append((a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3))
    return found


def inside(point: Point, rect: Rect) -> bool:
    return rect.left + CLOSE < point[0] < rect.right - CLOSE and rect.top + CLOSE < point[1] < rect.bottom - CLOSE


def overlap(a: Rect, b: Rect) -> bool:
    return min(a.right, b.right) - max(a.left, b.left) > CLOSE and min(a.bottom, b.bottom) - max(a.top, b.top) > CLOSE


def check_layout(sketch: Sketch) -> Layout:
    """All that must hold of a layout, whatever the sketch."""
    placed = layout(sketch, measure)
    assert [box for box, _ in placed.boxes] == list(sketch.boxes)
    assert sorted(map(repr, (edge for edge, _ in placed.labels))) == sorted(repr(e) for e in sketch.edges if e.label)
    assert sorted(repr(curve.edge) for curve in placed.curves) == sorted(map(repr, sketch.edges))
    rects = [rect for _, rect in (*placed.boxes, *placed.labels)]
    for rect in rects:
        assert -CLOSE <= rect.left < rect.right <= placed.width + CLOSE
        assert -CLOSE <= rect.top < rect.bottom <= placed.height + CLOSE
    for a, b in itertools.combinations(rects, 2):
        assert not overlap(a, b)
    for box, rect in placed.boxes:
        assert rect.right - rect.left >= measure(box.label, 8) and rect.right - rect.left >= measure(box.detail, 7)
    rect_of = {box.name: rect for box, rect in placed.boxes}
    for curve in placed.curves:
        source, target = rect_of[curve.edge.source], rect_of[curve.edge.target]
        assert source.bottom < target.top, "ranks must increase along edges"
        course = points_of(curve)
        (x0, y0), (x1, y1) = course[0], course[-1]
        if abs(x0 - source.right) < CLOSE:  # an arc
            assert curve.edge.kind == SKIP and abs(x1 - target.right) < CLOSE
            assert source.top < y0 < source.bottom and target.top < y1 < target.bottom
        else:
            assert abs(y0 - source.bottom) < CLOSE and source.left < x0 < source.right
            assert abs(y1 - target.top) < CLOSE and target.left < x1 < target.right
        assert all(-CLOSE <= x <= placed.width + CLOSE for x, _ in course)
        passed = [rect for rect in rects if any(inside(point, rect) for point in course)]
        labels = [rect for edge, rect in placed.labels if edge == curve.edge]
        assert len(passed) == bool(curve.edge.label) and all(rect in labels for rect in passed)
    return placed


@given(sketches() | cells())
@example(CELL)
@example(Sketch("beside a label", BOXES, (Edge("0", "1", SKIP), Edge("0", "2", "identity", "identity"))))
@settings(max_examples=150)
def test_boxes_and_labels_stand_apart_and_curves_pass_through_none(sketch: Sketch) -> None:
    check_layout(sketch)


@given(macro_cases(max_layers=14, max_archs=1))
@settings(max_examples=40)
def test_layout_of_macro_architectures(case: Any) -> None:
    space, (arch,) = case
    placed = check_layout(*space.sketches(arch))
    assert len({rect.x for _, rect in placed.boxes}) == 1, "layers must stand below each other"
    assert [stage for stage, _ in placed.bands] == list(
        dict.fromkeys(box.stage for box, _ in placed.boxes if box.stage)
    )
    for (_, above), (_, below) in itertools.pairwise(placed.bands):
        assert above.bottom < below.top
    rect_of = dict(placed.bands)
    for box, rect in placed.boxes:
        assert not box.stage or (rect_of[box.stage].top < rect.top and rect.bottom < rect_of[box.stage].bottom)


@given(macro_cases(max_archs=2))
@settings(max_examples=30)
def test_a_macro_sketch_says_what_the_architecture_says(case: Any) -> None:
    space, archs = case
    for arch in archs:
        (sketch,) = space.sketches(arch)
        chosen = dict(zip((d.name for d in space.decisions), arch.choices, strict=True))
        layers = range(1, space.options.layers + 1)
        assert [box.kind for box in sketch.boxes[1:-1]] == [OPERATIONS[chosen[f"layer{layer}/op"]] for layer in layers]
        skips = {(edge.source, edge.target) for edge in sketch.edges if edge.kind == SKIP}
        chosen_skips = [name.split("/") for name, choice in chosen.items() if "skip" in name and choice]
        assert skips == {(f"layer {skip.removeprefix('skip')}", f"layer {layer[5:]}") for layer, skip in chosen_skips}
        shapes = {node.shape for node in space.graph(arch).nodes if node.key.startswith("layer")}
        assert {box.stage for box in sketch.boxes[1:-1]} == {f"{h}x{w}\n{c} channels" for c, h, w in shapes}


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2**31))
@settings(max_examples=25)
def test_a_micro_sketch_says_what_the_architecture_says(nodes: int, per_stage: int, seed: int) -> None:
    space = spaces.build(MicroOptions(nodes=nodes, cells_per_stage=per_stage, width=4), (3, 16, 16), 5)
    (arch,) = random_archs(space, 1, seed)
    *cell_sketches, network = space.sketches(arch)
    lines = []
    for sketch in cell_sketches:
        check_layout(sketch)
        lines.append(sketch.title)
        for box in sketch.boxes[2:]:
            into = [edge for edge in sketch.edges if edge.target == box.name]
            into = [f"{edge.label}({edge.source})" if edge.label else edge.source for edge in into]
            lines.append(f"  {box.name}: {' + '.join(into)}")
    assert lines == space.describe(arch)[:-1]
    check_layout(network)
    kinds = [kind for stage in range(3) for kind in [REDUCTION] * (stage > 0) + [CELL_BOX] * per_stage]
    assert [box.kind for box in network.boxes[1:-1]] == kinds
    skips = [edge for edge in network.edges if edge.kind == SKIP]
    assert [int(edge.target[5:]) for edge in skips] == list(range(2, len(kinds) + 1))


def test_resnet_has_nine_residual_blocks_in_three_stages() -> None:
    space = spaces.build(ResNet20Options(), (3, 33, 32), 10)
    (sketch,) = space.sketches(Architecture("resnet20", ()))
    check_layout(sketch)
    assert sum(edge.kind == SKIP for edge in sketch.edges) == 9
    stages = dict.fromkeys(box.stage for box in sketch.boxes[:-1])
    assert list(stages) == ["33x32\n16 channels", "17x16\n32 channels", "9x8\n64 channels"]


@pytest.mark.parametrize(
    ("boxes", "edges", "match"),
    [
        ("aa", [], "unique"),
        ("ab", [("a", "c")], "join boxes"),
        ("ab", [("b", "a")], "earlier"),
        ("a", [("a", "a")], "earlier"),
    ],
)
def test_impossible_sketches(boxes: str, edges: list[tuple[str, str]], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Sketch("", tuple(Box(name, name, NODE) for name in boxes), tuple(Edge(*edge) for edge in edges))


LAYERED = st.lists(st.integers(1, 5), min_size=2, max_size=4).flatmap(
    lambda sizes: st.tuples(
        st.just(sizes),
        st.lists(
            st.tuples(st.integers(0, len(sizes) - 2), st.integers(0, 4), st.integers(0, 4)), max_size=14, unique=True
        ),
    )
)


def layered(case: Any) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Ranks of items and the links between neighbouring ones."""
    sizes, picks = case
    firsts = [sum(sizes[:r]) for r in range(len(sizes))]
    ranks = [list(range(first, first + size)) for first, size in zip(firsts, sizes, strict=True)]
    return ranks, sorted({(ranks[r][a % sizes[r]], ranks[r + 1][b % sizes[r + 1]]) for r, a, b in picks})


def crossings(ranks: list[list[int]], links: list[tuple[int, int]]) -> int:
    """By the definition."""
    place = {item: (r, p) for r, rank in enumerate(ranks) for p, item in enumerate(rank)}
    return sum(
        place[a][0] == place[c][0] and (place[a][1] - place[c][1]) * (place[b][1] - place[d][1]) < 0
        for (a, b), (c, d) in itertools.combinations(links, 2)
    )


@given(LAYERED)
@example(([4, 3, 3], [(0, 0, 0), (0, 0, 2), (1, 0, 0), (1, 1, 0), (1, 1, 2), (1, 2, 1)]))  # barycentres are not enough
@settings(max_examples=60)
def test_order_keeps_the_ranks_and_never_adds_crossings(case: Any) -> None:
    ranks, links = layered(case)
    before = copy.deepcopy(ranks)
    ordered = ordering.order(ranks, links)
    assert ranks == before and [sorted(rank) for rank in ordered] == before
    fewest = crossings(ordered, links)
    assert fewest <= crossings(ranks, links)
    for r, rank in enumerate(ordered):  # no swap of neighbours is better
        for i in range(len(rank) - 1):
            swapped = [*rank[:i], rank[i + 1], rank[i], *rank[i + 2 :]]
            assert crossings([*ordered[:r], swapped, *ordered[r + 1 :]], links) >= fewest


def test_order_undoes_every_crossing_that_a_tangled_ladder_has() -> None:
    ranks = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    links = [(0, 7), (1, 6), (2, 5), (3, 4), (4, 9), (5, 8), (6, 11), (7, 10)]
    assert crossings(ranks, links) > 0 and crossings(ordering.order(ranks, links), links) == 0


@given(LAYERED, st.lists(st.floats(0, 2), min_size=20, max_size=20))
@settings(max_examples=60)
def test_positions_keep_order_and_distance(case: Any, widths: list[float]) -> None:
    ranks, links = layered(case)
    widths = widths[: sum(map(len, ranks))]
    x = ordering.positions(ranks, links, widths, [1.0] * len(links), 0.5)
    assert min(centre - width / 2 for centre, width in zip(x, widths, strict=True)) == pytest.approx(0)
    for rank in ranks:
        for a, b in itertools.pairwise(rank):
            assert x[b] - x[a] >= (widths[a] + widths[b]) / 2 + 0.5 - 1e-9


def test_children_stand_evenly_below_their_parent() -> None:
    x = ordering.positions([[0], [1, 2, 3]], [(0, 1), (0, 2), (0, 3)], [1.0] * 4, [1.0] * 3, 0.5)
    assert x == pytest.approx([2, 0.5, 2, 3.5], abs=0.01)


def test_colours_can_be_read_and_told_apart() -> None:
    def contrast(a: str, b: str) -> float:
        low, high = sorted((colours.luminance(a), colours.luminance(b)))
        return (high + 0.05) / (low + 0.05)

    fills = [*colours.OPERATIONS.values(), *colours.STRUCTURE.values(), *colours.SPARE]
    assert all(contrast(fill, colours.ink(fill)) > 4.5 for fill in fills)  # WCAG AA
    assert set(OPERATIONS) | set(CELL_OPERATIONS) <= set(colours.OPERATIONS)
    assert {*NASBENCH201_OPERATIONS[1:], *NASBENCH_MACRO_OPERATIONS} <= {*colours.OPERATIONS, *colours.ALIKE}
    assert set(colours.ALIKE.values()) <= set(colours.OPERATIONS) and not set(colours.ALIKE) & set(colours.OPERATIONS)
    for ops in (NASBENCH201_OPERATIONS, NASBENCH_MACRO_OPERATIONS):
        assert len({colours.fill(op) for op in ops}) == len(ops)
    assert colours.fill("a new operation") == colours.fill("a new operation") in colours.SPARE
    for a, b in itertools.combinations(colours.OPERATIONS.values(), 2):
        for name, simulate in COLOUR_BLIND.items():
            assert np.linalg.norm(lab(a, simulate) - lab(b, simulate)) > 15, (name, a, b)


# Machado et al. 2009, severity 1, on linear RGB
COLOUR_BLIND = {
    "none": np.eye(3),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritanopia": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}


def lab(colour: str, simulate: Any) -> Any:
    """CIE L*a*b* of a colour as somebody sees it; a distance of 2 is just noticeable."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.clip(simulate @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = np.cbrt(xyz / np.array([0.9505, 1, 1.089]))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


MACRO = macro(6, (3, 32, 32))
(SIX,) = MACRO.sketches(random_archs(MACRO, 1)[0])


def texts(path: Path) -> list[str]:
    """All texts of an SVG."""
    return [element.text or "" for element in ElementTree.parse(path).iter() if element.tag.endswith("}text")]


def test_svg_and_png_by_the_ending(tmp_path: Path) -> None:
    for name in ("a.svg", "a.png", "A.SVG"):
        (tmp_path / name).write_text("what was there before")
        draw.draw_architecture([SIX, CELL], tmp_path / name)
    found = texts(tmp_path / "a.svg")
    assert {*SIX.operations(), *CELL.operations(), "macro, 6 layers", "normal cell", "skip connection"} <= set(found)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "A.SVG").read_bytes()
    assert (tmp_path / "a.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(os.listdir(tmp_path)) == ["A.SVG", "a.png", "a.svg"], "no temporary files may be left"


def test_files_depend_on_nothing_but_the_sketch(tmp_path: Path) -> None:
    """Not on an earlier picture, the time, the user's matplotlibrc; and that one stays as it is."""
    for ending in ("svg", "png"):
        draw.draw_architecture([CELL], tmp_path / f"plain.{ending}")
        with matplotlib.rc_context(
            {"font.size": 30, "svg.hashsalt": None, "savefig.bbox": "tight", "lines.linewidth": 9}
        ):
            before = dict(matplotlib.rcParams)
            draw.draw_architecture([CELL], tmp_path / f"styled.{ending}")
            assert dict(matplotlib.rcParams) == before
        plain, styled = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("plain", "styled"))
        assert plain == styled


def test_threads_draw_the_same(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.svg" for i in range(6)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda path: draw.draw_architecture([SIX], path), paths))
    assert len({path.read_bytes() for path in paths}) == 1


@pytest.mark.parametrize("module", [module for module in FILES if top(module) in ("draw", "tracking")])
def test_matplotlib_is_imported_where_it_is_needed_and_pyplot_never(module: str) -> None:
    """pyplot has a state of its own and may want a display."""
    source = FILES[module].read_text()
    assert not [name for name in imports(source, module) if name.startswith("matplotlib.pyplot")]
    outside = ast.Module([node for node in ast.parse(source).body if not isinstance(node, ast.FunctionDef)], [])
    assert not [name for name in imports(ast.unparse(outside), module) if name.split(".")[0] == "matplotlib"]


@pytest.mark.parametrize("name", ["a.pdf", "a", "svg", "a.svg.gz", "missing/a.svg", "folder.png", "file/a.png"])
def test_files_that_cannot_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="the picture"):
        draw.draw_architecture([CELL], tmp_path / name)
    with pytest.raises(UserError, match="the picture"):
        draw.draw_choices([{"op": {"a": 1.0}}], tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


@pytest.mark.parametrize("sketches", [[SIX], [CELL], [CELL, dataclasses.replace(CELL, title="reduction cell"), SIX]])
def test_no_text_meets_another_or_leaves_the_page(sketches: list[Sketch]) -> None:
    figure = draw.architecture_figure(sketches)
    draw.pixels(figure)
    check_texts(figure)


def check_texts(figure: Any) -> None:
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    width, height = figure.bbox.size
    for box in boxes:
        assert 0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height
    for a, b in itertools.combinations(boxes, 2):
        # a box of a text holds the room of letters below the line, so a little overlap from above is none
        assert not (min(a.x1, b.x1) > max(a.x0, b.x0) and min(a.y1, b.y1) - max(a.y0, b.y0) > 1.0)


def test_labels_stand_in_their_boxes() -> None:
    figure = draw.architecture_figure([CELL])
    draw.pixels(figure)
    (axes,) = figure.axes
    to_inches = axes.transData.inverted()
    placed = layout(CELL, canvas.text_width)
    rects = [(box.label, rect) for box, rect in placed.boxes] + [(edge.label, rect) for edge, rect in placed.labels]
    shown = [text for text in axes.texts if text.get_text() in dict(rects)]
    for label, rect in rects:
        extents = [to_inches.transform_bbox(t.get_window_extent()) for t in shown if t.get_text() == label]
        corner = (picture.MARGIN, picture.MARGIN + picture.TITLE_HEIGHT)
        assert any(
            rect.left < min(e.x0, e.x1) - corner[0]
            and max(e.x0, e.x1) - corner[0] < rect.right
            and rect.top - 0.02 < min(e.y0, e.y1) - corner[1]
            and max(e.y0, e.y1) - corner[1] < rect.bottom + 0.02
            for e in extents
        ), label


@given(st.lists(st.tuples(st.floats(1, 12), st.floats(1, 12)), min_size=1, max_size=4))
def test_sketches_on_a_page_stand_apart(sizes: list[tuple[float, float]]) -> None:
    corners, width, height = picture.arranged(sizes)
    rects = []
    for (x, y), (w, h) in zip(corners, sizes, strict=True):
        rects.append(Rect(x, y, x + w, y + h + picture.TITLE_HEIGHT))
        assert x >= 0 and y >= 0 and rects[-1].right <= width + CLOSE and rects[-1].bottom <= height + CLOSE
    assert not any(overlap(a, b) for a, b in itertools.combinations(rects, 2))
    beside = sum(w for w, _ in sizes) + picture.BETWEEN * (len(sizes) - 1)
    assert max(width, height) <= max(beside, *(h + picture.TITLE_HEIGHT for _, h in sizes)) + CLOSE


def test_all_architectures_of_a_tiny_space_have_a_picture() -> None:
    for space in (macro(1), macro(2, double=True)):
        for arch in all_archs(space):
            figure = draw.architecture_figure(space.sketches(arch))
            shown = {text.get_text() for text in figure.axes[0].texts}
            assert {OPERATIONS[arch.choices[0]], "stem", "classifier", "5 classes"} <= shown


@given(macro_cases(max_layers=9, max_archs=1))
@settings(max_examples=15)
def test_macro_architectures_have_a_picture(case: Any) -> None:
    space, (arch,) = case
    pixels = draw.pixels(draw.architecture_figure(space.sketches(arch)))
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    assert (pixels[[0, -1]] == 255).all() and (pixels[:, [0, -1]] == 255).all() and pixels.min() < 100


def test_pictures_grow_with_the_layers() -> None:
    heights = []
    for layers in (1, 6, 12, 24):
        space = macro(layers, (3, 32, 32))
        (sketch,) = space.sketches(random_archs(space, 1)[0])
        figure = draw.architecture_figure([sketch])
        heights.append(figure.get_size_inches()[1] / (layers + 4))
    assert max(heights) < 2 * min(heights), "every layer must have about the same room"


def history(epochs: int) -> list[dict[str, dict[str, float]]]:
    """Shares that wander from uniform to one choice."""
    out = []
    for t in np.linspace(0, 1, epochs).tolist():
        op = {name: (1 - t) / len(OPERATIONS) for name in OPERATIONS}
        op["conv_5x5"] += t
        out.append({"op": op, "skip": {"no": 1 - t / 2, "yes": t / 2}})
    return out


@pytest.mark.parametrize("epochs", [1, 2, 26, 310])
def test_heat_map_holds_the_shares(epochs: int) -> None:
    shares = history(epochs)
    figure = draw.choices_figure(shares)
    draw.pixels(figure)
    check_texts(figure)
    op, skip = (np.asarray(image.get_array()) for image in figure.axes[0].images[:2])
    assert op.shape == (len(OPERATIONS), epochs) and skip.shape == (2, epochs)
    assert op[1].tolist() == [after["op"]["conv_5x5"] for after in shares]
    assert skip[0].tolist() == [after["skip"]["no"] for after in shares]
    shown = [text.get_text() for text in figure.axes[0].texts]
    numbers = [int(text) for text in shown if text.isdigit()]
    assert 0 < len(numbers) <= 12 and numbers[-1] <= epochs and (epochs > 1 or numbers == [1])


def test_heat_map_files(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg", "a.png"):
        draw.draw_choices(history(5), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert {*OPERATIONS, "op", "skip", "no", "yes", "100 %", "50 %", "epoch"} <= set(texts(tmp_path / "a.svg"))
