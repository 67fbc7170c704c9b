"""The options of each search space: its sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from enas.config.checked import Checked, setting


@dataclass(frozen=True, kw_only=True)
class MacroOptions(Checked):
    """Space `macro` (ENAS section 2.3): operations and skip connections of a whole network."""

    name: ClassVar[str] = "macro"
    layers: int = setting(12, "searched layers (ENAS: 12)", low=1, high=64)
    width: int = setting(36, "channels of the first stage (ENAS: 36)", option="--width", low=2, high=4096)
    double_width: bool = setting(False, "double the channels at each of the two reductions (ENAS: no)")


@dataclass(frozen=True, kw_only=True)
class MicroOptions(Checked):
    """Space `micro` (ENAS section 2.4): a normal and a reduction cell, stacked."""

    name: ClassVar[str] = "micro"
    nodes: int = setting(5, "nodes of a cell (ENAS: 5)", low=1, high=12)
    cells_per_stage: int = setting(
        2, "normal cells in each of the three stages (ENAS: 2 in search, 5 in retraining)", low=1, high=32
    )
    width: int = setting(
        20, "filters of the first cells (ENAS: 20 in search, 36 in retraining)", option="--width", low=2, high=4096
    )


@dataclass(frozen=True, kw_only=True)
class ResNet20Options(Checked):
    """The hand-drawn reference `resnet20`: one architecture, nothing to search."""

    name: ClassVar[str] = "resnet20"
    width: int = setting(16, "channels of the first stage (He et al.: 16)", low=2, high=4096)


@dataclass(frozen=True, kw_only=True)
class NasBench201Options(Checked):
    """Space `nasbench201` (Dong & Yang 2020): one cell, stacked. The published accuracies are the defaults'."""

    name: ClassVar[str] = "nasbench201"
    cells_per_stage: int = setting(5, "cells in each of the three stages (published: 5)", low=1, high=32)
    width: int = setting(16, "channels of the first stage (published: 16)", option="--width", low=2, high=4096)


@dataclass(frozen=True, kw_only=True)
class NasBenchMacroOptions(Checked):
    """Space `nasbench-macro` (Su et al. 2021): a chain of eight layers. The published accuracies are the defaults'."""

    name: ClassVar[str] = "nasbench-macro"
    width: int = setting(
        32, "channels of the stem, doubled at each of three stages (published: 32)", option="--width", low=2, high=512
    )
    head: int = setting(1280, "channels before the classifier (published: 1280)", low=2, high=16384)


SpaceOptions = MacroOptions | MicroOptions | ResNet20Options | NasBench201Options | NasBenchMacroOptions
SPACE_OPTIONS: dict[str, type[SpaceOptions]] = {
    options.name: options
    for options in (MacroOptions, MicroOptions, ResNet20Options, NasBench201Options, NasBenchMacroOptions)
}
SEARCHABLE = ("macro", "micro", "nasbench201", "nasbench-macro")
