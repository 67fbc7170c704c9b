"""NNI's strategy ENAS, as released: its own loop inside Lightning, on the spaces of its model hub.

Micro are ENAS' cells, 6 + 2 with 20 filters; nasbench201 has 16 filters and five cells a stage, as in ours.
"""

from __future__ import annotations

import importlib
import time
from typing import Any

import torch
from torch import Tensor

from peer_drivers import children
from peer_drivers.protocol import REWARD, TRAINING, About, Measure, Setup, serve


class NniRelease:
    """One epoch of the strategy a round: training batches first, then those that reward, with its updates."""

    def __init__(self, setup: Setup) -> None:
        children.begin(setup)
        self.setup = setup
        hub = importlib.import_module("nni.nas.hub.pytorch.nasnet" if setup.space == "micro" else "nni.nas.hub.pytorch")
        space = hub.ENAS(width=20, num_cells=8) if setup.space == "micro" else hub.NasBench201()
        self.ends_s: list[float] = []
        lightning = importlib.import_module("pytorch_lightning")
        evaluator = importlib.import_module("nni.nas.evaluator.pytorch").Classification(
            optimizer=torch.optim.SGD,
            learning_rate=0.05,
            train_dataloaders=children.training_batches(setup),
            val_dataloaders=children.reward_batches(setup),
            num_classes=children.CLASSES,
            accelerator="cpu",
            max_epochs=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            callbacks=[
                lightning.callbacks.LambdaCallback(
                    on_train_epoch_start=lambda *event: self.ends_s.append(time.perf_counter()),
                    on_train_batch_end=lambda *event: self.ends_s.append(time.perf_counter()),
                )
            ],
        )
        strategy = importlib.import_module("nni.nas.strategy").ENAS(reward_metric_name="val_acc")
        spaces = importlib.import_module("nni.nas.space")
        engine = importlib.import_module("nni.nas.execution").SequentialExecutionEngine()
        strategy.initialize(spaces.RawFormatModelSpace(space, evaluator), engine)
        self.module, self.network = strategy.oneshot_module, strategy.supernet
        evaluator = strategy._mutated_model_space.evaluator
        self.trainer, self.loaders = evaluator.trainer, evaluator.train_dataloaders
        self.module.set_model(self.network)
        self.sampled = children.recorded(self.module, "resample", lambda args, chosen: dict(chosen))
        names = ("nni", "pytorch-lightning", "torch")
        self.about = About("NNI, strategy ENAS", children.versions(*names), children.parameters(self.network))

    def round(self) -> dict[str, Measure]:
        setup = self.setup
        self.ends_s.clear()
        # it updates after every batch, also of training, as long as this number is a multiple of 20
        self.module._trajectory_counter = 0
        self.trainer.fit_loop.max_epochs += 1
        self.trainer.fit(self.module, self.loaders)
        start_s, trained_s, end_s = self.ends_s[0], self.ends_s[setup.steps], self.ends_s[-1]
        images, sampled = setup.steps * setup.batch_size, list(self.sampled)
        self.sampled.clear()
        return {
            TRAINING: self.measure(trained_s - start_s, images, sampled[: setup.steps]),
            REWARD: self.measure(end_s - trained_s, setup.architectures, sampled[setup.steps :]),
        }

    def run(self, child: dict[str, Any], images: Tensor) -> Tensor:
        """Logits of a child."""
        for module in self.module.supernet_modules():
            module.resample(memo=child)
        logits: Tensor = self.network(images)
        return logits

    def measure(self, seconds: float, count: int, sampled: list[Any]) -> Measure:
        """With the MACs of these children."""
        return children.measured(self.setup, seconds, count, sampled, self.network, self.run)


if __name__ == "__main__":
    serve(NniRelease)
