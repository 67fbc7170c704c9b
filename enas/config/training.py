"""Settings of training: the shared weights, and one network on its own."""

from __future__ import annotations

from dataclasses import dataclass

from enas.config.checked import Checked, setting


@dataclass(frozen=True, kw_only=True)
class SgdConfig(Checked):
    """SGD with Nesterov momentum; what training the shared weights and training one network have in common."""

    batch_size: int = setting(128, "images in a training step", option="--batch-size", low=2, high=65536)
    lr_max: float = setting(0.05, "highest learning rate (ENAS: 0.05)", option="--lr-max", above=0)
    lr_min: float = setting(0.0005, "lowest learning rate (ENAS: 0.0005)", above=0)
    schedule: str = setting(
        "cosine", "course of the learning rate", choices=("cosine", "cosine-restarts", "one-cycle"), option="--schedule"
    )
    warmup_fraction: float = setting(0.2, "one-cycle: share of the steps in which the rate rises", low=0, high=0.9)
    restart_period: int = setting(10, "cosine-restarts: epochs of the first cycle (ENAS: 10)", low=1)
    restart_factor: int = setting(2, "cosine-restarts: each cycle is so many times longer (ENAS: 2)", low=1)
    momentum: float = setting(0.9, "Nesterov momentum (ENAS: 0.9)", low=0, high=0.9999)
    weight_decay: float = setting(
        5e-4, "weight decay; ENAS' flag 2.5e-4 multiplies sum(w^2), whose gradient has the factor 2", low=0
    )
    grad_clip: float = setting(
        5.0, "largest norm of the gradient (ENAS configures 5.0; the authors' code then skips it)", above=0
    )
    dropout: float = setting(0.1, "dropout before the classifier (ENAS macro search: 0.1)", low=0, high=0.95)
    drop_path: float = setting(
        0.0,
        "largest rate of drop-path, reached at the last cell and the last epoch (ENAS micro: 0.4)",
        option="--drop-path",
        low=0,
        high=0.95,
    )
    label_smoothing: float = setting(0.0, "label smoothing", option="--label-smoothing", low=0, high=0.9)
    max_nonfinite: int = setting(
        20, "steps with a non-finite loss or gradient that are skipped in one epoch before it stops", low=0
    )


@dataclass(frozen=True, kw_only=True)
class WeightsConfig(SgdConfig):
    """Phase 1: training the shared weights; and how much memory scoring by them may take."""

    steps: int | None = setting(
        None,
        "training steps in an epoch (default: those of one pass over the training images)",
        low=1,
        high=10**7,
    )
    architectures_per_step: int = setting(
        1,
        "architectures trained in one step on the same images; their losses are averaged (ENAS: 1)",
        option="--architectures-per-step",
        low=1,
        high=256,
    )
    sampling: str = setting(
        "independent",
        "how uniform architectures are drawn, as in warm-up: each by itself (independent), or those of a step so that "
        "they make all choices of a decision equally often, as far as their number allows (fair; FairNAS), or the "
        "largest one of the space in each step beside independent ones (sandwich)",
        choices=("independent", "fair", "sandwich"),
        option="--sampling",
    )
    image_size: int | None = setting(
        None,
        "side in pixels of the images that shared weights are trained and judge on, at most the search's; costs are of "
        "those of the search, on which finalists are trained too, if nothing else is said (default: the search's)",
        low=4,
        high=1024,
    )
    ema_decay: float = setting(
        0.0,
        "judge by a moving average of the shared weights, with this decay per step, less at first (0: by the weights "
        "themselves)",
        low=0,
        high=0.99999,
    )
    distillation: float = setting(
        0.0,
        "sampling sandwich: share of the largest architecture's answers in what the others of its step learn, the "
        "labels have the rest (Yu et al. 2020)",
        option="--distillation",
        low=0.0,
        high=1.0,
    )
    shrinks: int = setting(
        0,
        "how often decisions of more than two choices give up the worst one, by its effect on the loss, while uniform "
        "architectures train the shared weights; from then on none of these makes it",
        option="--shrinks",
        low=0,
        high=8,
    )
    splits: int = setting(
        0,
        "decisions on which the shared weights are split (few-shot; Zhao et al. 2021): every choice, or every "
        "combination of choices of several, goes on with a copy of its own. It is those decisions whose choices' "
        "gradients agree least (Hu et al. 2022), as long as that makes no more than 64 copies",
        option="--splits",
        low=0,
        high=3,
    )
    split_after: float = setting(0.5, "share of the epochs after which shared weights are split", low=0.0, high=0.99)
    source: str | None = setting(
        None,
        "folder of a search with the same images and space whose shared weights are used as they are, as enas derive "
        "sets it: no epoch trains them (none: they are trained)",
    )
    scoring_memory_gib: float | None = setting(
        None,
        "memory in GiB for the passes that score architectures at a time, by estimate; as many as fit share what they "
        "have in common (default: 2, or a quarter of a GPU's memory)",
        above=0,
    )


@dataclass(frozen=True, kw_only=True)
class StandaloneConfig(SgdConfig):
    """Training one network on its own."""

    auxiliary_weight: float = setting(
        0.0,
        "weight of an auxiliary classifier's loss in training (ENAS micro: 0.4)",
        option="--auxiliary-weight",
        low=0,
        high=10,
    )
    ema_decay: float = setting(
        0.0,
        "test a moving average of the weights, with this decay per step, less at first (0: the weights themselves)",
        option="--ema-decay",
        low=0,
        high=0.99999,
    )
    mixup: float = setting(0.0, "alpha of mixup (Zhang et al. 2018; 0: off)", option="--mixup", low=0, high=10)
