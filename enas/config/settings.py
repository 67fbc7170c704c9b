"""Every setting of the program, its default, its bounds and its help: one frozen dataclass a topic.

No torch here, so that `enas --help` is instant. Command-line options, `--set key=value`, TOML files
and the resolved configuration beside each result are all derived from these fields, so every
default stands once. Numbers marked "ENAS" are those of Pham et al. 2018 or of the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from enas.config.checked import Checked, setting


@dataclass(frozen=True, kw_only=True)
class DataConfig(Checked):
    """Which images, at which size, split and augmented how."""

    name: str | None = setting(
        None,
        "digits (ships with the package), a folder with train/<class>/*, or cifar10, cifar100, fashion-mnist, kmnist, "
        "mnist or svhn (downloaded once, by torchvision)",
        option="--data",
    )
    folder: str | None = setting(
        None,
        "where data sets that are named, but digits, lie or are downloaded to, laid out as torchvision does "
        "(default: datasets in the cache folder)",
        option="--data-folder",
    )
    image_size: int | None = setting(
        None,
        "side of the square images in pixels; images keep their aspect and are cropped to the centre "
        "(default: the images' own size where all agree, else 64)",
        option="--image-size",
        low=4,
        high=1024,
    )
    validation_fraction: float = setting(
        0.1, "share of the training images that judges architectures and never trains weights", above=0, high=0.9
    )
    test_fraction: float = setting(
        0.15, "share of the training images set aside as test set where a folder has no test/", above=0, high=0.9
    )
    split_seed: int = setting(0, "seed of both splits; not the run's seed, so that runs stay comparable", low=0)
    crop_padding: int | None = setting(
        None, "random crop after padding by so many pixels (default: size / 8)", low=0, high=512
    )
    flip: bool | None = setting(
        None, "random horizontal flip (default: yes, but no for digits, kmnist, mnist and svhn)"
    )
    cutout: int = setting(
        0, "side of the square that cutout blanks in training images (0: off)", option="--cutout", low=0
    )
    trivial_augment: bool = setting(
        False,
        "TrivialAugment (Mueller & Hutter 2021): one random operation of 14 for each training image",
        option="--trivial-augment",
    )
    memory_limit_gib: float = setting(4.0, "largest data set in GiB of decoded bytes that is kept in memory", above=0)
    skip_unreadable: bool = setting(False, "leave out images that cannot be decoded instead of stopping")


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


SpaceOptions = MacroOptions | MicroOptions | ResNet20Options
SPACE_OPTIONS: dict[str, type[SpaceOptions]] = {
    options.name: options for options in (MacroOptions, MicroOptions, ResNet20Options)
}
SEARCHABLE = ("macro", "micro")


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
    """Phase 1: training the shared weights."""

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


@dataclass(frozen=True, kw_only=True)
class ControllerConfig(Checked):
    """Phase 2: the recurrent policy and REINFORCE."""

    recurrence: str = setting(
        "lstm", "what the policy's state runs through (ENAS: lstm)", choices=("lstm", "gru"), option="--recurrence"
    )
    hidden: int = setting(64, "units of the recurrence (ENAS: 64)", low=1, high=4096)
    lr: float = setting(1e-3, "Adam learning rate (ENAS: 1e-3 macro, 3.5e-3 micro)", above=0)
    # Not a detail: once the policy has chosen, its gradients are mostly noise. With torch's 1e-8 Adam
    # made full steps of them and the skip rate swung between 0.3 and 1.0; this is of their size and damps them.
    adam_eps: float = setting(1e-3, "Adam's eps (ENAS: 1e-3)", above=0)
    temperature: float = setting(1.0, "logits are divided by this before tanh (ENAS: 1)", above=0)
    # With ENAS' 1.5 no operation of six could ever exceed a probability of 0.80; 2.5 allows 0.97.
    tanh_constant: float = setting(2.5, "logits are constant * tanh(logits) (ENAS macro: 1.5)", above=0)
    entropy_weight: float = setting(1e-4, "entropy bonus in the reward, detached (ENAS: 1e-4)", low=0)
    advantage: str = setting(
        "leave-one-out",
        "what a reward is compared with: the mean of the others on the same images, or the moving average (ENAS)",
        choices=("leave-one-out", "moving-average"),
    )
    baseline_decay: float = setting(0.99, "decay of the moving-average baseline per architecture", low=0, high=0.99999)
    skip_target: float = setting(
        0.4, "wanted mean rate of skip connections, as sampled (ENAS: 0.4)", above=0, high=0.99
    )
    # ENAS sums the divergence over all skip decisions, which holds each of them near the target and
    # so keeps the policy from ever choosing. Here it is the divergence of an architecture's mean rate.
    skip_weight: float = setting(0.1, "weight of the skip-rate penalty (ENAS: 0.8, see skip_target)", low=0)
    grad_clip: float = setting(5.0, "largest norm of the controller's gradient", above=0)
    warmup_epochs: int = setting(
        0, "epochs in which architectures are uniform and the controller rests (ENAS: 0)", low=0
    )
    updates: int = setting(50, "controller updates in an epoch (ENAS macro: 50)", low=1)
    architectures_per_update: int = setting(20, "architectures of one update (ENAS macro: 20)", low=2, high=4096)
    batch_size: int = setting(128, "validation images that an update's architectures share (ENAS: 128)", low=2)


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(Checked):
    """What the controller maximises."""

    metric: str = setting(
        "accuracy",
        "reward: proxy accuracy in 0..1, or exp(-loss), the geometric mean probability of the right class",
        choices=("accuracy", "loss"),
        option="--reward",
    )


@dataclass(frozen=True, kw_only=True)
class DeriveConfig(Checked):
    """Choosing the final architecture, and how far it is from chance."""

    samples: int = setting(100, "architectures sampled and scored on the whole validation set", low=2)
    random: int = setting(100, "uniform random architectures scored the same way, for comparison", low=2)
    finalists: int = setting(5, "best of them that are trained on their own for a short time", low=1)
    finalist_epochs: int = setting(2, "epochs of that training (0: the best proxy score wins)", low=0)
    random_per_epoch: int = setting(
        20, "architectures of the controller and as many uniform ones scored after each epoch", low=2
    )
    images_per_epoch: int = setting(256, "validation images of that comparison", low=2)
    batch_size: int = setting(250, "validation images in a pass when scoring on the whole set", low=4)


@dataclass(frozen=True, kw_only=True)
class RunConfig(Checked):
    """How to run: seed, device, number format. Shared by search and retraining."""

    seed: int = setting(0, "seed of every random draw", option="--seed", low=0, high=2**31 - 1)
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps", option="--device")
    precision: str = setting(
        "auto",
        "number format of convolutions: float32, bfloat16 (autocast), or auto: the device's faster one",
        choices=("auto", "float32", "bfloat16"),
        option="--precision",
    )
    deterministic: bool = setting(False, "only deterministic GPU algorithms", option="--deterministic")
    threads: int = setting(0, "CPU threads (0: all cores)", low=0, high=1024)
    checkpoint_minutes: float = setting(3.0, "minutes between checkpoints within a phase", above=0)


@dataclass(frozen=True, kw_only=True)
class SearchConfig(RunConfig):
    """One search, complete: `enas search` needs nothing else."""

    preset: str = setting("quick", "preset that this configuration started from")
    searcher: str = setting(
        "reinforce", "what proposes architectures", choices=("reinforce", "random"), option="--searcher"
    )
    epochs: int = setting(310, "epochs, each with both phases (ENAS macro: 310)", option="--epochs", low=1)
    budget: str | None = setting(
        None,
        "time (90s, 40m, 2h) or floating-point operations (flops=2e15) to fit the whole search into; sizes of "
        "epochs and derivation then follow from it",
        option="--budget",
    )
    data: DataConfig = field(default_factory=DataConfig)
    space: SpaceOptions = field(default_factory=MacroOptions)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    controller: ControllerConfig = field(default_factory=ControllerConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    derive: DeriveConfig = field(default_factory=DeriveConfig)


@dataclass(frozen=True, kw_only=True)
class RetrainConfig(RunConfig):
    """Training one architecture from scratch, complete: `enas retrain` needs nothing else."""

    arch: str = setting("", "the architecture in its text form")
    epochs: int = setting(310, "epochs (ENAS macro: 310)", option="--epochs", low=1)
    width: int | None = setting(
        None, "channels of the first stage (default: as searched)", option="--width", low=2, high=4096
    )
    depth: int | None = setting(
        None, "micro: normal cells in each stage (default: as searched)", option="--depth", low=1, high=32
    )
    data: DataConfig = field(default_factory=DataConfig)
    space: SpaceOptions = field(default_factory=MacroOptions)
    sgd: StandaloneConfig = field(default_factory=StandaloneConfig)
