"""Training one network on its own: finalists, full training of children, and retraining."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from enas.averaging import Average
from enas.config import StandaloneConfig
from enas.data import (
    DataSet,
    ImageSet,
    evaluation_batches,
    mixup,
    random_batch,
    training_batches,
    training_steps,
)
from enas.errors import UserError
from enas.graph import Graph
from enas.losses import Output
from enas.network import Network
from enas.objective import Scores
from enas.ops import AuxiliaryClassifier, Noise, initialise
from enas.runtime import Runtime, derived_seed, generator
from enas.training import Batch, EpochState, EpochStats, evaluate, seconds_per_step, sgd, train_epoch

EVALUATION_BATCH = 500
PROBES = 4  # training steps that a forecast runs
OnStep = Callable[[int], None]


class Standalone:
    """A network, its optimiser and its place in the schedule: all that a checkpoint has to hold.

    Weights, image order, augmentation and noise follow from `seed`, epoch and step alone. Raises
    UserError where the settings ask for an auxiliary classifier that the network has no place for.
    """

    def __init__(
        self,
        graph: Graph,
        data: DataSet,
        images: ImageSet,
        config: StandaloneConfig,
        epochs: int,
        seed: int,
        runtime: Runtime,
    ) -> None:
        self.data, self.images, self.config = data, images, config
        self.epochs, self.seed, self.runtime = epochs, seed, runtime
        self.network = Network(graph, generator(seed, "weights")).to(runtime.device)
        self.auxiliary = (
            _auxiliary(graph, data.num_classes, seed).to(runtime.device) if config.auxiliary_weight else None
        )
        self.optimizer = sgd(nn.ModuleList([self.network] + ([self.auxiliary] if self.auxiliary else [])), config)
        self.average = Average(self.network, config.ema_decay) if config.ema_decay else None
        self.epoch = 0
        self.state = EpochState()  # of the epoch at hand

    @property
    def steps(self) -> int:
        """Training steps in an epoch."""
        return training_steps(len(self.images), self.config.batch_size)

    def epoch_s(self) -> float:
        """Seconds that an epoch will take, from a few steps that spoil the weights: of one to throw away."""
        data, size = self.data, self.config.batch_size
        batch = random_batch(self.images, size, data.mean, data.std, generator(self.seed, "forecast"))
        try:
            return self.steps * seconds_per_step(self.model, self.network.train(), batch, PROBES, self.runtime)
        except torch.OutOfMemoryError:
            out_of_memory()

    def train_epoch(self, on_step: OnStep = lambda child_images: None) -> EpochStats:
        """Train for the next epoch of the schedule, or for the rest of one that was interrupted."""

        def after_step(child_images: int) -> None:
            if self.average is not None:
                self.average.update(self.network, self.epoch * self.steps + self.state.step)
            on_step(child_images)

        self.network.train()
        stats = train_epoch(
            self.model,
            self.optimizer,
            self._batches(),
            self.steps,
            self.config,
            self.runtime,
            epoch=self.epoch,
            epochs=self.epochs,
            state=self.state,
            statistics=list(self.network.buffers()),
            auxiliary_weight=self.config.auxiliary_weight,
            on_step=after_step,
            on_out_of_memory=out_of_memory,
        )
        self.epoch, self.state = self.epoch + 1, EpochState()
        return stats

    def model(self, inputs: Tensor, step: int) -> Iterator[Output]:
        """The network's output in a training step of this epoch."""
        done = self.epoch * self.steps + step
        drop_path = self.config.drop_path * done / (self.epochs * self.steps)  # grows with training (authors)
        noise = Noise(derived_seed(self.seed, f"noise/{done}"), self.config.dropout, drop_path)
        logits, features = self.network.tapped(inputs, noise, tap=self.auxiliary is not None)
        auxiliary = self.auxiliary(features) if self.auxiliary is not None else None
        yield Output(logits[None], auxiliary=auxiliary)

    def score(self, images: ImageSet, on_step: OnStep = lambda child_images: None) -> Scores:
        """Accuracy and loss [1] on `images`, with running batch-norm statistics; of the moving average of
        the weights where there is one."""
        return score(self.final(), self.data, images, self.runtime, on_step)

    def final(self) -> Network:
        """The network that the training gives."""
        return self.network if self.average is None else self.average.module

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "auxiliary": self.auxiliary.state_dict() if self.auxiliary is not None else None,
            "average": self.average.module.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "state": self.state.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        if self.auxiliary is not None:
            self.auxiliary.load_state_dict(state["auxiliary"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.state = state["epoch"], EpochState(**state["state"])

    def _batches(self) -> Iterator[Batch]:
        """The epoch's training batches that are still to come."""
        data, config, first = self.data, self.config, self.state.step
        draws = generator(self.seed, f"images/{self.epoch}")
        batches = training_batches(self.images, config.batch_size, data.augmentation, data.mean, data.std, draws)
        for step, batch in enumerate(itertools.islice(batches, first, None), start=self.epoch * self.steps + first):
            if config.mixup:
                yield mixup(batch, data.num_classes, config.mixup, derived_seed(self.seed, f"mixup/{step}"))
            else:
                yield batch


def score(
    network: Network,
    data: DataSet,
    images: ImageSet,
    runtime: Runtime,
    on_step: OnStep = lambda child_images: None,
) -> Scores:
    """Accuracy and loss [1] of a trained network on un-augmented images, and what it knows of each class."""
    network.eval()
    batches = evaluation_batches(images, EVALUATION_BATCH, data.mean, data.std)
    return evaluate(lambda inputs: network(inputs)[None], batches, runtime, on_step, by_class=True)


def _auxiliary(graph: Graph, num_classes: int, seed: int) -> AuxiliaryClassifier:
    if graph.auxiliary is None:
        raise UserError(
            "an auxiliary classifier needs a network with layers behind it, but this one is too shallow; "
            "set --auxiliary-weight 0"
        )
    auxiliary = AuxiliaryClassifier(graph.nodes[graph.auxiliary].shape, num_classes)
    initialise(auxiliary, generator(seed, "auxiliary"))
    return auxiliary.to(memory_format=torch.channels_last)


class OutOfMemory(UserError):
    """The device has no memory for a training step of one network."""


def out_of_memory() -> NoReturn:
    """Raise OutOfMemory: batch norm works on the whole batch, so a step of one network has no parts."""
    raise OutOfMemory(
        "the device must have memory for a training step, but it ran out; give a smaller --batch-size (and "
        "--lr-max in proportion)"
    )
