"""MengTianjian/enas-pytorch: the two phases of its search script, on its networks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peer_drivers import children
from peer_drivers.protocol import About, Measure, Setup, serve


class MengTianjian:
    """What the script's main function does in an epoch, with its settings and lists of batches.

    Its module reads the command line and makes a folder for its log where it is imported. Its second phase has 300
    steps, whatever the number of architectures; the name `range` in it is replaced for that.
    """

    def __init__(self, setup: Setup) -> None:
        children.begin(setup)
        children.without_cuda()
        self.setup = setup
        sys.argv[1:] = ["--batch_size", str(setup.batch_size)]
        self.script = children.imported([Path(str(setup.checkout))], "train_search")
        vars(self.script)["range"] = lambda steps: range(setup.architectures)
        args = self.script.args
        self.network, self.controller = self.script.CNN(args), self.script.Controller(args)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), args.child_lr_max, momentum=args.momentum, weight_decay=args.weight_decay
        )
        self.controller_optimizer = torch.optim.Adam(
            self.controller.parameters(), args.controller_lr, betas=(0.1, 0.999), eps=1e-3
        )
        self.train, self.reward = children.training_batches(setup), children.reward_batches(setup)
        self.sampled = children.recorded(self.controller, "forward", lambda args, result: result[0])
        self.about = About("MengTianjian/enas-pytorch", children.versions("torch"), children.parameters(self.network))

    def round(self) -> dict[str, Measure]:
        script, network, controller = self.script, self.network, self.controller
        return children.two_phases(
            self.setup,
            lambda: script.train(self.train, network, controller, self.optimizer),
            lambda: script.train_controller(self.reward, network, controller, self.controller_optimizer),
            self.sampled,
            network,
            self.run,
        )

    def run(self, child: Any, images: Tensor) -> Tensor:
        """Logits of a child."""
        logits: Tensor = self.network(images, child)[0]
        return logits


if __name__ == "__main__":
    serve(MengTianjian)
