"""Training one architecture from scratch on all training images, and reading the test set once at the end."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from enas import checkpoint, config, spaces
from enas.config import DataConfig, RetrainConfig
from enas.cost import cost
from enas.data import DataSet
from enas.errors import UserError
from enas.interrupts import Keeper, StopRequest
from enas.network import Network
from enas.objective import Scores
from enas.records import RetrainRecord, finite
from enas.results import class_report
from enas.runs import RunFolder, check_identity, identity
from enas.runtime import Runtime, generator, versions
from enas.spaces import Architecture, SearchSpace
from enas.spaces.source import NotAsked
from enas.standalone import Standalone, score

SCHEMA = 1
MODEL = "model.safetensors"
SPLIT_SETTINGS = ("split_seed", "test_fraction", "skip_unreadable")
HEADER = ("space", "input_shape", "classes", "mean", "std", "split")  # as JSON, beside format, schema and arch
OnWork = Callable[[int], None]


def network_space(run_config: RetrainConfig, data: DataSet) -> tuple[SearchSpace, Architecture]:
    """The (scaled) space and the architecture that the configuration names. Raises UserError where they disagree."""
    arch = spaces.from_text(run_config.arch)
    options = spaces.options_for(arch, run_config.space)
    space = spaces.build(options, data.input_shape, data.num_classes)
    spaces.parse(space, run_config.arch)
    scale = {name: value for name in ("width", "depth") if (value := getattr(run_config, name)) is not None}
    return (space.scaled(**scale) if scale else space), arch


def retrain(
    run_config: RetrainConfig,
    data: DataSet,
    folder: RunFolder,
    runtime: Runtime,
    on_work: OnWork = lambda images: None,
    on_resume: OnWork = lambda images: None,
    stop: StopRequest | None = None,
) -> Iterator[RetrainRecord]:
    """Train or continue in `folder`; yields a record an epoch, after it is on the disk.

    When this call returns, the folder's records are those that its checkpoint knows. The iterator
    ends by reading the test set once and writing `model.safetensors` and `result.json`. `on_work` hears of
    images trained on, `on_resume` of those of an earlier session. Raises UserError where the checkpoint
    does not belong to this configuration or data; Stopped where `stop` asks for it.
    """
    state = Retraining(run_config, data, folder, runtime, stop)
    if folder.checkpoint.exists():
        state.restore()
        training = state.training
        size = min(run_config.sgd.batch_size, len(data.train))
        on_resume((training.epoch * training.steps + training.state.step) * size)
    folder.truncate_records(state.training.epoch)
    return _epochs(state, on_work)


def forecast_s(run_config: RetrainConfig, data: DataSet, runtime: Runtime) -> float:
    """Seconds that the training will take, from a few steps with throw-away weights."""
    space, arch = network_space(run_config, data)
    sgd = run_config.sgd
    training = Standalone(space.graph(arch), data, data.train, sgd, run_config.epochs, run_config.seed, runtime)
    return training.epoch_s() * run_config.epochs


class Retraining:
    """All that changes while one network is retrained."""

    def __init__(
        self,
        run_config: RetrainConfig,
        data: DataSet,
        folder: RunFolder,
        runtime: Runtime,
        stop: StopRequest | None = None,
    ) -> None:
        self.config, self.folder = run_config, folder
        self.space, self.arch = network_space(run_config, data)
        graph = self.space.graph(self.arch)
        self.training = Standalone(graph, data, data.train, run_config.sgd, run_config.epochs, run_config.seed, runtime)
        self.identity = identity(run_config, data.fingerprint(), data.augmentation)
        self.keeper = Keeper(self.save, 60 * run_config.checkpoint_minutes, stop)
        self.before_s = 0.0
        self.started = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Seconds spent on this training, over all its sessions."""
        return self.before_s + time.perf_counter() - self.started

    def save(self) -> None:
        """Write the checkpoint."""
        self.keeper.saved()
        state = {
            "schema": SCHEMA,
            "identity": self.identity,
            "elapsed_s": self.elapsed_s,
            "training": self.training.state_dict(),
        }
        checkpoint.save(self.folder.checkpoint, state)

    def restore(self) -> None:
        """Continue from the checkpoint. Raises UserError where it is another training's or another version's."""
        state = checkpoint.load(self.folder.checkpoint)
        check_identity(self.folder.checkpoint, state, self.identity)
        with checkpoint.taking_over(self.folder.checkpoint):
            self.training.load_state_dict(state["training"])
            self.before_s = float(state["elapsed_s"])


def _epochs(state: Retraining, on_work: OnWork) -> Iterator[RetrainRecord]:
    training, run_config, folder = state.training, state.config, state.folder

    def after_step(images: int) -> None:
        on_work(images)
        state.keeper.tick()

    while training.epoch < run_config.epochs:
        stats = training.train_epoch(after_step)
        record = RetrainRecord(
            epoch=training.epoch - 1,
            learning_rate=stats.learning_rate,
            train_loss=stats.loss,
            train_accuracy=stats.accuracy,
            grad_norm=stats.grad_norm,
            skipped_steps=stats.skipped_steps,
            images_per_s=stats.images / stats.seconds,
            elapsed_s=state.elapsed_s,
        )
        folder.append(record)
        state.save()
        yield record
    scores = training.score(training.data.test)
    save_model(folder.path / MODEL, training.final(), state.space, state.arch, training.data, run_config.data)
    result = _result(training, run_config, state.space, state.arch, scores)
    result["images"] = state.identity["images"]
    result["elapsed_s"] = state.elapsed_s
    checkpoint.write_json(folder.result, finite(result))


def _result(
    training: Standalone, run_config: RetrainConfig, space: SearchSpace, arch: Architecture, scores: Scores
) -> dict[str, Any]:
    data, runtime = training.data, training.runtime
    counts = cost(training.network.graph)
    return {
        "schema": SCHEMA,
        "kind": "retrain",
        "arch": arch.to_json(),
        "text": spaces.to_text(space, arch),
        "description": space.describe(arch),
        "space": config.to_dict(space.options),
        "input_shape": list(data.input_shape),
        "classes": list(data.classes),
        "test_accuracy": scores.accuracy.item(),
        "test_loss": scores.known_loss.item(),
        "test_images": scores.images,
        **class_report(scores, data.classes),
        "params": counts.params,
        "macs": counts.macs,
        "config": config.to_dict(run_config),
        "seed": run_config.seed,
        "device": str(runtime.device),
        "precision": str(runtime.precision).removeprefix("torch."),
        "threads": runtime.threads,
        "versions": versions(runtime),
    }


def save_model(
    path: Path, network: Network, space: SearchSpace, arch: Architecture, data: DataSet, data_config: DataConfig
) -> None:
    """Weights as safetensors; the header says which network they belong to and what images it expects."""
    header = {
        "format": "enas",
        "schema": str(SCHEMA),
        "arch": spaces.to_text(space, arch),
        "space": json.dumps(config.to_dict(space.options)),
        "input_shape": json.dumps(list(data.input_shape)),
        "classes": json.dumps(list(data.classes)),
        "mean": json.dumps(list(data.mean)),
        "std": json.dumps(list(data.std)),
        # which images are test images where a folder has no test/
        "split": json.dumps({name: getattr(data_config, name) for name in SPLIT_SETTINGS}),
    }
    checkpoint.save_model(path, dict(network.state_dict()), header)


def load_model(path: Path) -> tuple[Network, dict[str, Any]]:
    """A network that `save_model` wrote, and its header. Raises UserError for any other file."""
    tensors, text = checkpoint.load_model(path)
    try:
        if text["format"] != "enas" or text["schema"] != str(SCHEMA):
            raise UserError(f"format enas, schema {SCHEMA}, got {text['format']!r} and {text['schema']!r}")
        header = {"arch": text["arch"], **{name: json.loads(text[name]) for name in HEADER}}
        space, arch = model_space(header)
        network = Network(space.graph(arch), generator(0, "weights"))
        network.load_state_dict(tensors)
    except NotAsked:
        raise
    except (UserError, KeyError, TypeError, ValueError, RuntimeError, AttributeError, RecursionError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise UserError(f"{path} must be a model that `enas retrain` wrote, but: {reason}") from None
    return network, header


def model_space(header: dict[str, Any]) -> tuple[SearchSpace, Architecture]:
    """The space and the architecture that a saved model's header names. Raises UserError, KeyError, TypeError or
    ValueError where they are none."""
    arch = spaces.from_text(header["arch"])
    options = config.update(spaces.options_for(arch, config.MacroOptions()), header["space"])
    channels, height, width = header["input_shape"]
    space = spaces.build(options, (channels, height, width), len(header["classes"]))
    spaces.validate(space, arch)
    return space, arch


def as_trained(header: dict[str, Any], data: DataSet) -> DataSet:
    """`data` with a saved model's normalisation. Raises UserError where the images or classes are not the model's."""
    if list(data.input_shape) != header["input_shape"]:
        raise UserError(
            f"the images must have the model's shape (C, H, W) {header['input_shape']}, "
            f"but got {list(data.input_shape)}; give other images"
        )
    if list(data.classes) != header["classes"]:
        raise UserError(
            f"the classes must be the model's ({len(header['classes'])}), but got {', '.join(data.classes)[:200]}"
        )
    return dataclasses.replace(data, mean=tuple(header["mean"]), std=tuple(header["std"]))


def evaluate_model(network: Network, header: dict[str, Any], data: DataSet, runtime: Runtime) -> Scores:
    """Scores [1] of a saved model on the test images of `data`, normalised as when it was trained.

    Raises UserError where the images or classes are not the model's.
    """
    data = as_trained(header, data)
    return score(network.to(runtime.device), data, data.test, runtime)
