"""AutoDL-Projects' ENAS on NAS-Bench-201: the functions of its search script, on its network and controller."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from peer_drivers.children import (
    CLASSES,
    begin,
    evaluating,
    imported,
    measured,
    parameters,
    recorded,
    reward_batches,
    stubbed,
    timed,
    training_batches,
    versions,
    without_cuda,
)
from peer_drivers.protocol import LOGGED, REWARD, TRAINING, About, Measure, Setup, serve

SCRIPT = Path("exps") / "NAS-Bench-201-algos" / "ENAS.py"
SETTINGS = Path("configs") / "nas-benchmark" / "algos" / "ENAS.config"
UPDATE = 20  # architectures of one update of its controller


class AutoDl:
    """What the script's main function does in an epoch, with its settings and lists of batches."""

    def __init__(self, setup: Setup) -> None:
        begin(setup)
        without_cuda()
        self.setup = setup
        folder = Path(str(setup.checkout))
        stubbed("nas_201_api", NASBench201API=None)  # looks up what its script then prints
        models = imported([folder], "xautodl.models")
        self.settings = importlib.import_module("xautodl.config_utils")
        procedures = importlib.import_module("xautodl.procedures")
        self.script = script(folder / SCRIPT)
        self.script.obtain_accuracy = accuracies  # its own takes a view that torch refuses since 1.7
        model = {"name": "ENAS", "C": 16, "N": 5, "max_nodes": 4, "num_classes": CLASSES, "affine": False}
        model |= {"space": models.get_search_spaces("cell", "nas-bench-201"), "track_running_stats": False}
        network = models.get_cell_based_tiny_net(self.settings.dict2config(model, None))
        config = self.settings.load_config(str(folder / SETTINGS), {"class_num": CLASSES}, None)
        self.optimizer, self.scheduler, self.criterion = procedures.get_optim_scheduler(network.parameters(), config)
        self.controller = network.create_controller()
        self.controller_optimizer = torch.optim.Adam(
            self.controller.parameters(),
            lr=config.controller_lr,
            betas=config.controller_betas,
            eps=config.controller_eps,
        )
        self.network = torch.nn.DataParallel(network)
        self.train, self.reward = training_batches(setup), reward_batches(setup)
        self.children = recorded(network, "update_arch", lambda args, chosen: chosen)
        self.baseline: float | None = None
        notes = (
            f"{LOGGED}: the script also evaluates as many validation as training images after each epoch, for its log",
        )
        self.about = About("AutoDL-Projects", versions("torch"), parameters(network), notes)

    def round(self) -> dict[str, Measure]:
        setup, images = self.setup, self.setup.steps * self.setup.batch_size
        training_s = timed(self.train_weights)
        training = self.measure(training_s, images)
        logging_s = timed(lambda: self.script.valid_func(self.train, self.network, self.criterion))
        reward_s = timed(self.train_controller)
        return {
            TRAINING: training,
            LOGGED: Measure(training_s + logging_s, images, training.macs_executed, training.macs_of_child),
            REWARD: self.measure(reward_s, setup.architectures),
        }

    def train_weights(self) -> None:
        """Its first phase."""
        self.script.train_shared_cnn(
            self.train,
            self.network,
            self.controller,
            self.criterion,
            self.scheduler,
            self.optimizer,
            "",
            200,
            SimpleNamespace(log=print),
        )

    def train_controller(self) -> None:
        """Its second phase."""
        config = {
            "baseline": self.baseline,
            "ctl_train_steps": self.setup.architectures // UPDATE,
            "ctl_num_aggre": UPDATE,
            "ctl_entropy_w": 0.0001,
            "ctl_bl_dec": 0.99,
        }
        *_, self.baseline = self.script.train_controller(
            self.reward,
            self.network,
            self.controller,
            self.criterion,
            self.controller_optimizer,
            self.settings.dict2config(config, None),
            "",
            200,
            SimpleNamespace(log=print),
        )

    def measure(self, seconds: float, count: int) -> Measure:
        """With the MACs of the children since the last one."""
        network = self.network.module

        def forward(images: Tensor) -> Tensor:
            logits: Tensor = network(images)[1]
            return logits

        def choose(chosen: Any) -> None:
            network.sampled_arch = chosen

        with evaluating(network):
            return measured(seconds, count, self.children, choose, forward, self.train)


def accuracies(logits: Tensor, labels: Tensor, topk: tuple[int, ...]) -> list[Tensor]:
    """For each k the share of images in percent [1] whose label is among the k largest logits."""
    hits = logits.topk(max(topk), dim=1).indices == labels[:, None]
    return [100 * hits[:, :k].any(1).float().mean().view(1) for k in topk]


def script(path: Path) -> Any:
    """The search script as a module; its file name is no module's."""
    spec = importlib.util.spec_from_file_location("autodl_script", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    serve(AutoDl)
