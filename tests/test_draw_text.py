"""Architectures as plain text: what it looks like, and that every connection can be read from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from enas import draw, spaces
from enas.config import ChainOptions, MacroOptions, MicroOptions, NasBench201Options, SpaceOptions
from enas.spaces.sketch import MAIN, SKIP, Box, Edge, Sketch
from tests.test_cli import enas
from tests.toys import random_archs

MACRO = """\
macro, 4 layers

  stem (images 32x32x3)  [32x32, 36 channels]
  │
  1 avg_pool_3x3
  ├────────────────────────────────────────────┐
  2 sep_conv_3x3  [16x16, 36 channels]         │
  ├────────────────────────────────────────────│─┐
  3 conv_5x5  [8x8, 36 channels] ◄─────────────┤ │
  │                                            │ │
  4 sep_conv_3x3 ◄─────────────────────────────┴─┘
  │
  classifier (10 classes)
"""
CELL = """\
cell

  a
  └───────┐
  b       │
  └───────│─┐
  n       │ │
    conv ◄┤ │
    pool ◄│─┤
  │       │ │
  out ◄───┴─┘
"""


def test_layers_and_skips() -> None:
    space = spaces.build(MacroOptions(layers=4), (3, 32, 32), 10)
    arch = spaces.parse(space, "macro:4-20-110-2110")
    assert draw.architecture_text(space.sketches(arch)) == MACRO


def test_operations_on_edges_have_lines_of_their_own() -> None:
    boxes = (Box("a", "a", "input"), Box("b", "b", "input"), Box("n", "n", "node"), Box("o", "out", "output"))
    edges = (
        Edge("a", "n", "conv", "conv"), Edge("b", "n", "pool", "pool"), Edge("n", "o"),
        Edge("a", "o", SKIP), Edge("b", "o", SKIP),
    )  # fmt: skip
    assert draw.architecture_text([Sketch("cell", boxes, edges)]) == CELL


def connections(text: str) -> list[tuple[str, str]]:
    """The connections that lanes show, as (source, target), followed column by column."""
    owner: dict[int, str] = {}
    found, box = [], ""
    for line in text.splitlines()[2:]:
        if line[2:3] not in ("├", "└", "│", " "):
            box = line.split()[0]
        begins = line[2:3] in ("├", "└")
        for column, character in enumerate(line):
            if column < 4:
                continue
            if begins and character in "┐┬":
                assert column not in owner
                owner[column] = box
            elif "◄" in line and column > line.index("◄") and character in "┤┘┼┴":
                found.append((owner[column], box))
                if character in "┘┴":
                    del owner[column]
            elif character == "│":
                assert column in owner
    assert not owner
    return found


@pytest.mark.parametrize(
    "options",
    [MacroOptions(layers=8), MicroOptions(nodes=4), NasBench201Options(), ChainOptions(min_layers=3, max_layers=6)],
)
def test_every_connection_can_be_followed(options: SpaceOptions) -> None:
    space = spaces.build(options, (3, 32, 32), 10)
    for arch in random_archs(space, 5):
        for sketch in space.sketches(arch):
            labels = {box.name: number for number, box in enumerate(sketch.boxes)}
            plain = Sketch(
                sketch.title,
                tuple(Box(box.name, f"box{labels[box.name]}", box.kind) for box in sketch.boxes),
                sketch.edges,
            )
            text = draw.architecture_text([plain])
            after = list(zip(sketch.boxes, sketch.boxes[1:], strict=False))
            direct = {(a.name, b.name) for a, b in after}
            wanted = [
                (f"box{labels[e.source]}", f"box{labels[e.target]}")
                for e in sketch.edges
                if e.kind != MAIN or (e.source, e.target) not in direct
            ]
            assert sorted(connections(text)) == sorted(wanted)
            straight = sum(e.kind == MAIN and (e.source, e.target) in direct for e in sketch.edges)
            assert sum(line[2:3] in ("├", "│") for line in text.splitlines()) == straight


def test_show_writes_it(tmp_path: Path) -> None:
    result = enas("show", "resnet20:", "--output", tmp_path / "a.txt")
    assert result.exit_code == 0 and f"picture of the architecture: {tmp_path / 'a.txt'}" in result.output
    text = (tmp_path / "a.txt").read_text(encoding="utf-8")
    assert "stem" in text and "classifier (10 classes)" in text and text.endswith("\n")
