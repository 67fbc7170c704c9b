"""Configuration. No torch.

settings.py  every setting of the program    presets.py  sizes and budgets to start from
budget.py    how a budget is written         plain.py    configuration <-> plain data
"""

from enas.config.budget import Budget, parse_budget
from enas.config.plain import check, from_text, space_options, to_dict, update
from enas.config.presets import PRESETS
from enas.config.settings import (
    SEARCHABLE,
    SPACE_OPTIONS,
    ControllerConfig,
    DataConfig,
    DeriveConfig,
    MacroOptions,
    MicroOptions,
    ObjectiveConfig,
    ResNet20Options,
    RetrainConfig,
    RunConfig,
    SearchConfig,
    SgdConfig,
    SpaceOptions,
    StandaloneConfig,
    WeightsConfig,
)

__all__ = [
    "Budget",
    "ControllerConfig",
    "DataConfig",
    "DeriveConfig",
    "MacroOptions",
    "MicroOptions",
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
    "StandaloneConfig",
    "WeightsConfig",
    "check",
    "from_text",
    "parse_budget",
    "space_options",
    "to_dict",
    "update",
]
