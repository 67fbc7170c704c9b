"""Search spaces: which decisions exist, and what graph they give. Pure data, no torch."""

from __future__ import annotations

import dataclasses

from enas.config import (
    SPACE_OPTIONS,
    ChainOptions,
    CustomOptions,
    MacroOptions,
    MicroOptions,
    NasBench201Options,
    NasBenchMacroOptions,
    SpaceOptions,
)
from enas.errors import UserError
from enas.graph import Shape
from enas.spaces.base import (
    Architecture,
    Decision,
    SearchSpace,
    active,
    choice_shares,
    from_json,
    from_text,
    parse,
    settled,
    size,
    steps,
    to_text,
    uniform_entropies,
    validate,
)
from enas.spaces.chain import ChainSpace
from enas.spaces.custom import CheckedSpace, CustomSpace
from enas.spaces.limited import LimitedSpace, allowed_share, allows, excess
from enas.spaces.macro import MacroSpace
from enas.spaces.micro import MicroSpace
from enas.spaces.nasbench201 import NasBench201Space
from enas.spaces.nasbench_macro import NasBenchMacroSpace
from enas.spaces.resnet import ResNet20Space
from enas.spaces.source import class_of, named
from enas.spaces.stem import add_stem

__all__ = [
    "Architecture",
    "ChainSpace",
    "CheckedSpace",
    "CustomSpace",
    "Decision",
    "LimitedSpace",
    "MacroSpace",
    "MicroSpace",
    "NasBench201Space",
    "NasBenchMacroSpace",
    "ResNet20Space",
    "SearchSpace",
    "active",
    "add_stem",
    "allowed_share",
    "allows",
    "build",
    "choice_shares",
    "excess",
    "from_json",
    "from_text",
    "options_for",
    "parse",
    "settled",
    "size",
    "steps",
    "to_text",
    "uniform_entropies",
    "validate",
]


def build(options: SpaceOptions, input_shape: Shape, num_classes: int) -> SearchSpace:
    """The space with these options for images (C, H, W) of `num_classes` classes.

    Raises UserError for a user's space whose file the user has not named (see `enas.spaces.source`).
    """
    if isinstance(options, CustomOptions):
        return CheckedSpace(class_of(options), options, input_shape, num_classes)
    if isinstance(options, MacroOptions):
        return MacroSpace(options, input_shape, num_classes)
    if isinstance(options, MicroOptions):
        return MicroSpace(options, input_shape, num_classes)
    if isinstance(options, ChainOptions):
        return ChainSpace(options, input_shape, num_classes)
    if isinstance(options, NasBench201Options):
        return NasBench201Space(options, input_shape, num_classes)
    if isinstance(options, NasBenchMacroOptions):
        return NasBenchMacroSpace(options, input_shape, num_classes)
    return ResNet20Space(options, input_shape, num_classes)


def options_for(arch: Architecture, options: SpaceOptions) -> SpaceOptions:
    """Options of the space that `arch` belongs to: `options` where they fit, else that space's defaults.

    What an architecture itself determines (macro: the number of layers, micro: of nodes, chain: the most
    layers) is taken from it.
    """
    if arch.space not in SPACE_OPTIONS:
        if isinstance(options, CustomOptions):
            return options
        own = named(arch.space)
        if own is not None:
            return own
        raise UserError(
            f"the architecture's space must be one of {', '.join(SPACE_OPTIONS)}, but got {arch.space!r}; a space of "
            "your own goes with --space FILE.py:CLASS"
        )
    if options.name != arch.space:
        options = SPACE_OPTIONS[arch.space]()
    if isinstance(options, MacroOptions):
        return dataclasses.replace(options, layers=MacroSpace.layers_of(arch))
    if isinstance(options, MicroOptions):
        return dataclasses.replace(options, nodes=MicroSpace.nodes_of(arch))
    if isinstance(options, ChainOptions):
        return ChainSpace.options_of(arch, options)
    return options
