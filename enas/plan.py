"""How much work a search is, so that a progress bar, a forecast and a budget can be right."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

from enas import halving
from enas.config import DeriveConfig, SearchConfig
from enas.data import training_steps

# A training step costs about three forward passes: forward, and backward for inputs and for weights.
TRAINING_COST = 3
UNTRAINED_IMAGES = 64  # that untrained networks are judged on
SPLITTING_PASSES = 256  # training passes about, of one architecture each, that decide where to split shared weights
SHRINKING_ARCHITECTURES = 400  # by which decisions see what to give up
SYNFLOW_IMAGES = 3  # its one image there and back costs about as much as three forward passes


def untrained_images(train_images: int) -> int:
    """As many child images to score as the zero-cost proxies of one network are worth."""
    return min(UNTRAINED_IMAGES, train_images) + SYNFLOW_IMAGES


class Images(NamedTuple):
    """How many images a search trains and judges on.

    larger, finalist: forward passes of an image as shared weights see it that one takes as it is, and as finalists see
    it (enas/seen.py).
    """

    train: int
    validation: int
    larger: float = 1.0
    finalist: float = 1.0


@dataclass(frozen=True)
class Work:
    """Child images (images times architectures) to train on and to score, and controller updates.

    Images are those that shared weights see: a larger one counts as several.
    """

    training: int = 0
    scoring: int = 0
    updates: int = 0

    @property
    def units(self) -> int:
        """In forward passes of one image through one architecture."""
        return TRAINING_COST * self.training + self.scoring

    def __add__(self, other: Work) -> Work:
        return Work(self.training + other.training, self.scoring + other.scoring, self.updates + other.updates)

    def __mul__(self, times: float) -> Work:
        return Work(*(round(times * count) for count in (self.training, self.scoring, self.updates)))


def warmup_share(config: SearchConfig) -> float:
    """The share of warm-up in the epochs, at most a half: the controller has to learn too."""
    return min(0.5, config.controller.warmup_epochs / config.epochs) if config.learns else 0.0


def sizes(config: SearchConfig) -> dict[str, Any]:
    """The sizes that a time budget may change while the search runs."""
    return {
        "epochs": config.epochs,
        "warmup_epochs": config.controller.warmup_epochs,
        "derive": dataclasses.asdict(config.derive),
    }


def with_sizes(config: SearchConfig, sizes: dict[str, Any]) -> SearchConfig:
    """The configuration with such sizes."""
    return dataclasses.replace(
        config,
        epochs=sizes["epochs"],
        controller=dataclasses.replace(config.controller, warmup_epochs=sizes["warmup_epochs"]),
        derive=DeriveConfig(**sizes["derive"]),
    )


def weight_steps(config: SearchConfig, train_images: int) -> int:
    """Training steps of the shared weights in an epoch: one pass over the images, or as many as are set; none of such
    that another search has trained."""
    if config.weights.source is not None:
        return 0
    return config.weights.steps or training_steps(train_images, config.weights.batch_size)


def epoch_work(config: SearchConfig, epoch: int, images: Images) -> Work:
    """One epoch: weights, controller, comparison with random."""
    weights, controller, derive = config.weights, config.controller, config.derive
    steps = weight_steps(config, images.train)
    training = steps * min(weights.batch_size, images.train) * weights.architectures_per_step
    scoring = 2 * derive.random_per_epoch * min(derive.images_per_epoch, images.validation)
    rests = not config.learns or epoch < controller.warmup_epochs
    updates = 0 if rests else controller.updates
    scoring += updates * controller.architectures_per_update * min(controller.batch_size, images.validation)
    return Work(training, scoring, updates)


def split_epoch(config: SearchConfig) -> int | None:
    """The epoch, from 0, at whose beginning shared weights are split, if they are: one is left at least, and where
    there are two one comes before it."""
    if not config.weights.splits or config.weights.source is not None:
        return None
    return min(max(1, round(config.weights.split_after * config.epochs)), config.epochs - 1)


def shrink_epochs(config: SearchConfig) -> list[int]:
    """The epochs, from 0, at whose beginning decisions give up a choice: they part those with uniform architectures,
    of which one comes before the first and one is left after the last; fewer than are set where those are too few."""
    times = 0 if config.weights.source is not None else config.weights.shrinks
    uniform = config.controller.warmup_epochs if config.learns else config.epochs
    due = {round(i * uniform / (times + 1)) for i in range(1, times + 1)}
    return sorted(epoch for epoch in due if 0 < epoch < uniform)


def changes_work(config: SearchConfig, images: Images) -> Work:
    """What it takes to see where to split shared weights, about, and what to give up."""
    splitting = SPLITTING_PASSES * min(config.weights.batch_size, images.train)
    judging = SHRINKING_ARCHITECTURES * min(config.derive.images_per_epoch, images.validation)
    return Work(0 if split_epoch(config) is None else splitting, judging * len(shrink_epochs(config)))


def epochs_work(config: SearchConfig, first: int, end: int, images: Images) -> Work:
    """Epochs `first` to `end` - 1; in no time, however many they are."""
    resting = max(0, min(end, config.controller.warmup_epochs) - first)
    early = epoch_work(config, 0, images)
    late = epoch_work(config, config.controller.warmup_epochs, images)
    # a search that is under way counts no change any more: whether it has been made its configuration does not know
    changes = changes_work(config, images) if first == 0 else Work()
    return early * resting + late * (end - first - resting) + changes


def derive_work(config: SearchConfig, images: Images) -> Work:
    """Scoring many architectures and training the finalists, as planned: it is less where architectures repeat."""
    derive = config.derive
    architectures = derive.rounds * derive.samples + derive.random
    scoring = architectures * images.validation
    if derive.criterion == "effects":
        scoring += derive.effects_from * min(derive.effects_images, images.validation)
        scoring += derive.finalists * images.validation
    if derive.criterion == "vote":
        scoring += architectures * untrained_images(images.train)
    return Work(0, scoring) + finalists_work(derive, images)


def finalists_work(derive: DeriveConfig, images: Images) -> Work:
    """Training the finalists, and scoring each at the end of each of its rungs: less where some fail, or where a
    further round finds fewer."""
    if derive.finalist_epochs == 0:
        return Work()
    counts = halving.counts(derive.finalists, derive.rungs, derive.halving_eta)
    epochs = sum(count * span for count, span in zip(counts, halving.spans(derive.rungs), strict=True))
    one_round = Work(epochs * images.train, sum(counts) * images.validation)
    return one_round * (derive.rounds * images.finalist)


def total_work(config: SearchConfig, images: Images) -> Work:
    """A whole search."""
    return epochs_work(config, 0, config.epochs, images) + derive_work(config, images)
