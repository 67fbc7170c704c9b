"""Presets: sizes and budgets. `--space` picks the space, so a preset only adjusts the options it knows."""

from __future__ import annotations

from typing import Any

from enas.config.settings import (
    ControllerConfig,
    DataConfig,
    DeriveConfig,
    MacroOptions,
    RetrainConfig,
    SearchConfig,
    SgdConfig,
    WeightsConfig,
)


def quick() -> tuple[SearchConfig, RetrainConfig]:
    """Real images that ship with the package (8x8 digits), a small space, a few minutes on two cores."""
    sgd: dict[str, Any] = {"batch_size": 64, "lr_max": 0.1, "lr_min": 0.001, "weight_decay": 5e-4}
    search = SearchConfig(
        preset="quick",
        epochs=50,
        data=DataConfig(name="digits", validation_fraction=0.25),
        space=MacroOptions(layers=6, width=16),
        weights=WeightsConfig(architectures_per_step=2, **sgd),
        controller=ControllerConfig(warmup_epochs=20, updates=20, architectures_per_update=16, batch_size=100, lr=3e-3),
        derive=DeriveConfig(finalists=4, finalist_epochs=8),
    )
    retrain = RetrainConfig(epochs=60, data=search.data, space=search.space, sgd=SgdConfig(schedule="one-cycle", **sgd))
    return search, retrain


def cpu() -> tuple[SearchConfig, RetrainConfig]:
    """CIFAR-10-sized images on two CPU cores: about 40 minutes of search, 10 minutes of retraining."""
    search = SearchConfig(
        preset="cpu",
        epochs=26,
        # 16 channels: on processors with 512-bit vectors 20 channels take twice the time of 16
        space=MacroOptions(width=16),
        weights=WeightsConfig(lr_max=0.1, lr_min=0.001),
        controller=ControllerConfig(warmup_epochs=8, batch_size=64),
        derive=DeriveConfig(samples=60, random=60, finalists=3, finalist_epochs=1),
    )
    retrain = RetrainConfig(
        epochs=8,
        space=search.space,
        sgd=SgdConfig(schedule="one-cycle", lr_max=0.2, lr_min=0.0002, label_smoothing=0.1, dropout=0.0),
    )
    return search, retrain


def cifar10_macro() -> tuple[SearchConfig, RetrainConfig]:
    """The paper's full budget for the macro space: 310 epochs, 12 layers, 36 filters."""
    search = SearchConfig(
        preset="cifar10-macro",
        weights=WeightsConfig(schedule="cosine-restarts"),
        derive=DeriveConfig(samples=1000, random=1000, finalists=10, finalist_epochs=10),
    )
    retrain = RetrainConfig(
        width=96,
        sgd=SgdConfig(batch_size=100, schedule="cosine-restarts", lr_min=0.001, weight_decay=4e-4, dropout=0.5),
    )
    return search, retrain


PRESETS = {"quick": quick, "cpu": cpu, "cifar10-macro": cifar10_macro}
