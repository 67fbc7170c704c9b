"""NNI's older ENAS example: its networks and its released EnasTrainer, which times its own two phases.

Macro has 12 layers and 36 filters, micro 6 + 2 cells and 20 filters, as in ours.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from peer_drivers.children import (
    begin,
    evaluating,
    imported,
    measured,
    parameters,
    recorded,
    reward_batches,
    timed,
    training_batches,
    versions,
)
from peer_drivers.protocol import REWARD, TRAINING, About, Measure, Setup, serve

REPAIRED = "as released it leaves out the operations of all cells; here they run"


class NniExamples:
    """The example's search script, with lists of batches instead of data loaders."""

    def __init__(self, setup: Setup) -> None:
        begin(setup)
        self.setup = setup
        folder = Path(str(setup.checkout)) / "examples" / "nas" / "oneshot" / "enas"
        options: dict[str, Any] = {}
        if setup.space == "macro":
            model = imported([folder], "macro").GeneralNetwork(out_filters=36)
        else:
            micro = imported([folder], "micro")
            run_operations(micro.Cell)
            model = micro.MicroNetwork(num_layers=6, out_channels=20, num_nodes=5, dropout_rate=0.1)
            options = {"ctrl_kwargs": {"tanh_constant": 1.1}}
        helpers = importlib.import_module("utils")
        self.train = training_batches(setup)
        self.trainer = importlib.import_module("nni.retiarii.oneshot.pytorch.enas").EnasTrainer(
            model,
            loss=torch.nn.CrossEntropyLoss(),
            metrics=helpers.accuracy,
            reward_function=helpers.reward_accuracy,
            optimizer=torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-4),
            num_epochs=1,
            dataset=TensorDataset(*self.train.batches[0]),
            batch_size=setup.batch_size,
            workers=0,
            device=torch.device("cpu"),
            log_frequency=10,
            **options,
        )
        self.trainer.train_loader, self.trainer.valid_loader = self.train, reward_batches(setup)
        self.children = recorded(self.trainer.controller, "resample", lambda args, chosen: chosen)
        notes = () if setup.space == "macro" else (REPAIRED,)
        self.about = About("NNI, its older example", versions("nni", "torch"), parameters(model), notes)

    def choose(self, chosen: dict[str, Any]) -> None:
        """Let the network run this child."""
        for name, module in self.trainer.nas_modules:
            module.sampled = chosen[name]

    def round(self) -> dict[str, Measure]:
        setup, model = self.setup, self.trainer.model
        sizes = {TRAINING: setup.steps * setup.batch_size, REWARD: setup.architectures}
        phases = {TRAINING: self.trainer._train_model, REWARD: self.trainer._train_controller}
        measures = {}
        for kind, phase in phases.items():
            seconds = timed(lambda phase=phase: phase(0))  # type: ignore[misc]
            with evaluating(model):
                measures[kind] = measured(seconds, sizes[kind], self.children, self.choose, model, self.train)
        return measures


def run_operations(cell: Any) -> None:
    """Let the example's cells apply the operation that was sampled to the input that was sampled.

    With this trainer their forward method returns the input as it is, so nothing but the cells' frame would be
    trained, and every operation would have the same reward.
    """
    choose_input = cell.forward

    def forward(self: Any, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        chosen, mask = choose_input(self, inputs)
        return self.op_choice(chosen), mask

    cell.forward = forward


if __name__ == "__main__":
    serve(NniExamples)
