"""How much work a search is, so that a progress bar and a forecast can be right."""

from __future__ import annotations

from dataclasses import dataclass

from enas.config import SearchConfig
from enas.data import training_steps

# A training step costs about three forward passes: forward, and backward for inputs and for weights.
TRAINING_COST = 3


@dataclass(frozen=True)
class Work:
    """Child images (images times architectures) to train on and to score."""

    training: int = 0
    scoring: int = 0

    @property
    def units(self) -> int:
        """In forward passes of one image through one architecture."""
        return TRAINING_COST * self.training + self.scoring

    def __add__(self, other: Work) -> Work:
        return Work(self.training + other.training, self.scoring + other.scoring)


def epoch_work(config: SearchConfig, epoch: int, train_images: int) -> Work:
    """One epoch: weights, controller, comparison with random."""
    weights, controller, derive = config.weights, config.controller, config.derive
    steps = training_steps(train_images, weights.batch_size)
    training = steps * min(weights.batch_size, train_images) * weights.architectures_per_step
    scoring = 2 * derive.random_per_epoch * derive.images_per_epoch
    if config.searcher != "reinforce" or epoch >= controller.warmup_epochs:
        scoring += controller.updates * controller.architectures_per_update * controller.batch_size
    return Work(training, scoring)


def work_before_epoch(config: SearchConfig, epoch: int, train_images: int) -> Work:
    """All epochs before `epoch`."""
    return sum((epoch_work(config, e, train_images) for e in range(epoch)), Work())


def total_work(config: SearchConfig, train_images: int, validation_images: int) -> Work:
    """A whole search, as planned: it is less where architectures repeat."""
    derive = config.derive
    finalists = Work(derive.finalists * derive.finalist_epochs * train_images, 0)
    scoring = Work(0, (derive.samples + derive.random) * validation_images)
    return work_before_epoch(config, config.epochs, train_images) + scoring + finalists
