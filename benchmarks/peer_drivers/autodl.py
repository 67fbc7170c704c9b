"""AutoDL-Projects' ENAS on NAS-Bench-201: the functions of its search script, on its network and controller."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from peer_drivers import children
from peer_drivers.protocol import LOGGED, TRAINING, About, Measure, Setup, serve

SCRIPT = Path("exps") / "NAS-Bench-201-algos" / "ENAS.py"
SETTINGS = Path("configs") / "nas-benchmark" / "algos" / "ENAS.config"
UPDATE = 20  # architectures of one update of its controller


class AutoDl:
    """What the script's main function does in an epoch, with its settings and lists of batches."""

    def __init__(self, setup: Setup) -> None:
        children.begin(setup)
        children.without_cuda()
        self.setup = setup
        folder = Path(str(setup.checkout))
        children.stubbed("nas_201_api", NASBench201API=None)  # looks up what its script then prints
        models = children.imported([folder], "xautodl.models")
        self.settings = importlib.import_module("xautodl.config_utils")
        procedures = importlib.import_module("xautodl.procedures")
        self.script = script(folder / SCRIPT)
        self.script.obtain_accuracy = accuracies  # its own takes a view that today's torch refuses
        model = {"name": "ENAS", "C": 16, "N": 5, "max_nodes": 4, "num_classes": children.CLASSES, "affine": False}
        model |= {"space": models.get_search_spaces("cell", "nas-bench-201"), "track_running_stats": False}
        network = models.get_cell_based_tiny_net(self.settings.dict2config(model, None))
        config = self.settings.load_config(str(folder / SETTINGS), {"class_num": children.CLASSES}, None)
        self.optimizer, self.scheduler, self.criterion = procedures.get_optim_scheduler(network.parameters(), config)
        self.controller = network.create_controller()
        self.controller_optimizer = torch.optim.Adam(
            self.controller.parameters(),
            lr=config.controller_lr,
            betas=config.controller_betas,
            eps=config.controller_eps,
        )
        self.network = torch.nn.DataParallel(network)
        self.train, self.reward = children.training_batches(setup), children.reward_batches(setup)
        self.sampled = children.recorded(network, "update_arch", lambda args, chosen: chosen)
        self.baseline: float | None = None
        notes = (
            f"{LOGGED}: the script also evaluates as many validation as training images after each epoch, for its log",
        )
        self.about = About("AutoDL-Projects", children.versions("torch"), children.parameters(network), notes)

    def round(self) -> dict[str, Measure]:
        network = self.network.module
        measures = children.two_phases(
            self.setup, self.train_weights, self.train_controller, self.sampled, network, self.run
        )
        logging_s = children.timed(lambda: self.script.valid_func(self.train, self.network, self.criterion))
        training = measures[TRAINING]
        return {**measures, LOGGED: replace(training, seconds=training.seconds + logging_s)}

    def run(self, child: Any, images: Tensor) -> Tensor:
        """Logits of a child."""
        network = self.network.module
        network.sampled_arch = child
        logits: Tensor = network(images)[1]
        return logits

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
