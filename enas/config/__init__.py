"""Every setting of the program (settings.py), the presets (presets.py), and plain data (plain.py). No torch."""

from enas.config.plain import check, from_text, space_options, to_dict, update
from enas.config.presets import PRESETS, cifar10_macro, cpu, quick
from enas.config.settings import (
    SEARCHABLE,
    SPACE_OPTIONS,
    ControllerConfig,
    DataConfig,
    DeriveConfig,
    MacroOptions,
    ObjectiveConfig,
    ResNet20Options,
    RetrainConfig,
    RunConfig,
    SearchConfig,
    SgdConfig,
    SpaceOptions,
    WeightsConfig,
)

__all__ = [
    "ControllerConfig",
    "DataConfig",
    "DeriveConfig",
    "MacroOptions",
    "ObjectiveConfig",
    "PRESETS",
    "ResNet20Options",
    "RetrainConfig",
    "RunConfig",
    "SEARCHABLE",
    "SPACE_OPTIONS",
    "SearchConfig",
    "SgdConfig",
    "SpaceOptions",
    "WeightsConfig",
    "check",
    "cifar10_macro",
    "cpu",
    "from_text",
    "quick",
    "space_options",
    "to_dict",
    "update",
]
