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

from peer_drivers import children
from peer_drivers.protocol import About, Measure, Setup, serve

REPAIRED = "micro as released leaves out the operations of all cells; here they run"


class NniExamples:
    """The example's search script, with lists of batches instead of data loaders."""

    def __init__(self, setup: Setup) -> None:
        children.begin(setup)
        self.setup = setup
        folder = Path(str(setup.checkout)) / "examples" / "nas" / "oneshot" / "enas"
        options: dict[str, Any] = {}
        if setup.space == "macro":
            model = children.imported([folder], "macro").GeneralNetwork(out_filters=36)
        else:
            micro = children.imported([folder], "micro")
            run_operations(micro.Cell)
            model = micro.MicroNetwork(num_layers=6, out_channels=20, num_nodes=5, dropout_rate=0.1)
            options = {"ctrl_kwargs": {"tanh_constant": 1.1}}
        helpers = importlib.import_module("utils")
        train = children.training_batches(setup)
        self.trainer = importlib.import_module("nni.retiarii.oneshot.pytorch.enas").EnasTrainer(
            model,
            loss=torch.nn.CrossEntropyLoss(),
            metrics=helpers.accuracy,
            reward_function=helpers.reward_accuracy,
            optimizer=torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-4),
            num_epochs=1,
            dataset=TensorDataset(*train.batches[0]),
            batch_size=setup.batch_size,
            workers=0,
            device=torch.device("cpu"),
            log_frequency=10,
            **options,
        )
        self.trainer.train_loader, self.trainer.valid_loader = train, children.reward_batches(setup)
        self.sampled = children.recorded(self.trainer.controller, "resample", lambda args, chosen: chosen)
        found = children.versions("nni", "torch")
        self.about = About("NNI, its older example", found, children.parameters(model), (REPAIRED,))

    def run(self, child: dict[str, Any], images: Tensor) -> Tensor:
        """Logits of a child."""
        for name, module in self.trainer.nas_modules:
            module.sampled = child[name]
        logits: Tensor = self.trainer.model(images)
        return logits

    def round(self) -> dict[str, Measure]:
        trainer = self.trainer
        return children.two_phases(
            self.setup,
            lambda: trainer._train_model(0),
            lambda: trainer._train_controller(0),
            self.sampled,
            trainer.model,
            self.run,
        )


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
