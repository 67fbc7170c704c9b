"""The configuration of a search and of a retraining: one frozen dataclass a topic.

Spaces, training, full training, searchers and deriving have files of their own beside this one. Every field is a
setting with its default, its bounds and its help.

No torch here, so that `enas --help` is instant. Command-line options, `--set key=value`, TOML files
and the resolved configuration beside each result are all derived from these fields, so every
default stands once. Numbers marked "ENAS" are those of Pham et al. 2018 or of the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from enas.config.checked import Checked, setting
from enas.config.deriving import AuditConfig, DeriveConfig
from enas.config.full_training import FullTrainingConfig
from enas.config.searchers import SEARCHERS, ControllerConfig, EvolutionConfig, LocalSearchConfig, TpeConfig
from enas.config.spaces import MacroOptions, SpaceOptions
from enas.config.training import StandaloneConfig, WeightsConfig

COSTS = ("params", "macs", "latency_ms")  # of a network, that a search can heed
LIMIT, TARGET = "limit_", "target_"  # how the names of the settings begin that limit them, or pull towards a value
EVALUATORS = ("shared-weights", "full-training", "table")


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
class ObjectiveConfig(Checked):
    """What the controller maximises, and what a network may cost."""

    metric: str = setting(
        "accuracy",
        "reward: proxy accuracy in 0..1, or exp(-loss), the geometric mean probability of the right class",
        choices=("accuracy", "loss"),
        option="--reward",
    )
    # A cube weighs differences between good networks: a step from 0.90 to 0.91 counts 2.5 times, one from 0.30 to
    # 0.31 a quarter. That suits children trained to the end; accuracies under shared weights lie in the middle,
    # where it would mostly change the size of the advantage. Searchers that only compare rewards do not notice.
    power: float = setting(1.0, "the reward is raised to this power (ENAS: 1, Zoph & Le: 3)", above=0, high=100)
    limit_params: float | None = setting(None, "most parameters that a network may have (none: no limit)", above=0)
    limit_macs: float | None = setting(None, "most MACs for an image that a network may take (none: no limit)", above=0)
    limit_latency_ms: float | None = setting(
        None, "most milliseconds that a network may take by the profile (none: no limit)", above=0
    )
    target_params: float | None = setting(None, "parameters that networks should have (none: as may be)", above=0)
    target_macs: float | None = setting(None, "MACs for an image that networks should take (none: as may be)", above=0)
    target_latency_ms: float | None = setting(
        None, "milliseconds that networks should take by the profile (none: as may be)", above=0
    )
    profile: str | None = setting(
        None,
        "file of enas profile, made here or on another machine, by which latencies are predicted",
        option="--profile",
    )
    target_form: str = setting(
        "absolute",
        "what a cost c does to the reward with target t: - weight * |c / t - 1| (absolute; TuNAS, Bender et al. 2020), "
        "or * (c / t)^-weight (exponent; MnasNet, Tan et al. 2019)",
        choices=("absolute", "exponent"),
    )
    target_weight: float = setting(0.07, "weight of each target in the reward (both papers: 0.07)", above=0, high=100)
    width: int | None = setting(
        None,
        "channels of the first stage of the networks whose costs count, as enas retrain --width builds them "
        "(default: the preset's retraining's, else as searched)",
        low=2,
        high=4096,
    )
    depth: int | None = setting(
        None, "the same for --depth, cells in each stage (default: the preset's retraining's)", low=1, high=32
    )

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by the name of the cost."""
        return self._set(LIMIT)

    @property
    def targets(self) -> dict[str, float]:
        """The targets that are set, by the name of the cost."""
        return self._set(TARGET)

    @property
    def heeds_costs(self) -> bool:
        """Whether costs matter, or are at least predicted by a profile."""
        return bool(self.limits or self.targets or self.profile)

    def _set(self, prefix: str) -> dict[str, float]:
        found = {name: getattr(self, prefix + name) for name in COSTS}
        return {name: value for name, value in found.items() if value is not None}


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
    searcher: str = setting("reinforce", "what proposes architectures", choices=SEARCHERS, option="--searcher")
    evaluator: str = setting(
        "shared-weights",
        "what judges architectures: a supernet (ENAS), the full training of each (Zoph & Le 2017), or a table of "
        "trained networks",
        choices=EVALUATORS,
        option="--evaluator",
    )
    table: str | None = setting(
        None, "evaluator table: the file, of NAS-Bench-Macro or NAS-Bench-201", option="--table"
    )
    epochs: int = setting(
        310, "shared weights: epochs, each with both phases (ENAS macro: 310)", option="--epochs", low=1
    )
    evaluations: int = setting(
        100, "full training and table: different networks to evaluate", option="--evaluations", low=1, high=10**7
    )
    generation: int = setting(
        10,
        "full training and table: architectures that are proposed, judged and told together",
        option="--generation",
        low=1,
        high=4096,
    )
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
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    local_search: LocalSearchConfig = field(default_factory=LocalSearchConfig)
    tpe: TpeConfig = field(default_factory=TpeConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    derive: DeriveConfig = field(default_factory=DeriveConfig)
    full_training: FullTrainingConfig = field(default_factory=FullTrainingConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)

    @property
    def learns(self) -> bool:
        """Whether rewards change what is proposed."""
        return self.searcher != "random"


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
