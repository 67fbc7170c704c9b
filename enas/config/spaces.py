"""The options of each search space: its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from enas.config.checked import Checked, Table, setting
from enas.errors import UserError


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
class ChainOptions(Checked):
    """Space `chain` (Zoph & Le 2017): a number of layers that is searched too, each of them described in full."""

    name: ClassVar[str] = "chain"
    min_layers: int = setting(4, "fewest layers", low=1, high=32)
    max_layers: int = setting(12, "most layers (Zoph & Le: their best networks have 15 to 39)", low=1, high=32)
    kernels: tuple[int, ...] = setting((1, 3, 5, 7), "heights and widths of filters, odd (Zoph & Le: 1,3,5,7)")
    filters: tuple[int, ...] = setting((24, 36, 48, 64), "numbers of filters (Zoph & Le: 24,36,48,64)")
    # Pooling alone already halves the resolution at every other layer of a random architecture.
    strides: tuple[int, ...] = setting((1,), "strides of convolutions (Zoph & Le: 1 alone, or 1,2,3)")
    pooling: bool = setting(
        True, "whether a layer after the first may be 3x3 max pooling at stride 2 (Zoph & Le: two at fixed layers)"
    )
    skips: bool = setting(
        True,
        "whether convolutions choose which earlier layers they read (Zoph & Le section 3.3), instead of the one before",
    )
    hidden: int = setting(0, "units of a fully connected layer before the classifier (0: none)", low=0, high=4096)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_list("kernels", self.kernels, 1, 15)
        _check_list("filters", self.filters, 1, 4096)
        _check_list("strides", self.strides, 1, 8)
        even = [kernel for kernel in self.kernels if kernel % 2 == 0]
        if even:
            raise UserError(f"kernels must be odd, so that a filter has a middle, but got {even[0]}")

    def check(self) -> None:
        """Raise UserError for settings that are possible alone but not together."""
        if self.min_layers > self.max_layers:
            raise UserError(
                f"the fewest layers must not be more than the most, but got min_layers {self.min_layers} and "
                f"max_layers {self.max_layers}; give --set space.min_layers=... and --set space.max_layers=..."
            )
        choices = max(self.max_layers - self.min_layers + 1, len(self.kernels), len(self.filters), len(self.strides))
        if choices == 1 and (self.max_layers == 1 or not (self.pooling or self.skips)):
            raise UserError(
                "something must be left to decide, but depth, kernels, filters and strides have one choice each; "
                "give more, for example --set space.kernels=3,5"
            )


def _check_list(name: str, values: tuple[int, ...], low: int, high: int) -> None:
    """Raise UserError unless the values are within the bounds, rising, and few enough for one character each."""
    rising = all(a < b for a, b in zip(values, values[1:], strict=False))
    if not (1 <= len(values) <= 36 and rising and low <= values[0] and values[-1] <= high):
        listed = ",".join(map(str, values[:12])) or "none"
        raise UserError(f"{name} must be 1 to 36 rising whole numbers from {low} to {high}, but got {listed}")


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


@dataclass(frozen=True, kw_only=True)
class CustomOptions(Checked):
    """A space of the user's own: a class in a Python file. Reading these options never runs that file."""

    name: ClassVar[str] = "custom"
    source: str = setting("", "where the class is: path/to/file.py:MySpace")
    sha256: str = setting("", "of that file: a run goes on with the file that it began with (default: the file's)")
    width: int | None = setting(
        None, "the class's argument width (none: its default)", option="--width", low=1, high=65536
    )
    arguments: Mapping[str, bool | int | float | str] = setting(
        Table(), "the class's other arguments by name (--set space.arguments.NAME=VALUE)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "arguments", Table(self.arguments))
        if not self.source.isprintable() or len(self.source) > 4096:
            raise UserError(f"source must be path/to/file.py:MySpace, but got {self.source[:80]!r}")

    @property
    def class_name(self) -> str:
        """What the source says behind the file."""
        return self.source.rpartition(":")[2]


SpaceOptions = (
    MacroOptions
    | MicroOptions
    | ChainOptions
    | ResNet20Options
    | NasBench201Options
    | NasBenchMacroOptions
    | CustomOptions
)
SPACE_OPTIONS: dict[str, type[SpaceOptions]] = {
    options.name: options
    for options in (
        MacroOptions,
        MicroOptions,
        ChainOptions,
        ResNet20Options,
        NasBench201Options,
        NasBenchMacroOptions,
        CustomOptions,
    )
}
SEARCHABLE = ("macro", "micro", "chain", "nasbench201", "nasbench-macro")
