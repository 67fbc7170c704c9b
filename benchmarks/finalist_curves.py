"""What benchmarks/finalists.py trains: the finalists of finished searches, with what they are after every epoch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ranking import sample

from enas import checkpoint, spaces
from enas.config import SearchConfig
from enas.cost import cost
from enas.data import DataSet, split, training_images
from enas.effects import Effects
from enas.errors import UserError
from enas.finalists import NO_FIGURES, new_training, recipe
from enas.runs import RunFolder
from enas.runtime import Runtime, generator
from enas.seen import resized, seen
from enas.spaces import SearchSpace
from enas.standalone import OutOfMemory
from enas.supernet import Supernet
from enas.tables import TrueAccuracies

SIZE = "--image-size"
# what finalists are compared by, after each epoch: standalone_accuracy and training_loss; None: the training failed
Curve = list[dict[str, float | None]]


@dataclass(frozen=True)
class Run:
    """A finished search. scores: proxy losses by the text of the architecture."""

    name: str
    config: SearchConfig
    path: Path
    scores: dict[str, float]
    images: str
    flops: float


@dataclass(frozen=True)
class Finalist:
    """truth: its test accuracy in the table; macs: of the network as it is trained here; effects: the criterion."""

    text: str
    effects: float
    truth: float
    macs: int


def found(runs: Path, seeds: int | None) -> list[Path]:
    """The folders of the searches, from seed-0 on. Raises UserError where one is missing."""
    there = [path for path in runs.glob("seed-*") if path.name.removeprefix("seed-").isdecimal()]
    folders = [runs / f"seed-{i}" for i in range(seeds if seeds is not None else max(1, len(there)))]
    missing = [folder for folder in folders if not (folder / "result.json").is_file()]
    if missing:
        raise UserError(
            f"--runs must hold finished searches seed-0, seed-1, ... as benchmarks/ranking.py writes them, but "
            f"{missing[0]} is none; check the path, or give fewer --seeds"
        )
    return folders


def read_run(folder: Path, space: SearchSpace) -> Run:
    """A search and its scores. Raises UserError where it is another space's, or something in it is wrong."""
    run_config = RunFolder(folder).config(SearchConfig())
    if run_config.space.name != space.name:
        raise UserError(
            f"{folder} must be a search in the table's space {space.name}, but is in {run_config.space.name}"
        )
    result, scores = (checkpoint.read_json(folder / name) for name in ("result.json", "scores.json"))
    try:
        losses = {str(text): float(row["proxy_loss"] or math.nan) for text, row in scores.items()}
        return Run(folder.name, run_config, folder, losses, str(result["images"]), float(result["flops"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{folder} must hold a search's result and scores, but: {type(error).__name__}: {error}"
        ) from None


def check_images(data: DataSet, search: Run) -> None:
    """Raise UserError unless the search was made with these images."""
    if data.fingerprint() != search.images:
        raise UserError(f"--data must be the images of {search.path}, but {data.name} are others; give their path")


def allowed(table: TrueAccuracies, cap: float | None) -> Any:
    """Positions of the different networks under the cap. Raises UserError where there are none."""
    positions = sample(table, None)
    kept = positions[table.macs[positions] <= (np.inf if cap is None else 1e6 * cap)]
    if not len(kept):
        raise UserError(f"--cap must leave a network, but the smallest has {table.macs.min() / 1e6:.1f}M MACs")
    return kept


def best(table: TrueAccuracies, search: Run, count: int, cap: float | None, size: int | None = None) -> list[Finalist]:
    """The best different networks by effects, the best first. Raises UserError where there are not as many.

    size: pixels of the images' sides in their training (default: as they are).
    """
    positions = allowed(table, cap)
    if len(positions) < count:
        raise UserError(f"--finalists must be at most {len(positions)}, the networks under the cap, but got {count}")
    scored = [spaces.parse(table.space, text) for text in search.scores]
    loss = torch.tensor(list(search.scores.values()), dtype=torch.float64)
    effects = Effects(table.space, scored, -loss.log())
    archs = [table.arch(int(position)) for position in positions]
    predicted = effects.predict(archs).numpy()
    space = spaces.build(search.config.space, table.space.input_shape, table.space.num_classes)
    shape = space.input_shape if size is None else (space.input_shape[0], size, size)
    return [
        Finalist(
            spaces.to_text(space, archs[i]),
            float(predicted[i]),
            float(table.test[positions[i]]),
            cost(resized(space.graph(archs[i]), shape, SIZE)).macs,
        )
        for i in np.argsort(-predicted, kind="stable")[:count].tolist()
    ]


class Trainer:
    """Trains architectures of one search on its own images, with its settings and its shared weights.

    images: of those to train on, so many; size: pixels of their sides (defaults: all, and as they are).
    """

    def __init__(
        self, search: Run, data: DataSet, runtime: Runtime, images: int | None, size: int | None = None
    ) -> None:
        self.search, self.runtime = search, runtime
        settings = search.config.data
        train, validation = split(data.train, settings.validation_fraction, settings.split_seed, classes=data.classes)
        if images is not None and images < len(train):
            order = torch.randperm(len(train), generator=generator(0, "finalists images"))
            train = train.subset(order[:images])
        shown = seen(data, train, validation, size)
        self.train_images, self.validation, self.shape = shown.train, shown.validation, shown.shape
        self.data = dataclasses.replace(data, augmentation=shown.augmentation)
        self.space = spaces.build(search.config.space, data.input_shape, data.num_classes)
        self.supernet = Supernet(self.space, generator(0, "supernet")).to(runtime.device)
        path = RunFolder(search.path).checkpoint
        state = checkpoint.load(path)
        with checkpoint.taking_over(path):
            if state.get("splits"):
                self.supernet.split(state["splits"])
            self.supernet.load_state_dict(state["supernet"])

    @property
    def images_each(self) -> int:
        """Images that an epoch of a training sees."""
        return training_images(len(self.train_images), self.search.config.weights.batch_size)

    def train(self, text: str, weights: str, epochs: int) -> Curve:
        """The validation accuracy after each epoch, and the mean loss in it."""
        run_config = self.search.config
        curve: Curve = []
        arch = spaces.parse(self.space, text)
        graph = resized(self.space.graph(arch), self.shape, SIZE)
        training = new_training(
            graph,
            self.data,
            self.train_images,
            recipe(run_config.weights, run_config.derive),
            epochs,
            run_config.seed,
            self.runtime,
            self.supernet if weights == "inherited" else None,
            self.supernet.routed(arch, graph),
        )
        try:
            while training.epoch < epochs:
                loss = training.train_epoch().loss
                scores = training.score(self.validation)
                failed = bool(scores.failed.any()) or math.isnan(loss)
                found: dict[str, float | None] = {"standalone_accuracy": scores.accuracy.item(), "training_loss": loss}
                curve.append(NO_FIGURES if failed else found)
        except OutOfMemory:
            return [NO_FIGURES] * epochs
        return curve


class Trainings:
    """Finished trainings, kept in a file. Raises UserError where it has those of an earlier version."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Curve] = checkpoint.read_json(path) if path.exists() else {}
        if not all(isinstance(found, dict) for curve in self.known.values() for found in curve):
            raise UserError(f"{path} must say what trainings were after each epoch, but an earlier version wrote it")

    def curve(self, trainer: Trainer, text: str, weights: str, epochs: int) -> Curve:
        """The training's curve, trained now where it is not known."""
        key = f"{trainer.search.name}/{weights}/{epochs}/{text}"
        if key not in self.known:
            self.known[key] = trainer.train(text, weights, epochs)
            checkpoint.write_json(self.path, self.known)
        return self.known[key]
