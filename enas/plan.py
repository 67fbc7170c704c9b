"""How much work a search is, so that a progress bar and a forecast can be right.

Unit: one forward pass of one image through one architecture. A training step costs about three
(forward, and backward for inputs and for weights).
"""

from __future__ import annotations

from enas.config import SearchConfig
from enas.data import training_steps

TRAINING_COST = 3


def epoch_work(config: SearchConfig, epoch: int, train_images: int) -> int:
    """Work of one epoch: weights, controller, comparison with random."""
    weights, controller, derive = config.weights, config.controller, config.derive
    steps = training_steps(train_images, weights.batch_size)
    work = TRAINING_COST * steps * min(weights.batch_size, train_images) * weights.architectures_per_step
    if config.searcher != "reinforce" or epoch >= controller.warmup_epochs:
        work += controller.updates * controller.architectures_per_update * controller.batch_size
    return work + 2 * derive.random_per_epoch * derive.images_per_epoch


def work_before_epoch(config: SearchConfig, epoch: int, train_images: int) -> int:
    """Work of all epochs before `epoch`."""
    return sum(epoch_work(config, e, train_images) for e in range(epoch))


def total_work(config: SearchConfig, train_images: int, validation_images: int) -> int:
    """Work of a whole search, as planned: it is less where architectures repeat."""
    derive = config.derive
    scoring = (derive.samples + derive.random) * validation_images
    finalists = derive.finalists * derive.finalist_epochs * train_images * TRAINING_COST
    return work_before_epoch(config, config.epochs, train_images) + scoring + finalists
