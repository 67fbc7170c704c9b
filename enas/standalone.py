"""Training one network on its own: finalists, full training of children, and retraining."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from enas.config import SgdConfig
from enas.data import DataSet, ImageSet, evaluation_batches, training_batches, training_steps
from enas.graph import Graph
from enas.network import Network
from enas.objective import Scores
from enas.ops import Noise
from enas.runtime import Runtime, derived_seed, generator
from enas.training import EpochStats, evaluate, sgd, train_epoch

EVALUATION_BATCH = 500


class Standalone:
    """A network, its optimiser and its place in the schedule: all that a checkpoint has to hold.

    Weights, image order, augmentation and dropout follow from `seed` alone.
    """

    def __init__(
        self,
        graph: Graph,
        data: DataSet,
        images: ImageSet,
        config: SgdConfig,
        epochs: int,
        seed: int,
        runtime: Runtime,
    ) -> None:
        self.data, self.images, self.config = data, images, config
        self.epochs, self.seed, self.runtime = epochs, seed, runtime
        self.network = Network(graph, generator(seed, "weights")).to(runtime.device)
        self.optimizer = sgd(self.network, config)
        self.draws = generator(seed, "images")
        self.epoch = 0

    @property
    def steps(self) -> int:
        """Training steps in an epoch."""
        return training_steps(len(self.images), self.config.batch_size)

    def train_epoch(self, on_step: Callable[[int], None] = lambda child_images: None) -> EpochStats:
        """Train for the next epoch of the schedule."""
        data, steps = self.data, self.steps
        first_step = self.epoch * steps

        def model(inputs: Tensor, step: int) -> Tensor:
            seed = derived_seed(self.seed, f"dropout/{first_step + step}")
            noise = Noise(self.config.dropout, seed) if self.config.dropout else None
            return self.network(inputs, noise)[None]  # type: ignore[no-any-return]

        batches = training_batches(
            self.images, self.config.batch_size, data.augmentation, data.mean, data.std, self.draws
        )
        self.network.train()
        stats = train_epoch(
            model,
            self.optimizer,
            batches,
            steps,
            self.config,
            self.runtime,
            epoch=self.epoch,
            epochs=self.epochs,
            statistics=list(self.network.buffers()),
            on_step=on_step,
        )
        self.epoch += 1
        return stats

    def score(self, images: ImageSet, on_step: Callable[[int], None] = lambda child_images: None) -> Scores:
        """Accuracy and loss [1] on `images`, with running batch-norm statistics."""
        return score(self.network, self.data, images, self.runtime, on_step)

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "draws": self.draws.get_state(),
            "epoch": self.epoch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.draws.set_state(state["draws"])
        self.epoch = state["epoch"]


def score(
    network: Network,
    data: DataSet,
    images: ImageSet,
    runtime: Runtime,
    on_step: Callable[[int], None] = lambda child_images: None,
) -> Scores:
    """Accuracy and loss [1] of a trained network on un-augmented images."""
    network.eval()
    batches = evaluation_batches(images, EVALUATION_BATCH, data.mean, data.std)
    return evaluate(lambda inputs: network(inputs)[None], batches, runtime, on_step)
