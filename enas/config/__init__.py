"""Configuration. No torch.

settings.py   the configuration of a search and of a retraining, and its topics:
              spaces.py (sizes of a space), training.py (SGD), full_training.py (children trained to the end),
              searchers.py (the controller and others)
presets.py    sizes and budgets to start from
budget.py     how a budget is written
plain.py      configuration <-> plain data
"""

from enas.config.budget import Budget, parse_budget
from enas.config.checks import FINALISTS_SIZE, WEIGHTS_SIZE, check, check_image_size
from enas.config.deriving import CRITERIA, FINALIST_CRITERIA, OF_FINALISTS, PARENTS, AuditConfig, DeriveConfig
from enas.config.full_training import FullTrainingConfig
from enas.config.plain import from_text, space_options, to_dict, update
from enas.config.presets import PRESETS, judged_alone
from enas.config.searchers import SEARCHERS, ControllerConfig, EvolutionConfig, LocalSearchConfig, TpeConfig
from enas.config.settings import (
    COSTS,
    LIMIT,
    TARGET,
    DataConfig,
    ObjectiveConfig,
    RetrainConfig,
    RunConfig,
    SearchConfig,
)
from enas.config.spaces import (
    SEARCHABLE,
    SPACE_OPTIONS,
    ChainOptions,
    CustomOptions,
    MacroOptions,
    MicroOptions,
    NasBench201Options,
    NasBenchMacroOptions,
    ResNet20Options,
    SpaceOptions,
)
from enas.config.training import SgdConfig, StandaloneConfig, WeightsConfig

__all__ = [
    "AuditConfig",
    "Budget",
    "COSTS",
    "CRITERIA",
    "ChainOptions",
    "ControllerConfig",
    "CustomOptions",
    "DataConfig",
    "DeriveConfig",
    "EvolutionConfig",
    "FINALISTS_SIZE",
    "FINALIST_CRITERIA",
    "FullTrainingConfig",
    "LIMIT",
    "LocalSearchConfig",
    "MacroOptions",
    "MicroOptions",
    "NasBench201Options",
    "NasBenchMacroOptions",
    "OF_FINALISTS",
    "PARENTS",
    "ObjectiveConfig",
    "PRESETS",
    "ResNet20Options",
    "RetrainConfig",
    "RunConfig",
    "SEARCHABLE",
    "SEARCHERS",
    "SPACE_OPTIONS",
    "SearchConfig",
    "SgdConfig",
    "SpaceOptions",
    "StandaloneConfig",
    "TARGET",
    "TpeConfig",
    "WEIGHTS_SIZE",
    "WeightsConfig",
    "check",
    "check_image_size",
    "from_text",
    "judged_alone",
    "parse_budget",
    "space_options",
    "to_dict",
    "update",
]
