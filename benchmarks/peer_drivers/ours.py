"""This package: the two phases of its search, on images in memory, with its defaults."""

from __future__ import annotations

import functools
import statistics
import tempfile
from pathlib import Path

import torch
from timing import random_batch, sharp

from enas.config import (
    ControllerConfig,
    MacroOptions,
    MicroOptions,
    NasBench201Options,
    SearchConfig,
    SpaceOptions,
    WeightsConfig,
)
from enas.cost import cost
from enas.data import DataSet, ImageSet
from enas.data.sets import Augmentation
from enas.kernels import plain_kernels
from enas.objective import rewards
from enas.phases import Search
from enas.plan import TRAINING_COST
from enas.runs import RunFolder
from enas.runtime import generator, start, versions
from enas.search_checkpoint import Within
from peer_drivers.children import CLASSES, counting_images, executed_macs, parameters, recorded, timed
from peer_drivers.protocol import CONVERGED, REWARD, TRAINING, About, Measure, Setup, serve

SPACES: dict[str, SpaceOptions] = {
    "macro": MacroOptions(),
    "micro": MicroOptions(),
    "nasbench201": NasBench201Options(),
}
EPOCHS = 10_000  # more than rounds
UNLIMITED = 10**9
ENTROPY_SHARE = 0.2  # of the policy that stands for a converged one


class Ours:
    """Rounds of train_shared_weights and train_searcher; with augmentation, which peers are spared."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        config = SearchConfig(
            seed=setup.seed,
            device="cpu",
            threads=setup.threads,
            checkpoint_minutes=float(UNLIMITED),
            epochs=EPOCHS,
            space=SPACES[setup.space],
            weights=WeightsConfig(batch_size=setup.batch_size, steps=setup.steps, max_nonfinite=UNLIMITED),
            controller=ControllerConfig(
                updates=1, architectures_per_update=setup.architectures, batch_size=setup.batch_size
            ),
        )
        runtime = start(config)
        folder = RunFolder(Path(tempfile.gettempdir()))  # nothing is written: there is no record and no checkpoint
        self.search = Search(config, random_images(setup), folder, runtime)
        self.run = self.search.supernet.run
        policy = generator(setup.seed, "policy")
        self.converged = sharp(self.search.space, setup.architectures, ENTROPY_SHARE, policy)
        self.batch = random_batch(setup.batch_size, setup.image_size, runtime)
        self.passes = recorded(self.search.supernet, "run", lambda args, logits: args[1])
        found = versions()
        precision = str(runtime.precision).removeprefix("torch.")
        self.about = About(
            "ours",
            {name: found[name] for name in ("enas", "torch")},
            parameters(self.search.supernet),
            (
                f"{precision}, training images are sampled and augmented as in every search",
                f"{setup.space}: {len(set(self.converged))} of {setup.architectures} architectures of the converged "
                f"policy, which has {ENTROPY_SHARE:.0%} of its entropy left, are distinct",
            ),
        )

    def round(self) -> dict[str, Measure]:
        search, setup = self.search, self.setup
        images = setup.steps * setup.batch_size
        before = search.training_macs
        training_s = timed(search.train_shared_weights)
        of_children = (search.training_macs - before) / TRAINING_COST / images
        training = Measure(training_s, images, self.executed() / setup.steps, of_children)
        before = search.evaluator.macs
        reward_s = timed(search.train_searcher)
        of_children = (search.evaluator.macs - before) / setup.batch_size / setup.architectures
        reward = Measure(reward_s, setup.architectures, self.executed() / setup.architectures, of_children)
        converged_s = timed(self.update_on_converged)
        of_children = statistics.mean(cost(search.evaluator.graph(arch)).macs for arch in self.converged)
        converged = Measure(converged_s, setup.architectures, self.executed() / setup.architectures, of_children)
        search.epoch, search.within = search.epoch + 1, Within()
        return {TRAINING: training, REWARD: reward, CONVERGED: converged}

    def update_on_converged(self) -> None:
        """What an update of the controller takes when its policy has converged: it samples, and learns from the
        rewards of the architectures of such a policy."""
        searcher, objective = self.search.searcher, self.search.config.objective
        proposals = searcher.ask(len(self.converged))
        searcher.tell(proposals, rewards(self.search.evaluator.score(self.converged, [self.batch]), objective))

    def executed(self) -> float:
        """MACs for one image of all passes since the last call."""
        images = counting_images(self.setup)
        with plain_kernels():  # compiled ones are not counted
            total = sum(executed_macs(functools.partial(self.run, merged=merged), images) for merged in self.passes)
        self.passes.clear()
        return total


def random_images(setup: Setup) -> DataSet:
    """Random bytes and labels: as many images as the steps of a round see, and a batch to score on."""
    draws = torch.Generator().manual_seed(setup.seed)
    count = setup.batch_size * max(setup.steps, 10) + 10 * CLASSES

    def images(n: int) -> ImageSet:
        pixels = torch.randint(0, 256, (n, setup.image_size, setup.image_size, 3), generator=draws, dtype=torch.uint8)
        return ImageSet(pixels, torch.arange(n) % CLASSES)

    return DataSet(
        "random",
        tuple(map(str, range(CLASSES))),
        images(count * 10 // 9),
        images(CLASSES),
        (0.5, 0.5, 0.5),
        (0.25, 0.25, 0.25),
        Augmentation(crop_padding=setup.image_size // 8, flip=True, cutout=0),
    )


if __name__ == "__main__":
    serve(Ours)
