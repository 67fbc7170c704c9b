"""Presets: sizes and budgets, for any space that they know.

A preset is a function from the space's name (None: the preset's own) to a search and the retraining
of its result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from enas.config.deriving import DeriveConfig
from enas.config.full_training import FullTrainingConfig
from enas.config.plain import space_options
from enas.config.searchers import ControllerConfig
from enas.config.settings import DataConfig, RetrainConfig, SearchConfig
from enas.config.spaces import (
    ChainOptions,
    MacroOptions,
    MicroOptions,
    NasBench201Options,
    NasBenchMacroOptions,
    SpaceOptions,
)
from enas.config.training import StandaloneConfig, WeightsConfig

Preset = Callable[[str | None], tuple[SearchConfig, RetrainConfig]]
CRITERION = "vote"  # on photographs it ranked better than loss or accuracy where a table knows (docs/results.md)
# after three epochs it mostly ranked finalists better than accuracy, on both tables (docs/results.md)
FINALISTS_BY = "training-loss"
# for two cores: on average a third and a thirteenth of the published networks' MACs
SMALL_BENCHMARKS = (NasBench201Options(width=16, cells_per_stage=1), NasBenchMacroOptions(width=8, head=256))


def quick(space: str | None = None) -> tuple[SearchConfig, RetrainConfig]:
    """Real images that ship with the package (8x8 digits), a small space, a few minutes on two cores."""
    sgd: dict[str, Any] = {"batch_size": 64, "lr_max": 0.1, "lr_min": 0.001, "weight_decay": 5e-4}
    alone = StandaloneConfig(schedule="one-cycle", **sgd)
    chosen = _choose(
        space,
        MacroOptions(layers=6, width=16),
        MicroOptions(nodes=3, width=16, cells_per_stage=1),
        ChainOptions(min_layers=3, max_layers=6, kernels=(3, 5), filters=(8, 16, 24)),
        *SMALL_BENCHMARKS,
    )
    chain = isinstance(chosen, ChainOptions)  # its shared weights learn slowly, and pooling would win before they have
    search = SearchConfig(
        preset="quick",
        epochs=50,
        data=DataConfig(name="digits", validation_fraction=0.25),
        space=chosen,
        weights=WeightsConfig(architectures_per_step=2, **sgd),
        controller=ControllerConfig(
            warmup_epochs=30 if chain else 20,
            updates=20,
            architectures_per_update=16,
            batch_size=100,
            lr=1e-3 if chain else 3e-3,
        ),
        derive=DeriveConfig(finalists=4, finalist_epochs=8),
        evaluations=40,
        full_training=FullTrainingConfig(epochs=8, last=2, sgd=alone),
    )
    retrain = RetrainConfig(epochs=60, data=search.data, space=search.space, sgd=alone)
    return search, retrain


def cpu(space: str | None = None) -> tuple[SearchConfig, RetrainConfig]:
    """CIFAR-10-sized images on two CPU cores: about 40 minutes of search, 10 minutes of retraining."""
    # 16 channels: on processors with 512-bit vectors 20 channels take twice the time of 16
    chosen = _choose(
        space,
        MacroOptions(width=16),
        MicroOptions(nodes=3, width=16, cells_per_stage=1),
        ChainOptions(min_layers=4, max_layers=8, kernels=(3, 5), filters=(8, 16, 24)),
        *SMALL_BENCHMARKS,
    )
    micro, chain = isinstance(chosen, MicroOptions), isinstance(chosen, ChainOptions)
    alone = StandaloneConfig(schedule="one-cycle", lr_max=0.2, lr_min=0.0002, label_smoothing=0.1, dropout=0.0)
    search = SearchConfig(
        preset="cpu",
        epochs=12 if micro else 40 if chain else 26,
        space=chosen,
        # Micro: the weights of one side are trained in one step of ten to twenty (five nodes: of thirty), so many
        # steps, large ones, and a long warm-up. Else pooling, which needs no training, wins before convolutions learn.
        weights=WeightsConfig(batch_size=32 if micro else 128, lr_max=0.15 if micro else 0.1, lr_min=0.001),
        controller=ControllerConfig(
            warmup_epochs=6 if micro else 20 if chain else 8,
            batch_size=64,
            lr=2e-3 if micro else 1e-3 if chain else 3e-3,
            adam_eps=1e-4,
        ),
        derive=_derive(scored=40, finalists=3, epochs=1),
        evaluations=40,
        full_training=FullTrainingConfig(epochs=4, last=1, sgd=alone),
    )
    retrain = RetrainConfig(epochs=8, space=search.space, sgd=alone)
    return search, retrain


def cifar10_macro(space: str | None = None) -> tuple[SearchConfig, RetrainConfig]:
    """The paper's full budget for the macro space: 310 epochs, 12 layers, 36 filters."""
    search = SearchConfig(
        preset="cifar10-macro",
        space=_choose(space, MacroOptions()),
        weights=WeightsConfig(schedule="cosine-restarts"),
        derive=_derive(scored=1000, finalists=10, epochs=10),
    )
    width, depth = _paper_scale(search.space)
    retrain = RetrainConfig(
        width=width,
        depth=depth,
        space=search.space,
        sgd=StandaloneConfig(batch_size=100, schedule="cosine-restarts", lr_min=0.001, weight_decay=4e-4, dropout=0.5),
    )
    return search, retrain


def cifar10_micro(space: str | None = None) -> tuple[SearchConfig, RetrainConfig]:
    """The paper's full budget for the micro space: 150 epochs with 6 + 2 cells of 20 filters, then 630
    epochs with 15 + 2 cells of 36."""
    search = SearchConfig(
        preset="cifar10-micro",
        epochs=150,
        space=_choose(space, MicroOptions()),
        weights=WeightsConfig(batch_size=160, schedule="cosine-restarts", weight_decay=2e-4),
        controller=ControllerConfig(lr=3.5e-3, updates=30, architectures_per_update=10, batch_size=160),
        derive=_derive(scored=1000, finalists=10, epochs=10),
    )
    width, depth = _paper_scale(search.space)
    retrain = RetrainConfig(
        epochs=630,
        width=width,
        depth=depth,
        space=search.space,
        sgd=StandaloneConfig(
            batch_size=144,
            schedule="cosine-restarts",
            lr_min=0.0001,
            weight_decay=4e-4,
            dropout=0.2,
            drop_path=0.4,
            auxiliary_weight=0.4,
        ),
    )
    return search, retrain


def cifar10_fast(space: str | None = None) -> tuple[SearchConfig, RetrainConfig]:
    """A modern short schedule for one GPU: a few hours at most of search, 60 epochs of retraining."""
    chosen = _choose(space, MacroOptions(), MicroOptions())
    base, paper = (cifar10_micro if isinstance(chosen, MicroOptions) else cifar10_macro)(space)
    search = dataclasses.replace(
        base,
        preset="cifar10-fast",
        epochs=60,
        weights=dataclasses.replace(base.weights, schedule="cosine", batch_size=256, lr_max=0.1),
        controller=dataclasses.replace(base.controller, warmup_epochs=10, adam_eps=1e-4),
        derive=_derive(scored=500, finalists=5, epochs=5),
    )
    retrain = dataclasses.replace(
        paper,
        epochs=60,
        data=DataConfig(cutout=16),
        sgd=StandaloneConfig(
            batch_size=256,
            schedule="one-cycle",
            lr_max=0.4,
            lr_min=0.0004,
            label_smoothing=0.1,
            dropout=0.0,
            drop_path=0.1 if isinstance(chosen, MicroOptions) else 0.0,
            ema_decay=0.999,
        ),
    )
    return search, retrain


PRESETS: dict[str, Preset] = {
    "quick": quick,
    "cpu": cpu,
    "cifar10-macro": cifar10_macro,
    "cifar10-micro": cifar10_micro,
    "cifar10-fast": cifar10_fast,
}


def judged_alone(search: SearchConfig, evaluator: str) -> SearchConfig:
    """A preset's search for an evaluator that judges each architecture by itself.

    Rewards are then few and without the noise of shared weights: the controller learns in large steps, and from
    the best so far again and again.
    """
    power = 3.0 if evaluator == "full-training" else 1.0  # Zoph & Le cube the accuracy of a child
    return dataclasses.replace(
        search,
        controller=ControllerConfig(lr=0.01, advantage_scale="running", replay=1.0),
        objective=dataclasses.replace(search.objective, power=power),
    )


def _derive(scored: int, finalists: int, epochs: int) -> DeriveConfig:
    """The final choice on photographs: of so many sampled architectures, beside as many uniform ones."""
    return DeriveConfig(
        samples=scored,
        random=scored,
        finalists=finalists,
        finalist_epochs=epochs,
        criterion=CRITERION,
        finalist_criterion=FINALISTS_BY,
    )


def _paper_scale(space: SpaceOptions) -> tuple[int | None, int | None]:
    """Width and depth of the paper's final networks; None: as searched."""
    if isinstance(space, MicroOptions):
        return 36, 5
    return (96, None) if isinstance(space, MacroOptions) else (None, None)


def _choose(space: str | None, *known: SpaceOptions) -> SpaceOptions:
    """The preset's options for the space: the first where none is named, the defaults where it has none."""
    if space is None:
        return known[0]
    return next((options for options in known if options.name == space), space_options(space))
