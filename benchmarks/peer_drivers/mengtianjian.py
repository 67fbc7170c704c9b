"""MengTianjian/enas-pytorch: the two phases of its search script, on its networks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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
    without_cuda,
)
from peer_drivers.protocol import REWARD, TRAINING, About, Measure, Setup, serve


class MengTianjian:
    """What the script's main function does in an epoch, with its settings and lists of batches.

    Its module reads the command line and makes a folder for its log where it is imported. Its second phase has 300
    steps, whatever the number of architectures; the name `range` in it is replaced for that.
    """

    def __init__(self, setup: Setup) -> None:
        begin(setup)
        without_cuda()
        self.setup = setup
        sys.argv[1:] = ["--batch_size", str(setup.batch_size)]
        self.script = imported([Path(str(setup.checkout))], "train_search")
        vars(self.script)["range"] = lambda steps: range(setup.architectures)
        args = self.script.args
        self.network, self.controller = self.script.CNN(args), self.script.Controller(args)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), args.child_lr_max, momentum=args.momentum, weight_decay=args.weight_decay
        )
        self.controller_optimizer = torch.optim.Adam(
            self.controller.parameters(), args.controller_lr, betas=(0.1, 0.999), eps=1e-3
        )
        self.train, self.reward = training_batches(setup), reward_batches(setup)
        self.children = recorded(self.controller, "forward", lambda args, result: result[0])
        self.about = About("MengTianjian/enas-pytorch", versions("torch"), parameters(self.network))

    def round(self) -> dict[str, Measure]:
        setup, script, network = self.setup, self.script, self.network
        training_s = timed(lambda: script.train(self.train, network, self.controller, self.optimizer))
        training = self.measure(training_s, setup.steps * setup.batch_size)
        reward_s = timed(
            lambda: script.train_controller(self.reward, network, self.controller, self.controller_optimizer)
        )
        return {TRAINING: training, REWARD: self.measure(reward_s, setup.architectures)}

    def measure(self, seconds: float, count: int) -> Measure:
        """With the MACs of the children since the last one."""
        child: list[Any] = []

        def forward(images: Tensor) -> Tensor:
            logits: Tensor = self.network(images, child[0])[0]
            return logits

        def choose(chosen: Any) -> None:
            child[:] = [chosen]

        with evaluating(self.network):
            return measured(seconds, count, self.children, choose, forward, self.train)


if __name__ == "__main__":
    serve(MengTianjian)
