"""Judging architectures by training each of them from scratch (Zoph & Le 2017): what ENAS made 1000 times cheaper.

A child is trained on the training part of the images and judged by its highest validation accuracy of the last few
epochs. Its seed follows from the run's and from the network (its signature), so its result does not depend on when
or where it runs; on a CPU it does, to the last bits, on the worker's number of threads, which the cache notes.
Equal networks are one child: the first of them to be asked for is trained.

With successive halving (enas/halving.py) a batch of children is one bracket. Who goes on follows from the children's
accuracies up to that rung alone, whatever else is known of them, and ties from the order of asking.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from enas import config, halving, searchers, spaces
from enas.config import FullTrainingConfig, RunConfig
from enas.cost import cost
from enas.data import DataSet, ImageSet, training_images
from enas.errors import UserError
from enas.evaluators.cache import Cache, Curve, Key
from enas.evaluators.child import Child, Course, Epoch, Failure, Train, train_child
from enas.evaluators.ray_workers import RayWorkers
from enas.evaluators.workers import LocalWorkers, Workers
from enas.graph import Graph, signature
from enas.objective import Scores
from enas.plan import TRAINING_COST
from enas.runtime import Runtime, derived_seed, generator
from enas.spaces import Architecture, SearchSpace, source
from enas.standalone import OutOfMemory, Standalone

PROBES = 3  # architectures that the forecast runs
CHILDREN, PAUSED = "children.jsonl", "paused"  # in the run folder: the cache; children between two rungs
ALIKE, ANY = 4, 20  # so many children that failed in one way, or in any, before one succeeded end the run
OnWork = Callable[[int], None]


@dataclass(frozen=True)
class Judgement:
    """What one child is worth: validation accuracy in 0..1 and loss in nats (nan where it failed).

    epochs: after how many it was judged: less than all where others of its batch were better.
    """

    accuracy: float
    loss: float
    epochs: int
    failure: Failure | None = None


@dataclass
class _Network:
    """A distinct network of the architectures at hand. arch: the first that has it."""

    arch: Architecture
    graph: Graph
    key: Key


class FullTraining:
    """Scores architectures by training them in worker processes, with a cache in `folder`.

    train, validation: the parts of data's training images that train children and judge them. runtime: of the run; its
    threads are shared out among the workers. gives_up: whether it is an error that all children fail. Enter it, or
    close it in the end. Raises UserError where the cache cannot be read, where shared memory does not suffice, and
    where Ray is wanted and not to be had.
    """

    def __init__(
        self,
        space: SearchSpace,
        settings: FullTrainingConfig,
        data: DataSet,
        train: ImageSet,
        validation: ImageSet,
        runtime: Runtime,
        seed: int,
        folder: Path,
        train_child: Train = train_child,
        gives_up: bool = True,
    ) -> None:
        self.space, self.settings, self.seed, self.folder = space, settings, seed, folder
        self.data, self.train, self.runtime, self.gives_up = data, train, runtime, gives_up
        self.graph: Callable[[Architecture], Graph] = functools.lru_cache(maxsize=4096)(space.graph)
        self.images = len(validation)
        self.trained = 0  # epochs, in this session
        self.threads = settings.threads or max(1, runtime.threads // settings.workers)
        course = Course(
            replace(data, train=train, test=validation),
            settings.sgd,
            settings.epochs,
            _run_config(runtime, self.threads),
            source.code_of(space.options),
        )
        self.identity = _identity(course)
        folder.mkdir(parents=True, exist_ok=True)
        self.cache = Cache(folder / CHILDREN)
        self._succeeded = self.cache.any_success(seed, self.identity)
        self._failed: dict[str, Failure] = {}  # by network, as long as no child has succeeded
        timeout_s = 60 * settings.child_timeout_minutes
        self.workers: Workers
        if settings.executor == "ray":
            self.workers = RayWorkers(train_child, course, settings.workers, timeout_s, settings.ray_address)
        else:
            self.workers = LocalWorkers(train_child, course, settings.workers, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        self.workers.close()

    @property
    def classes(self) -> Sequence[str]:
        return self.data.classes

    @property
    def fingerprint(self) -> str:
        return self.data.fingerprint()

    def network(self, arch: Architecture) -> str:
        """Equal for architectures that are the same network."""
        return signature(self.graph(arch))

    def work_units(self, evaluations: int) -> int:
        """Images to train on."""
        images = training_images(len(self.train), self.settings.sgd.batch_size)
        return round(evaluations * self.settings.epochs_each) * images

    def forecast_s(self, evaluations: int) -> float | None:
        """Seconds of so many evaluations, from a few steps of uniform architectures.

        None where memory is too small for one of them: that will be the failure of some children.
        """
        archs = searchers.uniform(self.space, PROBES, generator(self.seed, "forecast"))
        sgd, epochs = self.settings.sgd, self.settings.epochs
        try:
            seconds = [
                Standalone(self.graph(arch), self.data, self.train, sgd, epochs, self.seed, self.runtime).epoch_s()
                for arch in archs
            ]
        except OutOfMemory:
            return None
        # workers share the cores, so that several get about as much done as one
        return evaluations * self.settings.epochs_each * sum(seconds) / len(seconds)

    def flops(self, arch: Architecture) -> float:
        """Floating-point operations of the child's training and judging so far."""
        child = self._curve(arch)
        images = TRAINING_COST * training_images(len(self.train), self.settings.sgd.batch_size) + self.images
        return 2.0 * cost(self.graph(arch)).macs * images * child.epochs

    def facts(self, arch: Architecture) -> dict[str, Any]:
        return {"epochs": self._curve(arch).epochs}

    def _curve(self, arch: Architecture) -> Curve:
        return self.cache.get((self.network(arch), self.seed, self.identity))

    def score(self, archs: Sequence[Architecture], on_work: OnWork = lambda child_images: None) -> Scores:
        """Scores of all architectures, nan for those that failed; see `judge`."""
        judgements = self.judge(archs, on_work)
        accuracy, loss = ([getattr(judgement, name) for judgement in judgements] for name in ("accuracy", "loss"))
        return Scores(torch.tensor(accuracy), torch.tensor(loss), self.images)

    def judge(self, archs: Sequence[Architecture], on_work: OnWork = lambda child_images: None) -> list[Judgement]:
        """Train what is not known yet of these architectures, as one batch, and judge them in this order.

        `on_work` hears of the images of each finished epoch and, several times a second, of 0: a chance to raise,
        which ends the workers; children that are done by then stay done. Raises UserError where no child can be
        trained with these settings, where the first ones all fail, and where the disk is full.
        """
        names = [signature(self.graph(arch)) for arch in archs]
        networks: dict[str, _Network] = {}
        for arch, name in zip(archs, names, strict=True):
            networks.setdefault(name, _Network(arch, self.graph(arch), (name, self.seed, self.identity)))
        judgements: dict[str, Judgement] = {}
        alive = list(networks)
        for until in self.settings.rungs:
            self._train([networks[name] for name in alive], until, on_work)
            judgements |= {name: self._judgement(networks[name].key, until) for name in alive}
            if until < self.settings.epochs:
                judged = [judgements[name] for name in alive]
                scores = [judgement.accuracy if judgement.failure is None else None for judgement in judged]
                alive = [alive[i] for i in halving.promoted(scores, self.settings.halving_eta)]
        shutil.rmtree(self.folder / PAUSED, ignore_errors=True)  # the batch is over
        self._check_failures(judgements)
        return [judgements[name] for name in names]

    def _train(self, networks: Sequence[_Network], until: int, on_work: OnWork) -> None:
        """Train these children to the end of epoch `until`, those that are not there yet."""
        curves = [self.cache.get(network.key) for network in networks]
        todo = [
            network
            for network, curve in zip(networks, curves, strict=True)
            if curve.epochs < until and curve.failure is None
        ]
        children = [self._child(network, until) for network in todo]
        told: list[list[Epoch]] = [[] for _ in todo]
        with closing(self.workers.run(children)) as answers:
            for item in answers:
                if item is None:
                    on_work(0)
                    continue
                position, answer = item
                if isinstance(answer, Epoch):
                    told[position].append(answer)
                    self.trained += answer.images > 0
                    on_work(answer.images)
                    continue
                epochs = told[position]
                curve = Curve(tuple(e.accuracy for e in epochs), tuple(e.loss for e in epochs), answer.failure)
                network = todo[position]
                self.cache.add(
                    network.key,
                    curve,
                    arch=spaces.to_text(self.space, network.arch),
                    threads=self.threads,
                    seconds=sum(e.seconds for e in epochs),
                )
                if answer.failure is not None and answer.failure.kind == "settings":
                    raise UserError(answer.failure.reason)

    def _child(self, network: _Network, until: int) -> Child:
        seed = derived_seed(self.seed, f"child/{network.key[0]}")
        name = hashlib.sha256(repr(network.key).encode()).hexdigest()[:32]
        # a relative path would be another one for a worker elsewhere
        state = str((self.folder / PAUSED / f"{name}.pt").absolute()) if len(self.settings.rungs) > 1 else None
        return Child(network.graph, seed, until, state)

    def _judgement(self, key: Key, until: int) -> Judgement:
        curve = self.cache.get(key)
        if curve.failure is not None and curve.epochs < until:  # else it failed later on
            return Judgement(float("nan"), float("nan"), curve.epochs, curve.failure)
        best = curve.best(until, self.settings.last)
        if best is None:
            failure = Failure("diverged", f"its validation loss was not finite in the last epochs up to {until}")
            return Judgement(float("nan"), float("nan"), until, failure)
        return Judgement(*best, until)

    def _check_failures(self, judgements: dict[str, Judgement]) -> None:
        """Raise UserError where all children so far have failed, there were enough of them, and it matters."""
        failures = {name: judged.failure for name, judged in judgements.items() if judged.failure is not None}
        self._succeeded = self._succeeded or len(failures) < len(judgements)
        if self._succeeded or not failures or not self.gives_up:
            return
        self._failed |= failures
        alike = len({failure.kind for failure in self._failed.values()}) == 1
        if len(self._failed) >= (ALIKE if alike else ANY):
            last = list(failures.values())[-1]
            raise UserError(
                f"at least one child must succeed, but all {len(self._failed)} so far have failed, the last one "
                f"because {last.reason}; mend that and go on with --resume, or start a new run with other settings"
            )


def _run_config(runtime: Runtime, threads: int) -> RunConfig:
    """The run's device, number format and determinism for a worker."""
    return RunConfig(
        device=str(runtime.device),
        precision=str(runtime.precision).removeprefix("torch."),
        deterministic=torch.are_deterministic_algorithms_enabled(),
        threads=threads,
    )


def _identity(course: Course) -> str:
    """A hash of all that decides a child's result beside its network and seed: images, training, number format.

    Not of device and threads: a run that goes on elsewhere keeps its children.
    """
    data = course.data
    settings = {
        "sgd": config.to_dict(course.sgd),
        "epochs": course.epochs,
        "precision": course.run.precision,
        "images": data.fingerprint(),
        "input": [data.mean, data.std, str(data.augmentation)],
    }
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]
